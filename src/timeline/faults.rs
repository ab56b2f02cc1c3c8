//! Network faults in words: the whole set for the cluster, and each node's share of it.

use std::collections::{BTreeMap, BTreeSet};

/// One directed link and what happens to it, as in `i001>i002 drop`.
struct Link<'a> {
    from: &'a str,
    to: &'a str,
    effects: &'a str,
}

fn parse(link: &str) -> Option<Link<'_>> {
    let (ends, effects) = link.trim().split_once(char::is_whitespace).unwrap_or((link.trim(), ""));
    let (from, to) = ends.split_once('>')?;
    Some(Link { from, to, effects: effects.trim() })
}

/// The set in a few words: as groups that do not hear each other, if that is what it amounts to.
pub fn summary(faults: &[String], nodes: &[&str]) -> String {
    let (crashed, links): (Vec<String>, Vec<String>) = faults.iter().cloned().partition(|fault| parse(fault).is_none());
    if !crashed.is_empty() && !links.is_empty() {
        return format!("{}, {}", summary(&links, nodes), crashed.join(", "));
    }
    if !crashed.is_empty() {
        return crashed.join(", ");
    }
    if let Some(groups) = groups(&links, nodes) {
        return groups;
    }
    match &links[..] {
        [one] => one.clone(),
        _ if links.len() <= 3 => links.join(", "),
        _ => format!("{} links: {}, …", links.len(), links[..2].join(", ")),
    }
}

/// `i001 | i002 i003`, if nothing passes between groups and all passes within them.
fn groups(links: &[String], nodes: &[&str]) -> Option<String> {
    let mut cut = BTreeSet::new();
    for link in links {
        let link = parse(link)?;
        if !matches!(link.effects, "drop" | "reject") || !nodes.contains(&link.from) || !nodes.contains(&link.to) {
            return None;
        }
        cut.insert((link.from, link.to));
    }
    let mut groups: Vec<Vec<&str>> = vec![];
    for node in nodes {
        let hears = |group: &&mut Vec<&str>| group.iter().all(|other| !cut.contains(&(*node, *other)));
        match groups.iter_mut().find(hears) {
            Some(group) => group.push(node),
            None => groups.push(vec![node]),
        }
    }
    let between = |a: &Vec<&str>| (nodes.len() - a.len()) * a.len();
    let all_cut = groups.iter().map(between).sum::<usize>() == cut.len();
    let apart = cut.iter().all(|(a, b)| !groups.iter().any(|group| group.contains(a) && group.contains(b)));
    let text: Vec<String> = groups.iter().map(|group| group.join(" ")).collect();
    (groups.len() > 1 && all_cut && apart).then(|| text.join(" | "))
}

/// What a node has of the set, in a few words; `None` if it is not named.
pub fn share(links: &[String], node: &str) -> Option<String> {
    // Effects, then peers, then in which directions.
    let mut effects: BTreeMap<&str, BTreeMap<&str, (bool, bool)>> = BTreeMap::new();
    for link in links.iter().filter_map(|link| parse(link)) {
        let everyone = link.from == "*" && link.to == "*";
        if link.from == node || everyone {
            effects.entry(link.effects).or_default().entry(link.to).or_default().0 = true;
        }
        if link.to == node || everyone {
            effects.entry(link.effects).or_default().entry(link.from).or_default().1 = true;
        }
    }
    // What is no link is a node's own, as in `i001 crashed`.
    let own = links.iter().filter(|fault| parse(fault).is_none());
    let own = own.filter_map(|fault| fault.trim().strip_prefix(node)?.strip_prefix(' '));
    let mut parts: Vec<String> = own.map(|what| what.trim().to_owned()).collect();
    for (effect, peers) in &effects {
        for (arrow, direction) in [("↔", (true, true)), ("→", (true, false)), ("←", (false, true))] {
            let peers: Vec<&str> = peers.iter().filter(|(_, d)| **d == direction).map(|(peer, _)| *peer).collect();
            if !peers.is_empty() {
                parts.push(format!("{effect} {arrow} {}", peers.join(" ")));
            }
        }
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(text: &str) -> Vec<String> {
        text.split(", ").map(String::from).collect()
    }

    #[test]
    fn a_partition_is_told_by_its_groups() {
        let nodes = ["a", "b", "c"];
        assert_eq!(summary(&links("a>b drop, a>c drop, b>a drop, c>a drop"), &nodes), "a | b c");
        let all = links("a>b drop, a>c drop, b>a drop, c>a reject, b>c drop, c>b drop");
        assert_eq!(summary(&all, &nodes), "a | b | c");
    }

    #[test]
    fn what_is_no_partition_is_told_link_by_link() {
        let nodes = ["a", "b", "c"];
        for other in ["a>b drop", "a>b drop, b>a drop", "a>* delay 10ms, b>c loss 5%", "nonsense"] {
            assert_eq!(summary(&links(other), &nodes), other);
        }
        let many = links("a>b delay 1ms, b>c delay 1ms, c>a delay 1ms, a>host drop");
        assert_eq!(summary(&many, &nodes), "4 links: a>b delay 1ms, b>c delay 1ms, …");
    }

    #[test]
    fn a_crashed_node_is_told_apart() {
        let nodes = ["a", "b", "c"];
        let faults = links("a>b drop, a>c drop, b>a drop, c>a drop, b crashed");
        assert_eq!(summary(&faults, &nodes), "a | b c, b crashed");
        assert_eq!(summary(&links("b crashed"), &nodes), "b crashed");
        assert_eq!(share(&faults, "b").unwrap(), "crashed; drop ↔ a");
        assert_eq!(share(&faults, "c").unwrap(), "drop ↔ a");
        assert_eq!(share(&links("bb crashed"), "b"), None);
    }

    #[test]
    fn a_node_has_its_share() {
        let set = links("a>b drop, b>a drop, a>c drop, c>* delay 10ms 2ms");
        assert_eq!(share(&set, "a").unwrap(), "drop ↔ b; drop → c");
        assert_eq!(share(&set, "c").unwrap(), "delay 10ms 2ms → *; drop ← a");
        assert_eq!(share(&set, "d"), None);
        assert_eq!(share(&links("*>* loss 1%"), "d").unwrap(), "loss 1% ↔ *");
    }
}
