use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::words::tests::effects;
use super::*;

fn dice() -> Dice {
    Dice::new(1)
}

fn drop() -> Effects {
    Effects { cut: Some(Cut::Drop), ..Effects::default() }
}

fn partitioned(nodes: usize, text: &str) -> Faults {
    let mut faults = Faults::new(nodes);
    faults.set_partition(text, &mut dice()).unwrap();
    faults
}

fn linked(nodes: usize, text: &str) -> Faults {
    let mut faults = Faults::new(nodes);
    faults.set_links(text).unwrap();
    faults
}

/// Whom a node hears, itself too.
fn hears(faults: &Faults, to: usize) -> BTreeSet<usize> {
    (0..faults.nodes).filter(|from| faults.effects(End::Node(*from), End::Node(to)).cut.is_none()).collect()
}

fn addresses(nodes: usize) -> Vec<Ipv4Addr> {
    (0..nodes).map(|node| Ipv4Addr::from(0x0a00_0002 + node as u32)).collect()
}

#[test]
fn groups_are_spelled_out() {
    let said = |text: &str| partitioned(5, text).partition();
    assert_eq!(said("i001 | i002 i003"), "i001 | i002 i003 | i004 i005\n");
    assert_eq!(said("i003 i001 i003|i002"), "i001 i003 | i002 | i004 i005\n");
    assert_eq!(said("i001"), "i001 | i002 i003 i004 i005\n");
    assert_eq!(said("reject isolate i002"), "reject i002 | i001 i003 i004 i005\n");
    assert_eq!(said("drop i001 i002 i003 | i003 i004 i005"), "i001 i002 i003 | i003 i004 i005\n");
    for nothing in [
        "",
        " \n\n",
        "heal",
        "i001 i002 i003 i004 i005",
        "i001 i002 i003 i004 i005 | i001",
        "i001|i001 i002 i003 i004 i005",
    ] {
        assert_eq!(said(nothing), "", "{nothing:?}");
    }
    let faults = partitioned(5, "i001 i002 i003 | i003 i004 i005");
    assert_eq!(hears(&faults, 0), [0, 1, 2].into());
    assert_eq!(hears(&faults, 2), [0, 1, 2, 3, 4].into());
    assert!(faults.effects(End::Host, End::Node(0)).is_none(), "the host is not touched");
}

#[test]
fn what_is_no_partition_says_why() {
    for (nodes, text, part) in [
        (5, "i009", "no node is named 'i009'"),
        (5, "i001 | host", "i001>host drop"),
        (5, "i001 | *", "'*' is no node"),
        (5, "i001 || i002", "a group is empty"),
        (5, "|", "a group is empty"),
        (5, "i001 |", "a group is empty"),
        (5, "hlaves", "'hlaves' is neither node nor shape"),
        (5, "halves i001", "one word too many"),
        (5, "isolate", "isolate whom?"),
        (5, "isolate i001 x", "'x' is no node"),
        (5, "bridge", "bridge takes one node"),
        (5, "bridge i001 i002", "bridge takes one node"),
        (5, "reject", "a partition of whom?"),
        (5, "i001 | i002\ni003 | i004", "one line"),
        (1, "halves", "halves takes at least 2 nodes, and there is 1"),
        (1, "isolate i001", "at least 2"),
        (2, "majority", "majority takes at least 3 nodes, and there are 2"),
        (2, "bridge i001", "at least 3"),
        (2, "ring", "at least 3"),
    ] {
        let mut faults = Faults::new(nodes);
        let error = faults.set_partition(text, &mut dice()).unwrap_err().to_string();
        assert!(error.contains(part), "{text:?}: {error}");
        assert_eq!(faults, Faults::new(nodes), "{text:?}");
    }
    assert!(matches!(Faults::new(2).set_partition("i003", &mut dice()), Err(FaultError::NoSuchNode(_))));
}

