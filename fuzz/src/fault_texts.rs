//! Any text written to partition, links or net is refused with a sentence and changes nothing, or is in force; what is read
//! then can be written, and changes nothing.

use std::net::Ipv4Addr;

use cthulhu::cluster::faults::{Cut, Faults, LinkEnd, Peer, SeededRng};

const NODES: usize = 5;

fn ends() -> impl Iterator<Item = LinkEnd> {
    (0..NODES).map(LinkEnd::Node).chain([LinkEnd::Host])
}

/// What sandboxes are told are the effects on each link.
fn check_desired(faults: &Faults) {
    let addresses: Vec<_> = (1..=NODES as u8).map(|last| vec![Ipv4Addr::new(172, 30, 0, last)]).collect();
    let peer = |end| match end {
        LinkEnd::Node(node) => Peer::Node(addresses[node][0]),
        LinkEnd::Host => Peer::Host,
    };
    for node in 0..NODES {
        let desired = faults.desired(&addresses)[node].of_node_with(&addresses[node]);
        for end in ends().filter(|end| *end != LinkEnd::Node(node)) {
            let told = desired.ingress.iter().find(|(from, _)| *from == peer(end)).map(|(_, impairments)| impairments);
            assert_eq!(told.unwrap_or_default(), faults.impairments(end, LinkEnd::Node(node)));
        }
        assert!(desired.ingress.iter().chain(desired.egress.iter()).all(|(_, impairments)| !impairments.is_none()));
        let cut = desired.egress.iter().find(|(to, impairments)| *to != Peer::Host && impairments.cut.is_some());
        assert_eq!(cut, None, "a cut is brought about where it arrives");
    }
}

pub fn takes(data: &[u8]) -> bool {
    let (text, mut taken) = (super::utf8(data), false);
    let mut faults = Faults::new(NODES);
    faults.set_links("i001>i002 loss 1%\n*>i003 delay 5ms\n").unwrap();
    faults.set_net(0, "reject").unwrap();
    for file in 0..4 {
        let before = faults.clone();
        let mut rng = SeededRng::new(text.len() as u64);
        let written = match file {
            0 => faults.set_partition(text, &mut rng),
            1 => faults.set_net(1, text),
            2 => faults.add_links(text),
            _ => faults.set_links(text),
        };
        if let Err(error) = written {
            let sentence = error.to_string();
            assert!(!sentence.is_empty() && sentence.len() < 1000, "{sentence}");
            assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
            assert_eq!(faults, before);
            continue;
        }
        taken = true;
        check_desired(&faults);
        let mut again = faults.clone();
        again.set_partition(&faults.partition(), &mut rng).unwrap();
        again.set_links(&faults.links()).unwrap();
        (0..NODES).for_each(|node| again.set_net(node, &faults.net(node)).unwrap());
        assert_eq!(again, faults);
        for node in 0..NODES {
            again.heal_nodes(&[node]);
            for end in ends() {
                let both = [again.impairments(end, LinkEnd::Node(node)), again.impairments(LinkEnd::Node(node), end)];
                assert!(both.iter().all(|impairments| impairments.is_none()), "{end:?} and {node}");
            }
        }
    }
    // A partition cuts both ways.
    for (one, other) in (0..NODES).flat_map(|one| (0..one).map(move |other| (one, other))) {
        let mut alone = Faults::new(NODES);
        alone.set_partition(&faults.partition(), &mut SeededRng::new(0)).unwrap();
        let cut = |from, to| alone.impairments(LinkEnd::Node(from), LinkEnd::Node(to)).cut;
        assert!(matches!(cut(one, other), None | Some(Cut::Drop | Cut::Reject)));
        assert_eq!(cut(one, other), cut(other, one));
    }
    taken
}
