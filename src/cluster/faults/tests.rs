use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::grammar::tests::impairments;
use super::*;
use crate::cluster::NodeName;

mod properties;

fn rng() -> SeededRng {
    SeededRng::new(1)
}

fn drop() -> Impairments {
    Impairments { cut: Some(Cut::Drop), ..Impairments::default() }
}

fn partitioned(nodes: usize, text: &str) -> Faults {
    let mut faults = Faults::new(nodes);
    faults.set_partition(text, &mut rng()).unwrap();
    faults
}

fn linked(nodes: usize, text: &str) -> Faults {
    let mut faults = Faults::new(nodes);
    faults.set_links(text).unwrap();
    faults
}

/// The nodes that a node hears, itself included.
fn hears(faults: &Faults, to: usize) -> BTreeSet<usize> {
    (0..faults.nodes).filter(|from| faults.impairments(LinkEnd::Node(*from), LinkEnd::Node(to)).cut.is_none()).collect()
}

fn addresses(nodes: usize) -> Vec<Vec<Ipv4Addr>> {
    (0..nodes).map(|node| vec![Ipv4Addr::from(0x0a00_0002 + node as u32)]).collect()
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
    assert!(faults.impairments(LinkEnd::Host, LinkEnd::Node(0)).is_none(), "the host is not touched");
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
        let error = faults.set_partition(text, &mut rng()).unwrap_err().to_string();
        assert!(error.contains(part), "{text:?}: {error}");
        assert_eq!(faults, Faults::new(nodes), "{text:?}");
    }
    assert!(matches!(Faults::new(2).set_partition("i003", &mut rng()), Err(FaultError::NoSuchNode(_))));
}

#[test]
fn links_are_directed_and_later_lines_win() {
    let faults =
        linked(3, "i001>i002 drop\n\n i003 > * delay 100ms 20ms loss 5%\n*>i002\trate 1mbit\ni001>host reject\n");
    assert_eq!(faults.links(), "i003>* delay 100ms 20ms loss 5%\n*>i002 rate 1mbit\ni001>host reject\n");
    let between = |from, to| faults.impairments(LinkEnd::Node(from), LinkEnd::Node(to)).to_string();
    assert_eq!(between(0, 1), "rate 1mbit");
    assert_eq!(between(2, 1), "rate 1mbit");
    assert_eq!(between(2, 0), "delay 100ms 20ms loss 5%");
    assert_eq!(between(1, 0), "none");
    assert_eq!(faults.impairments(LinkEnd::Node(0), LinkEnd::Host).to_string(), "reject");
    assert!(faults.impairments(LinkEnd::Node(2), LinkEnd::Host).is_none(), "* means nodes");
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
    assert!(faults.impairments(LinkEnd::Node(0), LinkEnd::Node(1)).is_none());
    assert_eq!(faults.impairments(LinkEnd::Node(2), LinkEnd::Node(1)), drop());
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
    assert_eq!(faults.impairments(LinkEnd::Node(2), LinkEnd::Node(0)).to_string(), "delay 50ms 10ms loss 2%");
    assert!(faults.impairments(LinkEnd::Node(0), LinkEnd::Node(2)).is_none());
    assert!(faults.impairments(LinkEnd::Node(2), LinkEnd::Host).is_none());
    assert_eq!(told(&faults), ["i003>* delay 50ms 10ms loss 2%"]);
    faults.set_links("i003>i001 none").unwrap();
    assert_eq!(faults.links(), "i003>i001 none\n");
    assert!(faults.impairments(LinkEnd::Node(2), LinkEnd::Node(0)).is_none());
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
    assert!(faults.impairments(LinkEnd::Node(2), LinkEnd::Node(0)).is_none());
    assert_eq!(faults.impairments(LinkEnd::Node(2), LinkEnd::Node(1)), drop());
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
    faults.set_partition("isolate i001", &mut rng()).unwrap();
    assert_eq!(faults.impairments(LinkEnd::Node(0), LinkEnd::Node(1)), drop());
    assert_eq!(faults.impairments(LinkEnd::Node(1), LinkEnd::Node(2)).to_string(), "delay 5ms");
    faults.set_partition("", &mut rng()).unwrap();
    assert_eq!(faults.impairments(LinkEnd::Node(0), LinkEnd::Node(1)).to_string(), "delay 5ms");
}

fn told(faults: &Faults) -> Vec<String> {
    faults.in_force().iter().flat_map(FaultInForce::texts).collect()
}

#[test]
fn the_history_spells_out_what_is_cut() {
    let mut faults = partitioned(3, "i001 | i002 i003");
    faults.set_crashed(1, true);
    assert_eq!(told(&faults), ["i001>i002 drop", "i001>i003 drop", "i002>i001 drop", "i003>i001 drop", "i002 crashed"]);
    let mut faults = linked(3, "i001>* loss 1%\ni002>i001 loss 1%\ni001>host drop\nhost>i002 delay 1ms");
    assert_eq!(told(&faults), ["i001>* loss 1%", "i001>host drop", "i002>i001 loss 1%", "host>i002 delay 1ms"]);
    faults.heal();
    assert!(faults.in_force().is_empty());
    let mut many = partitioned(65, "isolate i001");
    many.set_net(1, "loss 1%").unwrap();
    many.set_links("i003>i004 delay 5ms").unwrap();
    let told = told(&many);
    assert_eq!(told.len(), 3);
    assert_eq!(told[..2], ["i002>* loss 1%", "i003>i004 delay 5ms"]);
    assert!(told[2].starts_with("partition i001 | i002 i003 "), "{}", told[2]);
}

