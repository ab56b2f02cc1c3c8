//! Any text written to partition, links or net is refused with a sentence and changes nothing, or is in force; what is read
//! then can be written, and changes nothing.
#![no_main]

use std::net::Ipv4Addr;

use cthulhu::cluster::faults::{Cut, Dice, End, Faults, Peer};
use libfuzzer_sys::fuzz_target;

const NODES: usize = 5;

fn ends() -> impl Iterator<Item = End> {
    (0..NODES).map(End::Node).chain([End::Host])
}

/// What sandboxes are told is what befalls each link.
fn check_desired(faults: &Faults) {
    let addresses: Vec<Ipv4Addr> = (1..=NODES as u8).map(|last| Ipv4Addr::new(172, 30, 0, last)).collect();
    let peer = |end| match end {
        End::Node(node) => Peer::Node(addresses[node]),
        End::Host => Peer::Host,
    };
    for node in 0..NODES {
        let desired = faults.desired(node, &addresses);
        for end in ends().filter(|end| *end != End::Node(node)) {
            let told = desired.from.iter().find(|(from, _)| *from == peer(end)).map(|(_, effects)| *effects);
            assert_eq!(told.unwrap_or_default(), faults.effects(end, End::Node(node)));
        }
        assert!(desired.from.iter().chain(&desired.to).all(|(_, effects)| !effects.is_none()));
        let cut = desired.to.iter().find(|(to, effects)| *to != Peer::Host && effects.cut.is_some());
        assert_eq!(cut, None, "a cut is brought about where it arrives");
    }
}

fuzz_target!(|text: &str| {
    let mut faults = Faults::new(NODES);
    faults.set_links("i001>i002 loss 1%\n*>i003 delay 5ms\n").unwrap();
    faults.set_net(0, "reject").unwrap();
    for file in 0..4 {
        let before = faults.clone();
        let mut dice = Dice::new(text.len() as u64);
        let written = match file {
            0 => faults.set_partition(text, &mut dice),
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
        check_desired(&faults);
        let mut again = faults.clone();
        again.set_partition(&faults.partition(), &mut dice).unwrap();
        again.set_links(&faults.links()).unwrap();
        (0..NODES).for_each(|node| again.set_net(node, &faults.net(node)).unwrap());
        assert_eq!(again, faults);
        for node in 0..NODES {
            again.heal_nodes(&[node]);
            for end in ends() {
                let both = [again.effects(end, End::Node(node)), again.effects(End::Node(node), end)];
                assert!(both.iter().all(|effects| effects.is_none()), "{end:?} and {node}");
            }
        }
    }
    // A partition cuts both ways.
    for (one, other) in (0..NODES).flat_map(|one| (0..one).map(move |other| (one, other))) {
        let mut alone = Faults::new(NODES);
        alone.set_partition(&faults.partition(), &mut Dice::new(0)).unwrap();
        let cut = |from, to| alone.effects(End::Node(from), End::Node(to)).cut;
        assert!(matches!(cut(one, other), None | Some(Cut::Drop | Cut::Reject)));
        assert_eq!(cut(one, other), cut(other, one));
    }
});