#[test]
fn links_are_directed_and_later_lines_win() {
    let faults =
        linked(3, "i001>i002 drop\n\n i003 > * delay 100ms 20ms loss 5%\n*>i002\trate 1mbit\ni001>host reject\n");
    assert_eq!(faults.links(), "i003>* delay 100ms 20ms loss 5%\n*>i002 rate 1mbit\ni001>host reject\n");
    let between = |from, to| faults.effects(End::Node(from), End::Node(to)).to_string();
    assert_eq!(between(0, 1), "rate 1mbit");
    assert_eq!(between(2, 1), "rate 1mbit");
    assert_eq!(between(2, 0), "delay 100ms 20ms loss 5%");
    assert_eq!(between(1, 0), "none");
    assert_eq!(faults.effects(End::Node(0), End::Host).to_string(), "reject");
    assert!(faults.effects(End::Node(2), End::Host).is_none(), "* means nodes");
    assert_eq!(linked(3, "*>* drop\ni001>i002 none").links(), "*>* drop\ni001>i002 none\n");
    assert_eq!(linked(3, "i001>i002 drop\n*>* none").links(), "*>* none\n");
    assert_eq!(linked(1, "*>* drop\n*>host drop").links(), "*>host drop\n");
    assert_eq!(linked(2, "i001>i002 drop\ni001>i002 drop").links(), "i001>i002 drop\n");
}

#[test]
fn what_healing_excepts_holds_though_one_before_it_is_not_kept() {
    let mut faults = linked(3, "*>i002 drop");
    faults.heal_nodes(&[0]);
    // Of the lines that healing makes, the only one with something to except from.
    assert_eq!(faults.links(), "*>i002 drop\ni001>* none\n");
    faults.add_links("i001>i002 none").unwrap();
    assert_eq!(faults.links(), "*>i002 drop\ni001>i002 none\n");
    assert!(faults.effects(End::Node(0), End::Node(1)).is_none());
    assert_eq!(faults.effects(End::Node(2), End::Node(1)), drop());
}

#[test]
fn appending_adds() {
    let mut faults = linked(3, "i001>i002 drop");
    faults.add_links("i001>i002 loss 1%\ni002>i003 drop\n").unwrap();
    assert_eq!(faults.links(), "i001>i002 loss 1%\ni002>i003 drop\n");
    faults.add_links("\n").unwrap();
    assert_eq!(faults.links().lines().count(), 2);
    let before = faults.clone();
    assert!(faults.add_links("i003>i001 drop\nnonsense\n").is_err());
    assert_eq!(faults, before);
    faults.add_links("heal").unwrap();
    assert_eq!(faults, Faults::new(3));
}

#[test]
fn what_is_no_link_says_why() {
    for (text, part) in [
        ("i001>i009 drop", "no node is named 'i009'"),
        ("i001 drop", "names no link"),
        ("i001>i002", "i001>i002: no effect is named"),
        ("i001>i001 drop", "never leaves it"),
        ("host>host drop", "host>host"),
        (">i001 drop", "two ends"),
        ("i001> drop", "'drop' is no node"),
        ("a>b drop", "'a' is no node"),
        ("i001>i002 drop\ni001>i002 reject", "i001>i002 is there twice"),
        ("i001>i002 drop\nheal", "names no link"),
        ("i001>i002 loss 101%", "i001>i002: loss takes a share"),
    ] {
        let mut faults = Faults::new(2);
        let error = faults.set_links(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text:?}: {error}");
        assert_eq!(faults, Faults::new(2));
    }
    let error = Faults::new(2).set_links(&"i001>i002 drop\n".repeat(4_097)).unwrap_err().to_string();
    assert!(error.contains("at most 4096"), "{error}");
    assert!(linked(2, &"i001>i002 drop\n".repeat(4_096)).links().lines().count() == 1);
}

#[test]
fn a_table_has_its_limit_when_it_grows_too() {
    let nodes = 80;
    let mut faults = Faults::new(nodes);
    let lines: Vec<String> = (0..nodes)
        .flat_map(|from| (0..nodes).filter(move |to| *to != from).map(move |to| (from, to)))
        .map(|(from, to)| format!("{}>{} loss 1%", NodeName::nth(from), NodeName::nth(to)))
        .collect();
    faults.set_links(&lines[..4_000].join("\n")).unwrap();
    let before = faults.clone();
    assert!(faults.add_links(&lines[4_000..4_200].join("\n")).unwrap_err().to_string().contains("at most 4096"));
    assert_eq!(faults, before);
    faults.add_links(&lines[3_000..4_050].join("\n")).unwrap();
    assert_eq!(faults.links().lines().count(), 4_050);
}