#[test]
fn what_is_in_force_is_typed_and_its_size_grows_with_the_nodes() {
    let mut faults = partitioned(4, "reject isolate i001");
    faults.set_links("host>i002 delay 1ms loss 5%").unwrap();
    faults.set_crashed(3, true);
    let reject = || serde_json::json!({"cut": "reject"});
    assert_eq!(
        serde_json::to_value(faults.in_force()).unwrap(),
        serde_json::json!([
            {"link": {"from": "i001", "to": ["i002", "i003", "i004"], "impairments": reject()}},
            {"link": {"from": "i002", "to": ["i001"], "impairments": reject()}},
            {"link": {"from": "i003", "to": ["i001"], "impairments": reject()}},
            {"link": {"from": "i004", "to": ["i001"], "impairments": reject()}},
            {"link": {"from": "host", "to": ["i002"],
                "impairments": {"delay": {"time_us": 1000, "jitter_us": 0}, "loss": 50_000}}},
            {"crashed": "i004"},
        ])
    );
    let size = |nodes| serde_json::to_string(&partitioned(nodes, "halves").in_force()).unwrap().len();
    assert!(size(1_000) < 10_000 && size(64) < 20_000, "{} {}", size(1_000), size(64));
    let counts =
        |faults: &Faults, node: &str| faults.in_force().iter().map(|fault| fault.count_at(node)).sum::<usize>();
    assert_eq!(["i001", "i002", "i004"].map(|node| counts(&faults, node)), [6, 3, 3]);
    assert_eq!(
        (counts(&linked(65, "*>* delay 5ms"), "i002"), counts(&partitioned(65, "isolate i001"), "i009")),
        (1, 1)
    );
}

#[test]
fn a_sandbox_is_told_its_part() {
    let addresses = addresses(3);
    let faults = linked(3, "i001>i002 drop\ni003>i002 loss 1%\ni002>i003 delay 5ms\nhost>i001 drop\ni001>host loss 5%");
    let second = faults.desired(&addresses).remove(1);
    let pairs = |by_peer: &ByPeer| by_peer.iter().collect::<Vec<_>>();
    assert_eq!(pairs(&second.ingress).len(), 2);
    assert_eq!(pairs(&second.ingress)[0], (Peer::Node(addresses[0][0]), drop()));
    assert_eq!(pairs(&second.egress).len(), 1);
    assert_eq!(pairs(&second.egress)[0].0, Peer::Node(addresses[2][0]));
    assert!(second.nodes.is_empty());
    let first = faults.desired(&addresses).remove(0);
    assert_eq!(pairs(&first.ingress), [(Peer::Host, drop())]);
    let sent = pairs(&first.egress);
    assert!(sent.len() == 1 && sent[0].0 == Peer::Host, "a cut to a node is the receiver's business");
    assert_eq!(first.nodes, addresses.concat());
    assert_eq!(first.of_node_with(&addresses[0]).nodes, addresses[1..].concat());
    assert_eq!(Faults::new(3).desired(&addresses), vec![Arc::new(NetState::default()); 3]);
}

#[test]
fn nodes_to_which_the_same_applies_share_one_state_and_a_group_of_peers() {
    let nodes = 300;
    let addresses = addresses(nodes);
    let state = |faults: &Faults| {
        let states = faults.desired(&addresses);
        let distinct: BTreeSet<_> = states.iter().map(Arc::as_ptr).collect();
        (distinct.len(), states[0].ingress.groups().count(), states[0].ingress.iter().count())
    };
    assert_eq!(state(&partitioned(nodes, "halves")), (2, 1, 150));
    assert_eq!(state(&partitioned(nodes, "isolate i002")), (2, 1, 1));
    // Each state has the node's own address among those of all nodes; it has no meaning there.
    assert_eq!(state(&linked(nodes, "*>* delay 10ms")), (1, 1, nodes));
    // The one that is named, the one that hears it as no other does, and the rest.
    assert_eq!(state(&linked(nodes, "*>* delay 10ms\ni007>i001 loss 1%")), (3, 2, nodes - 1));
}

#[test]
fn a_crash_outlives_a_heal() {
    let mut faults = partitioned(3, "isolate i001");
    faults.set_crashed(0, true);
    assert!(faults.desired(&addresses(3))[0].blackholed);
    faults.heal();
    assert!(faults.is_crashed(0) && faults.partition().is_empty());
    faults.heal_nodes(&[0]);
    assert!(faults.is_crashed(0));
    faults.set_crashed(0, false);
    assert_eq!(faults, Faults::new(3));
}

fn cut_error(nodes: usize, text: &str) -> String {
    Faults::new(nodes).set_partition(text, &mut rng()).unwrap_err().to_string()
}
