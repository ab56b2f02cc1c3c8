//! Network faults in words: the whole set for the cluster, and each node's share of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::faults::{FaultInForce as Fault, Impairments};
use crate::history::FaultEvent;

/// With more peers, a node's share of a partition gives their number.
const NAMED_PEERS: usize = 3;

/// The set without its crashes, which are states of nodes.
pub(crate) fn without_crashes(event: &FaultEvent) -> FaultEvent {
    if event.in_force.is_empty() {
        return event.clone();
    }
    let is_network = |fault: &&Fault| !matches!(fault, Fault::Crashed(_));
    let in_force: Vec<Fault> = event.in_force.iter().filter(is_network).cloned().collect();
    FaultEvent { links: in_force.iter().flat_map(Fault::texts).collect(), in_force }
}

/// The set in a few words: as groups if it amounts to a partition. A line of an early version, without types, is shown as
/// its text.
pub(crate) fn summary(event: &FaultEvent, nodes: &[&str]) -> String {
    if event.in_force.is_empty() {
        return few(&event.links);
    }
    let (links, others): (Vec<&Fault>, Vec<&Fault>) =
        event.in_force.iter().partition(|fault| matches!(fault, Fault::Link { .. }));
    let texts = |faults: &[&Fault]| faults.iter().flat_map(|fault| fault.texts()).collect::<Vec<_>>();
    let mut parts = vec![];
    if !links.is_empty() {
        parts.push(groups(&links, nodes).unwrap_or_else(|| few(&texts(&links))));
    }
    parts.extend(texts(&others));
    parts.join(", ")
}

fn few(texts: &[String]) -> String {
    if texts.len() <= 3 {
        return texts.join(", ");
    }
    format!("{} links: {}, …", texts.len(), texts[..2].join(", "))
}