#[test]
fn net_is_what_a_node_sends() {
    let mut faults = Faults::new(3);
    faults.set_net(2, "delay 50ms 10ms loss 2%").unwrap();
    assert_eq!(faults.net(2), "delay 50ms 10ms loss 2%\n");
    assert_eq!(faults.effects(End::Node(2), End::Node(0)).to_string(), "delay 50ms 10ms loss 2%");
    assert!(faults.effects(End::Node(0), End::Node(2)).is_none());
    assert!(faults.effects(End::Node(2), End::Host).is_none());
    assert_eq!(faults.in_force(), ["i003>* delay 50ms 10ms loss 2%"]);
    faults.set_links("i003>i001 none").unwrap();
    assert_eq!(faults.links(), "i003>i001 none\n");
    assert!(faults.effects(End::Node(2), End::Node(0)).is_none());
    assert!(faults.set_net(2, "i003>i001 drop").unwrap_err().to_string().contains("links"));
    assert!(faults.set_net(2, "drop\nreject").unwrap_err().to_string().contains("one line"));
    faults.set_net(2, "heal").unwrap();
    assert_eq!((faults.net(2), faults.links()), (String::new(), "i003>i001 none\n".into()));
}

#[test]
fn a_line_wins_whatever_was_written_first() {
    let mut faults = linked(3, "i003>i001 none");
    assert_eq!(faults.links(), "i003>i001 none\n");
    faults.set_net(2, "drop").unwrap();
    assert!(faults.effects(End::Node(2), End::Node(0)).is_none());
    assert_eq!(faults.effects(End::Node(2), End::Node(1)), drop());
    // One that healing has made goes with what it excepts from.
    faults.heal_nodes(&[1]);
    assert_eq!(faults.links(), "i003>i001 none\n*>i002 none\n");
    faults.set_net(2, "").unwrap();
    assert_eq!(faults.links(), "i003>i001 none\n");
    faults.heal();
    assert_eq!(faults.links(), "");
}

#[test]
fn a_partition_comes_first() {
    let mut faults = linked(3, "*>* delay 5ms");
    faults.set_partition("isolate i001", &mut dice()).unwrap();
    assert_eq!(faults.effects(End::Node(0), End::Node(1)), drop());
    assert_eq!(faults.effects(End::Node(1), End::Node(2)).to_string(), "delay 5ms");
    faults.set_partition("", &mut dice()).unwrap();
    assert_eq!(faults.effects(End::Node(0), End::Node(1)).to_string(), "delay 5ms");
}

#[test]
fn the_history_spells_out_what_is_cut() {
    let mut faults = partitioned(3, "i001 | i002 i003");
    faults.set_crashed(1, true);
    assert_eq!(
        faults.in_force(),
        ["i001>i002 drop", "i001>i003 drop", "i002>i001 drop", "i003>i001 drop", "i002 crashed"]
    );
    let mut faults = linked(3, "i001>* loss 1%\ni002>i001 loss 1%\ni001>host drop\nhost>i002 delay 1ms");
    assert_eq!(faults.in_force(), ["i001>* loss 1%", "i001>host drop", "i002>i001 loss 1%", "host>i002 delay 1ms"]);
    faults.heal();
    assert!(faults.in_force().is_empty());
    let mut many = partitioned(65, "isolate i001");
    many.set_net(1, "loss 1%").unwrap();
    many.set_links("i003>i004 delay 5ms").unwrap();
    let told = many.in_force();
    assert_eq!(told.len(), 3);
    assert_eq!(told[..2], ["i002>* loss 1%", "i003>i004 delay 5ms"]);
    assert!(told[2].starts_with("partition i001 | i002 i003 "), "{}", told[2]);
}

#[test]
fn a_sandbox_is_told_its_part() {
    let addresses = addresses(3);
    let faults = linked(3, "i001>i002 drop\ni003>i002 loss 1%\ni002>i003 delay 5ms\nhost>i001 drop\ni001>host loss 5%");
    let second = faults.desired(1, &addresses);
    assert_eq!(second.from.len(), 2);
    assert_eq!(second.from[0], (Peer::Node(addresses[0]), drop()));
    assert_eq!(second.to.len(), 1);
    assert_eq!(second.to[0].0, Peer::Node(addresses[2]));
    assert!(second.nodes.is_empty());
    let first = faults.desired(0, &addresses);
    assert!(first.from.len() == 1 && first.from[0] == (Peer::Host, drop()));
    assert!(first.to.len() == 1 && first.to[0].0 == Peer::Host, "a cut to a node is the receiver's business");
    assert_eq!(first.nodes, addresses[1..]);
    assert_eq!(Faults::new(3).desired(0, &addresses), Desired::default());
}

