//! Whatever is written, in whatever order: what must hold.

use super::*;

const NODES: usize = 5;

fn line() -> impl Strategy<Value = String> {
    let end = || prop_oneof![4 => (1..=NODES).prop_map(|n| format!("i{n:03}")), 1 => Just("*".to_owned()), 1 => Just("host".to_owned())];
    let what =
        prop_oneof![4 => impairments().prop_map(|impairments| impairments.to_string()), 1 => Just("none".to_owned())];
    (end(), end(), what)
        .prop_filter("two ends", |(from, to, _)| from != to || from == "*")
        .prop_map(|(from, to, what)| format!("{from}>{to} {what}"))
}

fn group() -> impl Strategy<Value = String> {
    prop::collection::vec(1..=NODES, 1..=NODES)
        .prop_map(|nodes| nodes.iter().map(|n| format!("i{n:03}")).collect::<Vec<_>>().join(" "))
}

#[derive(Clone, Debug)]
enum Step {
    Partition(String),
    Links(Vec<String>),
    More(Vec<String>),
    Net(usize, String),
    HealNode(usize),
    Heal,
    Crash(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let shapes =
        prop::sample::select(vec!["halves", "majority", "ring", "isolate i001 i002", "bridge i003", "reject halves"]);
    let partition = prop_oneof![
        shapes.prop_map(str::to_owned),
        prop::collection::vec(group(), 1..4).prop_map(|groups| groups.join(" | ")),
        Just(String::new())
    ];
    let lines = || prop::collection::vec(line(), 0..6);
    prop_oneof![
        3 => partition.prop_map(Step::Partition),
        3 => lines().prop_map(Step::Links),
        3 => lines().prop_map(Step::More),
        2 => (0..NODES, impairments()).prop_map(|(node, impairments)| Step::Net(node, impairments.to_string())),
        1 => (0..NODES).prop_map(Step::HealNode),
        1 => Just(Step::Heal),
        1 => (0..NODES, any::<bool>()).prop_map(|(node, crashed)| Step::Crash(node, crashed)),
    ]
}

fn take(faults: &mut Faults, step: &Step, rng: &mut SeededRng) {
    // A table with a contradiction is refused; that is one of the ways.
    let _ = match step {
        Step::Partition(text) => faults.set_partition(text, rng),
        Step::Links(lines) => faults.set_links(&lines.join("\n")),
        Step::More(lines) => faults.add_links(&lines.join("\n")),
        Step::Net(node, text) => faults.set_net(*node, text),
        Step::HealNode(node) => {
            faults.heal_nodes(&[*node]);
            Ok(())
        }
        Step::Heal => {
            faults.heal();
            Ok(())
        }
        Step::Crash(node, crashed) => {
            faults.set_crashed(*node, *crashed);
            Ok(())
        }
    };
}

/// What a partition does to a link, by the groups that it is spelled out with.
fn cut(faults: &Faults, from: usize, to: usize) -> Option<Cut> {
    let text = faults.partition();
    let groups: Vec<Vec<&str>> =
        text.trim_start_matches("reject ").split('|').map(|group| group.split_whitespace().collect()).collect();
    let [one, other] = [from, to].map(|node| NodeName::nth(node).to_string());
    let share = |group: &Vec<&str>| group.contains(&one.as_str()) && group.contains(&other.as_str());
    if text.is_empty() || from >= NODES || to >= NODES || groups.iter().any(share) {
        return None;
    }
    Some(if text.starts_with("reject") { Cut::Reject } else { Cut::Drop })
}

/// What applies to a link, looked up as the documentation says it.
fn naive(faults: &Faults, from: usize, to: usize) -> Impairments {
    let cut = cut(faults, from, to);
    let last = faults.links.iter().rev().find(|link| link.pairs(NODES).any(|pair| pair == (from, to)));
    let net = if from < NODES && to < NODES { faults.net[from] } else { Impairments::default() };
    match cut {
        Some(_) => Impairments { cut, ..Impairments::default() },
        None => last.map_or(net, |link| link.impairments),
    }
}

fn ends() -> Vec<(usize, usize)> {
    (0..=NODES).flat_map(|from| (0..=NODES).map(move |to| (from, to))).filter(|(from, to)| from != to).collect()
}

proptest! {
    #[test]
    fn what_is_read_can_be_written_and_changes_nothing(steps in prop::collection::vec(step(), 1..8)) {
        let (mut faults, mut rng) = (Faults::new(NODES), rng());
        for step in &steps {
            take(&mut faults, step, &mut rng);
            let before = faults.clone();
            faults.set_partition(&before.partition(), &mut rng).unwrap();
            prop_assert_eq!(&faults, &before);
            faults.set_links(&before.links()).unwrap();
            prop_assert_eq!(faults.links(), before.links());
            prop_assert_eq!(&faults.effective, &before.effective);
            faults.add_links(&before.links()).unwrap();
            for (from, to) in ends() {
                prop_assert_eq!(faults.get(from, to), before.get(from, to));
            }
            faults = before.clone();
            for node in 0..NODES {
                faults.set_net(node, &before.net(node)).unwrap();
            }
            prop_assert_eq!(&faults, &before);
        }
    }

    #[test]
    fn a_link_has_the_impairments_that_the_rules_give_it(steps in prop::collection::vec(step(), 1..8)) {
        let (mut faults, mut rng) = (Faults::new(NODES), rng());
        for step in &steps {
            take(&mut faults, step, &mut rng);
            for (from, to) in ends() {
                prop_assert_eq!(faults.get(from, to), naive(&faults, from, to), "{}>{}", from, to);
            }
        }
    }

    #[test]
    fn lines_that_are_not_kept_made_no_difference(lines in prop::collection::vec(line(), 0..12)) {
        // Added one by one, so that none contradicts another.
        let mut faults = Faults::new(NODES);
        for line in &lines {
            faults.add_links(line).unwrap();
        }
        let all: Vec<Link> = lines.iter().map(|line| links::parse(line, &Names::numbered(NODES)).unwrap().unwrap()[0]).collect();
        for (from, to) in ends() {
            let last = all.iter().rev().find(|link| link.pairs(NODES).any(|pair| pair == (from, to)));
            prop_assert_eq!(faults.get(from, to), last.map_or(Impairments::default(), |link| link.impairments));
        }
        for (line, link) in faults.links.iter().enumerate() {
            let later = &faults.links[line + 1..];
            let is_last = |pair| !later.iter().any(|other| other.pairs(NODES).any(|of_other| of_other == pair));
            prop_assert!(link.pairs(NODES).any(is_last), "{:?} is in force for no link", link);
        }
    }

    /// Few nodes and many exceptions: they cover each other in all ways.
    #[test]
    fn exceptions_from_exceptions_hold(
        writes in prop::collection::vec(prop::collection::vec(("i00[123]|[*]", "i00[123]|[*]", "none|drop"), 1..6), 1..4),
        net in any::<bool>(),
    ) {
        let mut faults = Faults::new(3);
        if net {
            faults.set_net(0, "reject").unwrap();
        }
        let mut all: Vec<Link> = vec![];
        for lines in writes {
            let lines: std::collections::BTreeMap<_, _> =
                lines.into_iter().filter(|(from, to, _)| from != to || from == "*").map(|(from, to, what)| ((from, to), what)).collect();
            let text: String = lines.iter().map(|((from, to), what)| format!("{from}>{to} {what}\n")).collect();
            all.extend(links::parse(&text, &Names::numbered(3)).unwrap().unwrap());
            faults.add_links(&text).unwrap();
            for (from, to) in (0..3).flat_map(|from| (0..3).map(move |to| (from, to))).filter(|(from, to)| from != to) {
                let last = all.iter().rev().find(|link| link.pairs(3).any(|pair| pair == (from, to)));
                prop_assert_eq!(faults.get(from, to), last.map_or(faults.net[from], |link| link.impairments), "{}>{} {}", from, to, faults.links());
            }
        }
    }

    #[test]
    fn healing_a_node_is_about_that_node(steps in prop::collection::vec(step(), 1..8), node in 0..NODES) {
        let (mut faults, mut rng) = (Faults::new(NODES), rng());
        steps.iter().for_each(|step| take(&mut faults, step, &mut rng));
        let before = faults.clone();
        faults.heal_nodes(&[node]);
        for (from, to) in ends() {
            let wanted = if from == node || to == node { Impairments::default() } else { before.get(from, to) };
            prop_assert_eq!(faults.get(from, to), wanted, "{}>{}", from, to);
        }
    }

    #[test]
    fn sandboxes_are_sent_the_impairments_of_each_link(steps in prop::collection::vec(step(), 1..8)) {
        let (mut faults, mut rng) = (Faults::new(NODES), rng());
        steps.iter().for_each(|step| take(&mut faults, step, &mut rng));
        // Some nodes are in two networks.
        let mut addresses = addresses(NODES);
        (0..NODES).step_by(2).for_each(|node| addresses[node].push([10, 1, 0, node as u8].into()));
        let number = |peer: &Peer| match peer {
            Peer::Host => NODES,
            Peer::Node(address) => addresses.iter().position(|other| other.contains(address)).unwrap(),
        };
        for node in 0..NODES {
            let desired = faults.desired(&addresses)[node].of_node_with(&addresses[node]);
            for other in (0..=NODES).filter(|other| *other != node) {
                let told = |list: &ByPeer| {
                    let all: Vec<_> = list.iter().filter(|(peer, _)| number(peer) == other).map(|(_, e)| e).collect();
                    let each = addresses.get(other).map_or(1, Vec::len);
                    assert!(all.is_empty() || all == vec![all[0]; each], "the same on every network");
                    all.first().copied()
                };
                prop_assert_eq!(told(&desired.ingress).unwrap_or_default(), faults.get(other, node));
                let sent = faults.get(node, other);
                match told(&desired.egress) {
                    Some(impairments) => prop_assert_eq!(impairments, sent),
                    None => {
                        let only_loss = (Impairments { loss: Share::NONE, ..sent }).is_none();
                        let is_receivers = other != NODES && (sent.cut.is_some() || only_loss);
                        prop_assert!(sent.is_none() || is_receivers);
                    }
                }
            }
            prop_assert_eq!(desired.blackholed, faults.is_crashed(node));
        }
    }

    #[test]
    fn shapes_are_what_they_say(seed in any::<u64>(), pick in any::<prop::sample::Index>(), bits in any::<u32>()) {
        for nodes in 1usize..=25 {
            let mut rng = SeededRng::new(seed);
            let chosen = pick.index(nodes);
            let name = NodeName::nth(chosen);
            let all: BTreeSet<usize> = (0..nodes).collect();
            let mut cut = |text: &str| {
                let mut faults = Faults::new(nodes);
                faults.set_partition(text, &mut rng).map(|()| faults)
            };
            // Groups of nodes that hear exactly each other, as a set of sets.
            let sides = |faults: &Faults| -> BTreeSet<BTreeSet<usize>> { (0..nodes).map(|node| hears(faults, node)).collect() };
            let few = |text: &str| (cut_error(nodes, text), nodes);

            if nodes < 2 { prop_assert!(few("halves").0.contains("at least 2")); } else {
                let sides: Vec<usize> = sides(&cut("halves").unwrap()).iter().map(BTreeSet::len).collect();
                prop_assert_eq!(sides.len(), 2);
                prop_assert!(sides.iter().sum::<usize>() == nodes && sides[0].abs_diff(sides[1]) <= 1);
                // The one, those that the bits say, and never all.
                let mut alone: BTreeSet<usize> = all.iter().copied().filter(|node| *node == chosen || bits >> node & 1 == 1).collect();
                if alone.len() == nodes { alone.remove(&((chosen + 1) % nodes)); }
                let names: Vec<String> = alone.iter().map(|node| NodeName::nth(*node).to_string()).collect();
                let isolated = cut(&format!("isolate {}", names.join(" "))).unwrap();
                let others: BTreeSet<usize> = all.difference(&alone).copied().collect();
                for node in 0..nodes {
                    prop_assert_eq!(hears(&isolated, node), if alone.contains(&node) { BTreeSet::from([node]) } else { others.clone() });
                }
            }
            if nodes < 3 { prop_assert!(few("ring").0.contains("at least 3") && few("majority").0.contains("at least 3")); } else {
                let mut sides: Vec<usize> = sides(&cut("majority").unwrap()).iter().map(BTreeSet::len).collect();
                sides.sort_unstable();
                prop_assert_eq!(sides, vec![nodes - nodes / 2 - 1, nodes / 2 + 1]);

                let bridge = cut(&format!("bridge {name}")).unwrap();
                prop_assert_eq!(hears(&bridge, chosen), all.clone());
                let halves: BTreeSet<BTreeSet<usize>> =
                    all.iter().filter(|node| **node != chosen).map(|node| hears(&bridge, *node)).collect();
                prop_assert_eq!(halves.len(), 2);
                let sizes: Vec<usize> = halves.iter().map(BTreeSet::len).collect();
                prop_assert!(sizes.iter().sum::<usize>() == nodes + 1 && sizes[0].abs_diff(sizes[1]) <= 1);

                let ring = cut("ring").unwrap();
                let heard: Vec<BTreeSet<usize>> = (0..nodes).map(|node| hears(&ring, node)).collect();
                prop_assert!(heard.iter().all(|set| set.len() > nodes / 2));
                prop_assert_eq!(heard.iter().collect::<BTreeSet<_>>().len(), nodes, "no two hear the same");
                prop_assert!(heard.iter().any(|set| set.len() < nodes));
                // Hearing is mutual.
                prop_assert!((0..nodes).all(|a| heard[a].iter().all(|b| heard[*b].contains(&a))));
            }
        }
    }

    #[test]
    fn anything_is_answered_and_what_is_wrong_changes_nothing(
        text in prop_oneof!["\\PC{0,80}", "(i00[1-9]|host|[*]|halves|ring|isolate|[|>]|drop|delay|5ms|loss|5%|\n| ){0,20}"]
    ) {
        let before = { let mut faults = linked(3, "i001>* loss 5%"); faults.set_partition("ring", &mut rng()).unwrap(); faults };
        let mut faults = before.clone();
        let results = [
            faults.set_partition(&text, &mut rng()).is_err(),
            { let ok = faults.clone(); faults = before.clone(); let failed = faults.set_links(&text).is_err(); if failed { assert_eq!(faults, before) }; faults = ok; failed },
        ];
        if results[0] { prop_assert_eq!(&faults, &before); }
        let mut faults = before.clone();
        if faults.add_links(&text).is_err() { prop_assert_eq!(&faults, &before); }
        let mut faults = before.clone();
        if faults.set_net(1, &text).is_err() { prop_assert_eq!(&faults, &before); }
    }
}