/// `i001 | i002 i003`, if nothing passes between groups and all passes within them.
fn groups(links: &[&Fault], nodes: &[&str]) -> Option<String> {
    let mut cut = BTreeSet::new();
    for link in links {
        let Fault::Link { from, to, impairments } = link else { return None };
        impairments.cut?;
        cut.extend(to.iter().map(|to| (from.as_str(), to.as_str())));
    }
    if cut.iter().any(|(from, to)| !nodes.contains(from) || !nodes.contains(to)) {
        return None;
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

/// What a node has of the set, in a few words; `None` if it has nothing.
pub(crate) fn share(faults: &[Fault], node: &str) -> Option<String> {
    // Impairments, then peers, then in which directions.
    let mut links: BTreeMap<String, BTreeMap<&str, (bool, bool)>> = BTreeMap::new();
    let mut parts = vec![];
    for fault in faults {
        match fault {
            Fault::Link { from, to, impairments } => {
                for to in to {
                    let everyone = from == "*" && to == "*";
                    let ends = [(from, to, (true, false)), (to, from, (false, true))];
                    for (_, peer, (sends, receives)) in ends.into_iter().filter(|(own, ..)| everyone || *own == node) {
                        let known = links.entry(impairments.to_string()).or_default().entry(peer).or_default();
                        *known = (known.0 || sends, known.1 || receives);
                    }
                }
            }
            Fault::Partition { groups, cut } => {
                let own = groups.iter().filter(|group| group.iter().any(|member| member == node));
                let heard: BTreeSet<&String> = own.flatten().collect();
                let others: BTreeSet<&String> = groups.iter().flatten().filter(|peer| !heard.contains(peer)).collect();
                let peers = match others.len() {
                    0 => continue,
                    1..=NAMED_PEERS => others.into_iter().map(String::as_str).collect::<Vec<_>>().join(" "),
                    many => format!("{many} nodes"),
                };
                let cut = Impairments { cut: Some(*cut), ..Impairments::default() };
                parts.push(format!("{cut} ↔ {peers}"));
            }
            Fault::Crashed(crashed) if crashed == node => parts.push("crashed".to_owned()),
            Fault::Crashed(_) => {}
        }
    }
    for (effect, peers) in &links {
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
    use crate::cluster::faults::{Faults, SeededRng};

    /// Four nodes, i001 to i004, with these files.
    fn event(partition: &str, links: &str, crashed: Option<usize>) -> FaultEvent {
        let mut faults = Faults::new(4);
        faults.set_partition(partition, &mut SeededRng::new(1)).unwrap();
        faults.set_links(links).unwrap();
        crashed.into_iter().for_each(|node| faults.set_crashed(node, true));
        let in_force = faults.in_force();
        FaultEvent { links: in_force.iter().flat_map(Fault::texts).collect(), in_force }
    }

    fn summary_of(event: &FaultEvent) -> String {
        summary(event, &["i001", "i002", "i003", "i004"])
    }

    #[test]
    fn a_partition_is_told_by_its_groups() {
        for partition in ["i001 | i002 i003 i004", "i001 i002 | i003 i004", "i001 | i002 | i003 | i004"] {
            assert_eq!(summary_of(&event(partition, "", None)), partition);
        }
        let two_ways = "i001>i002 drop\ni001>i003 reject\ni001>i004 drop\n*>i001 drop";
        assert_eq!(summary_of(&event("", two_ways, None)), "i001 | i002 i003 i004");
    }

    #[test]
    fn what_is_no_partition_is_told_link_by_link() {
        for links in ["i001>i002 drop", "i001>i002 drop\ni002>i001 drop", "i001>* delay 10ms\ni002>i003 loss 5%"] {
            assert_eq!(summary_of(&event("", links, None)), links.replace('\n', ", "));
        }
        let many = "i001>i002 delay 1ms\ni001>host drop\ni002>i003 delay 1ms\ni003>i001 delay 1ms";
        assert_eq!(summary_of(&event("", many, None)), "4 links: i001>i002 delay 1ms, i001>host drop, …");
    }

    #[test]
    fn a_crashed_node_is_told_apart() {
        let both = event("i001 | i002 i003 i004", "", Some(1));
        assert_eq!(summary_of(&without_crashes(&both)), "i001 | i002 i003 i004");
        assert_eq!(without_crashes(&event("", "", Some(1))), FaultEvent::default());
        assert_eq!(share(&both.in_force, "i002").unwrap(), "crashed; drop ↔ i001");
        assert_eq!(share(&both.in_force, "i003").unwrap(), "drop ↔ i001");
    }

    #[test]
    fn a_node_has_its_share() {
        let set = event("", "i001>i002 drop\ni002>i001 drop\ni001>i003 drop\ni003>* delay 10ms 2ms", None).in_force;
        assert_eq!(share(&set, "i001").unwrap(), "drop ↔ i002; drop → i003");
        assert_eq!(share(&set, "i003").unwrap(), "delay 10ms 2ms → *; drop ← i001");
        assert_eq!(share(&set, "i004"), None);
        let all =
            Fault::Link { from: "*".into(), to: vec!["*".into()], impairments: Impairments::parse("loss 1%").unwrap() };
        assert_eq!(share(&[all], "d").unwrap(), "loss 1% ↔ *");
    }

    #[test]
    fn a_partition_of_many_nodes_stands_in_the_lane_of_each() {
        let mut faults = Faults::new(65);
        faults.set_partition("reject isolate i001", &mut SeededRng::new(1)).unwrap();
        let set = faults.in_force();
        assert_eq!(share(&set, "i001").unwrap(), "reject ↔ 64 nodes");
        assert_eq!(share(&set, "i065").unwrap(), "reject ↔ i001");
    }

    #[test]
    fn what_is_not_typed_is_shown_as_it_is_printed() {
        let links = ["a>b drop".to_owned(), "c crashed".to_owned()].to_vec();
        assert_eq!(summary_of(&FaultEvent { links, in_force: vec![] }), "a>b drop, c crashed");
    }
}