#[test]
fn a_crash_outlives_a_heal() {
    let mut faults = partitioned(3, "isolate i001");
    faults.set_crashed(0, true);
    assert!(faults.desired(0, &addresses(3)).silent);
    faults.heal();
    assert!(faults.is_crashed(0) && faults.partition().is_empty());
    faults.heal_nodes(&[0]);
    assert!(faults.is_crashed(0));
    faults.set_crashed(0, false);
    assert_eq!(faults, Faults::new(3));
}

const NODES: usize = 5;

fn line() -> impl Strategy<Value = String> {
    let end = || prop_oneof![4 => (1..=NODES).prop_map(|n| format!("i{n:03}")), 1 => Just("*".to_owned()), 1 => Just("host".to_owned())];
    let what = prop_oneof![4 => effects().prop_map(|effects| effects.to_string()), 1 => Just("none".to_owned())];
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
        2 => (0..NODES, effects()).prop_map(|(node, effects)| Step::Net(node, effects.to_string())),
        1 => (0..NODES).prop_map(Step::HealNode),
        1 => Just(Step::Heal),
        1 => (0..NODES, any::<bool>()).prop_map(|(node, crashed)| Step::Crash(node, crashed)),
    ]
}

fn take(faults: &mut Faults, step: &Step, dice: &mut Dice) {
    // A table with a contradiction is refused; that is one of the ways.
    let _ = match step {
        Step::Partition(text) => faults.set_partition(text, dice),
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

/// What befalls a link, looked up as the documentation says it.
fn naive(faults: &Faults, from: usize, to: usize) -> Effects {
    let mut cut = None;
    faults.partition.each_cut(NODES, |a, b, how| {
        if (a, b) == (from, to) {
            cut = Some(how);
        }
    });
    let last = faults.links.iter().rev().find(|link| link.pairs(NODES).any(|pair| pair == (from, to)));
    let net = if from < NODES && to < NODES { faults.net[from] } else { Effects::default() };
    match cut {
        Some(_) => Effects { cut, ..Effects::default() },
        None => last.map_or(net, |link| link.effects),
    }
}

fn ends() -> Vec<(usize, usize)> {
    (0..=NODES).flat_map(|from| (0..=NODES).map(move |to| (from, to))).filter(|(from, to)| from != to).collect()
}

proptest! {
    #[test]
    fn what_is_read_can_be_written_and_changes_nothing(steps in prop::collection::vec(step(), 1..8)) {
        let (mut faults, mut dice) = (Faults::new(NODES), dice());
        for step in &steps {
            take(&mut faults, step, &mut dice);
            let before = faults.clone();
            faults.set_partition(&before.partition(), &mut dice).unwrap();
            prop_assert_eq!(&faults, &before);
            faults.set_links(&before.links()).unwrap();
            prop_assert_eq!(faults.links(), before.links());
            prop_assert_eq!(&faults.matrix, &before.matrix);
            faults.add_links(&before.links()).unwrap();
            for (from, to) in ends() {
                prop_assert_eq!(faults.matrix.get(from, to), before.matrix.get(from, to));
            }
            faults = before.clone();
            for node in 0..NODES {
                faults.set_net(node, &before.net(node)).unwrap();
            }
            prop_assert_eq!(&faults, &before);
        }
    }

    #[test]
    fn what_befalls_a_link_is_what_the_rules_say(steps in prop::collection::vec(step(), 1..8)) {
        let (mut faults, mut dice) = (Faults::new(NODES), dice());
        for step in &steps {
            take(&mut faults, step, &mut dice);
            for (from, to) in ends() {
                prop_assert_eq!(faults.matrix.get(from, to), naive(&faults, from, to), "{}>{}", from, to);
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
        let all: Vec<Link> = lines.iter().map(|line| links::parse(line, NODES).unwrap().unwrap()[0]).collect();
        for (from, to) in ends() {
            let last = all.iter().rev().find(|link| link.pairs(NODES).any(|pair| pair == (from, to)));
            prop_assert_eq!(faults.matrix.get(from, to), last.map_or(Effects::default(), |link| link.effects));
        }
        for (line, link) in faults.links.iter().enumerate() {
            let later = &faults.links[line + 1..];
            let is_last = |pair| !later.iter().any(|other| other.pairs(NODES).any(|of_other| of_other == pair));
            prop_assert!(link.pairs(NODES).any(is_last), "{} is in force for no link", link);
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
            all.extend(links::parse(&text, 3).unwrap().unwrap());
            faults.add_links(&text).unwrap();
            for (from, to) in (0..3).flat_map(|from| (0..3).map(move |to| (from, to))).filter(|(from, to)| from != to) {
                let last = all.iter().rev().find(|link| link.pairs(3).any(|pair| pair == (from, to)));
                prop_assert_eq!(faults.matrix.get(from, to), last.map_or(faults.net[from], |link| link.effects), "{}>{} {}", from, to, faults.links());
            }
        }
    }

    #[test]
    fn healing_a_node_is_about_that_node(steps in prop::collection::vec(step(), 1..8), node in 0..NODES) {
        let (mut faults, mut dice) = (Faults::new(NODES), dice());
        steps.iter().for_each(|step| take(&mut faults, step, &mut dice));
        let before = faults.clone();
        faults.heal_nodes(&[node]);
        for (from, to) in ends() {
            let wanted = if from == node || to == node { Effects::default() } else { before.matrix.get(from, to) };
            prop_assert_eq!(faults.matrix.get(from, to), wanted, "{}>{}", from, to);
        }
    }

    #[test]
    fn sandboxes_are_told_what_befalls_links(steps in prop::collection::vec(step(), 1..8)) {
        let (mut faults, mut dice) = (Faults::new(NODES), dice());
        steps.iter().for_each(|step| take(&mut faults, step, &mut dice));
        let addresses = addresses(NODES);
        let number = |peer: &Peer| match peer {
            Peer::Host => NODES,
            Peer::Node(address) => addresses.iter().position(|other| other == address).unwrap(),
        };
        for node in 0..NODES {
            let desired = faults.desired(node, &addresses);
            for other in (0..=NODES).filter(|other| *other != node) {
                let told = |list: &[(Peer, Effects)]| list.iter().find(|(peer, _)| number(peer) == other).map(|(_, e)| *e);
                prop_assert_eq!(told(&desired.from).unwrap_or_default(), faults.matrix.get(other, node));
                let sent = faults.matrix.get(node, other);
                match told(&desired.to) {
                    Some(effects) => prop_assert_eq!(effects, sent),
                    None => {
                        let only_loss = (Effects { loss: Share::NONE, ..sent }).is_none();
                        let is_receivers = other != NODES && (sent.cut.is_some() || only_loss);
                        prop_assert!(sent.is_none() || is_receivers);
                    }
                }
            }
            prop_assert_eq!(desired.silent, faults.is_crashed(node));
        }
    }

    #[test]
    fn shapes_are_what_they_say(seed in any::<u64>(), pick in any::<prop::sample::Index>(), bits in any::<u32>()) {
        for nodes in 1usize..=25 {
            let mut dice = Dice::new(seed);
            let chosen = pick.index(nodes);
            let name = NodeName::nth(chosen);
            let all: BTreeSet<usize> = (0..nodes).collect();
            let mut cut = |text: &str| {
                let mut faults = Faults::new(nodes);
                faults.set_partition(text, &mut dice).map(|()| faults)
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
                // Who is heard hears.
                prop_assert!((0..nodes).all(|a| heard[a].iter().all(|b| heard[*b].contains(&a))));
            }
        }
    }

    #[test]
    fn anything_is_answered_and_what_is_wrong_changes_nothing(
        text in prop_oneof!["\\PC{0,80}", "(i00[1-9]|host|[*]|halves|ring|isolate|[|>]|drop|delay|5ms|loss|5%|\n| ){0,20}"]
    ) {
        let before = { let mut faults = linked(3, "i001>* loss 5%"); faults.set_partition("ring", &mut dice()).unwrap(); faults };
        let mut faults = before.clone();
        let results = [
            faults.set_partition(&text, &mut dice()).is_err(),
            { let ok = faults.clone(); faults = before.clone(); let failed = faults.set_links(&text).is_err(); if failed { assert_eq!(faults, before) }; faults = ok; failed },
        ];
        if results[0] { prop_assert_eq!(&faults, &before); }
        let mut faults = before.clone();
        if faults.add_links(&text).is_err() { prop_assert_eq!(&faults, &before); }
        let mut faults = before.clone();
        if faults.set_net(1, &text).is_err() { prop_assert_eq!(&faults, &before); }
    }
}

fn cut_error(nodes: usize, text: &str) -> String {
    Faults::new(nodes).set_partition(text, &mut dice()).unwrap_err().to_string()
}
