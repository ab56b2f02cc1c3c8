//! By which rules, queues and classes a desired state is brought about. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::protocol::Kernel;
use super::queues::Hold;
use crate::cluster::faults::{Cut, Delay, Desired, Effects, Peer, Rate, Share};

/// The queue that nobody listens to: the kernel drops what is handed to it, and the sender hears nothing of that.
pub const SINK: u16 = u16::MAX;

/// Where a rule looks at packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// On their way to the node.
    Input,
    /// On their way from it.
    Output,
    /// After [`Hook::Output`]; what came through a queue there, its sender has sent: it is told nothing of what befalls it here.
    Sent,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Input, Self::Output, Self::Sent];
}

/// Whose packets a rule is about: by their source in [`Hook::Input`], by their destination elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's but the node's own.
    Anybodys,
    /// These.
    Of(Vec<Ipv4Addr>),
    /// Everybody's but the node's own and these.
    NotOf(Vec<Ipv4Addr>),
    /// What this one sends to many at once (broadcast, multicast): to none of those addresses, which are the node's own.
    ManysFrom(Ipv4Addr, Vec<Ipv4Addr>),
    /// What the node sends to multicast groups, and to 255.255.255.255.
    Groups,
}

/// Addresses of the network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The node's own.
    pub own: Vec<Ipv4Addr>,
    /// Those of all in its networks (172.30.255.255).
    pub broadcast: Vec<Ipv4Addr>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The packet goes no further. In output, its sender gets EPERM.
    Drop,
    /// TCP is answered with a reset, everything else with "port unreachable"; answers of that kind pass.
    Reject,
    /// That share of packets is dropped.
    Lose(Share),
    /// The packet is handed to a queue.
    Queue(u16),
    /// That share of packets is handed to a queue.
    LoseTo(Share, u16),
    /// That share of packets is sent twice.
    Duplicate(Share),
    /// That share of packets is sent once more, to this neighbour alone, whatever their destination is.
    DuplicateTo(Share, Ipv4Addr),
    /// The packet is put into a class of the queueing discipline.
    Classify(u16),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where.
    pub hook: Hook,
    /// About whose packets.
    pub whose: Whose,
    /// What it does.
    pub act: Act,
}

impl Rule {
    /// Whether it is about IPv6 as well: about everybody, whatever their address.
    pub fn is_for_all(&self) -> bool {
        self.whose == Whose::Anybodys
    }
}

/// What netem does to the packets of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Netem {
    /// They wait.
    pub delay: Option<Delay>,
    /// They come twice.
    pub duplicate: Share,
    /// A bit is wrong.
    pub corrupt: Share,
    /// They do not wait.
    pub reorder: Share,
}

/// A class of the queueing discipline: the packets to one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Class {
    /// As fast as can be, if there is none.
    pub rate: Option<Rate>,
    /// `None`: packets only queue.
    pub netem: Option<Netem>,
}

/// All that there has to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub rules: Vec<Rule>,
    /// By number.
    pub queues: BTreeMap<u16, Hold>,
    /// By number: the minor one of the class.
    pub classes: BTreeMap<u16, Class>,
}

/// Numbers for peers; each keeps its own for as long as it is used.
#[derive(Clone, Debug)]
pub struct Numbers<K> {
    of: BTreeMap<K, u16>,
    used: BTreeSet<u16>,
}

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self { of: BTreeMap::new(), used: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> Numbers<K> {
    /// The number of `key`: from 2, as 1 is the queueing discipline's own, and none of those that are taken by others.
    fn of(&mut self, key: K, taken: &BTreeSet<u16>) -> u16 {
        if let Some(number) = self.of.get(&key) {
            return *number;
        }
        let free = (2..SINK).find(|number| !self.used.contains(number) && !taken.contains(number)).unwrap_or(2);
        self.of.insert(key, free);
        self.used.insert(free);
        free
    }

    fn keep(&mut self, used: BTreeSet<u16>) {
        self.of.retain(|_, number| used.contains(number));
        self.used = used;
    }
}

/// What a queue of a peer's is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// What arrives.
    Arriving,
    /// What arrives and was sent to many.
    ArrivingToMany,
    /// What leaves.
    Leaving,
}

/// Which numbers peers have, from one plan to the next.
#[derive(Clone, Debug, Default)]
pub struct Numbering {
    queues: Numbers<(Stage, Peer)>,
    /// A class of HTB keeps the debt that it has by its rate: another rate is another class.
    classes: Numbers<(Peer, Option<Rate>)>,
    /// Classes that are over, and in which packets wait still.
    pub draining: BTreeSet<u16>,
}

/// Plans.
pub fn plan(kernel: &Kernel, desired: &Desired, addresses: &Addresses, numbering: &mut Numbering) -> Plan {
    let mut plan = Plan::default();
    let netem = kernel.netem && kernel.htb;
    if desired.silent {
        plan.silence(kernel);
    }
    plan.receive(desired, netem, kernel, addresses, numbering);
    plan.send(desired, netem, kernel, numbering);
    plan.send_to_many(desired, kernel, addresses);
    numbering.queues.keep(plan.queues.keys().copied().collect());
    numbering.classes.keep(plan.classes.keys().copied().collect());
    plan
}

impl Plan {
    fn rule(&mut self, hook: Hook, whose: Whose, act: Act) {
        self.rules.push(Rule { hook, whose, act });
    }

    fn silence(&mut self, kernel: &Kernel) {
        self.rule(Hook::Input, Whose::Anybodys, Act::Drop);
        self.rule(Hook::Output, Whose::Anybodys, discard(kernel));
    }

    /// What befalls traffic where it arrives: cut and loss; without netem, and from the host, what waits too.
    fn receive(
        &mut self,
        desired: &Desired,
        netem: bool,
        kernel: &Kernel,
        addresses: &Addresses,
        numbering: &mut Numbering,
    ) {
        for (cut, act) in [(Cut::Drop, Act::Drop), (Cut::Reject, Act::Reject)] {
            self.group(desired, |effects| (effects.cut == Some(cut)).then_some(act));
        }
        let mut losses: Vec<Share> = desired.from.iter().map(|(_, effects)| effects.loss).collect();
        losses.sort();
        losses.dedup();
        for loss in losses.into_iter().filter(|loss| !loss.is_none()) {
            self.group(desired, |effects| (effects.loss == loss).then_some(Act::Lose(loss)));
        }
        for (peer, effects) in &desired.from {
            let hold = held(effects);
            let many = Hold { rate: effects.rate, ..hold };
            if let Peer::Node(address) = peer
                && many != (if netem { Hold::default() } else { hold })
                && kernel.queue.is_some()
                && !addresses.own.is_empty()
            {
                // What is sent to many leaves once for all of them: what applies on the way to this one can only be done here.
                let queue = numbering.queues.of((Stage::ArrivingToMany, *peer), &BTreeSet::new());
                self.queues.insert(queue, many);
                self.rule(Hook::Input, Whose::ManysFrom(*address, addresses.own.clone()), Act::Queue(queue));
            }
            if hold != Hold::default() && (!netem || *peer == Peer::Host) {
                let queue = numbering.queues.of((Stage::Arriving, *peer), &BTreeSet::new());
                self.queues.insert(queue, hold);
                self.rule(Hook::Input, whose(*peer, desired), Act::Queue(queue));
            }
        }
    }

    /// One rule for all nodes that an act is for, and one for the host.
    fn group(&mut self, desired: &Desired, act: impl Fn(&Effects) -> Option<Act>) {
        let mut nodes = vec![];
        let mut found = None;
        for (peer, effects) in &desired.from {
            let Some(act) = act(effects) else {
                continue;
            };
            match peer {
                Peer::Node(address) => {
                    nodes.push(*address);
                    found = Some(act);
                }
                Peer::Host => self.rule(Hook::Input, whose(Peer::Host, desired), act),
            }
        }
        if let Some(act) = found {
            self.rule(Hook::Input, Whose::Of(nodes), act);
        }
    }

    /// What befalls traffic where it leaves.
    fn send(&mut self, desired: &Desired, netem: bool, kernel: &Kernel, numbering: &mut Numbering) {
        for (peer, effects) in &desired.to {
            let whose = || whose(*peer, desired);
            let hold = held(effects);
            let class = Class {
                rate: effects.rate,
                netem: netem
                    .then_some(Netem {
                        delay: hold.delay,
                        duplicate: effects.duplicate,
                        corrupt: hold.corrupt,
                        reorder: hold.reorder,
                    })
                    .filter(|netem| *netem != Netem::default()),
            };
            if class != Class::default() {
                let number = numbering.classes.of((*peer, effects.rate), &numbering.draining);
                self.classes.insert(number, class);
                self.rule(Hook::Output, whose(), Act::Classify(number));
            }
            if !effects.duplicate.is_none() && !netem {
                self.rule(Hook::Output, whose(), Act::Duplicate(effects.duplicate));
            }
            // What arrives at a node is cut, lost and held there.
            if *peer == Peer::Host {
                self.send_to_host(effects, desired, netem, kernel, numbering);
            }
        }
    }

    /// A second copy of what is sent to many goes to that one peer alone. The other effects are the receiver's.
    fn send_to_many(&mut self, desired: &Desired, kernel: &Kernel, addresses: &Addresses) {
        for (peer, effects) in &desired.to {
            let Peer::Node(address) = peer else { continue };
            if effects.duplicate.is_none() || !kernel.dup || !kernel.numgen {
                continue;
            }
            let act = Act::DuplicateTo(effects.duplicate, *address);
            self.rule(Hook::Output, Whose::Groups, act);
            if !addresses.broadcast.is_empty() {
                self.rule(Hook::Output, Whose::Of(addresses.broadcast.clone()), act);
            }
        }
    }

    fn send_to_host(
        &mut self,
        effects: &Effects,
        desired: &Desired,
        netem: bool,
        kernel: &Kernel,
        numbering: &mut Numbering,
    ) {
        let whose = || whose(Peer::Host, desired);
        match effects.cut {
            Some(Cut::Drop) => return self.rule(Hook::Output, whose(), discard(kernel)),
            // A packet that is rejected while it is sent gives its sender EPERM, which no network does.
            Some(Cut::Reject) if kernel.queue.is_some() => {
                let queue = numbering.queues.of((Stage::Leaving, Peer::Host), &BTreeSet::new());
                self.queues.insert(queue, Hold::default());
                self.rule(Hook::Output, whose(), Act::Queue(queue));
                return self.rule(Hook::Sent, whose(), Act::Reject);
            }
            Some(Cut::Reject) => return self.rule(Hook::Output, whose(), Act::Reject),
            None => {}
        }
        if !effects.loss.is_none() {
            let lose = match discard(kernel) {
                Act::Queue(sink) => Act::LoseTo(effects.loss, sink),
                _ => Act::Lose(effects.loss),
            };
            self.rule(Hook::Output, whose(), lose);
        }
        let hold = held(effects);
        if hold != Hold::default() && !netem {
            let queue = numbering.queues.of((Stage::Leaving, Peer::Host), &BTreeSet::new());
            self.queues.insert(queue, hold);
            self.rule(Hook::Output, whose(), Act::Queue(queue));
        }
    }
}

/// What makes a packet vanish in output: without a word to its sender, where that is possible.
fn discard(kernel: &Kernel) -> Act {
    if kernel.queue.is_some() { Act::Queue(SINK) } else { Act::Drop }
}

fn held(effects: &Effects) -> Hold {
    Hold { delay: effects.delay, corrupt: effects.corrupt, reorder: effects.reorder, ..Hold::default() }
}

fn whose(peer: Peer, desired: &Desired) -> Whose {
    match peer {
        Peer::Node(address) => Whose::Of(vec![address]),
        Peer::Host => Whose::NotOf(desired.nodes.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::time::Duration;

    use super::super::protocol::QueueBy;
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
    const C: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);

    fn cut(cut: Cut) -> Effects {
        Effects { cut: Some(cut), ..Effects::default() }
    }

    fn delay() -> Effects {
        let delay = Delay { time: Duration::from_millis(5), jitter: Duration::ZERO };
        Effects { delay: Some(delay), ..Effects::default() }
    }

    fn lossy(millionths: u32) -> Effects {
        Effects { loss: Share::millionths(millionths).unwrap(), ..Effects::default() }
    }

    fn rated() -> Effects {
        Effects { rate: NonZeroU64::new(1_000_000).map(Rate), ..Effects::default() }
    }

    fn no_netem() -> Kernel {
        Kernel { netem: false, queue: Some(QueueBy::Target), ..Kernel::everything() }
    }

    fn planned(kernel: &Kernel, desired: &Desired) -> Plan {
        plan(kernel, desired, &Addresses::default(), &mut Numbering::default())
    }

    #[test]
    fn what_is_sent_to_many_is_held_where_it_arrives_and_doubled_for_one_peer() {
        let all = Effects { duplicate: Share::ALL, rate: rated().rate, ..delay() };
        let desired =
            Desired { from: vec![(Peer::Node(A), all)], to: vec![(Peer::Node(B), all)], ..Desired::default() };
        let addresses = Addresses { own: vec![C], broadcast: vec![Ipv4Addr::new(10, 0, 0, 255)] };
        let planned = |kernel: &Kernel| plan(kernel, &desired, &addresses, &mut Numbering::default());
        let many = Whose::ManysFrom(A, vec![C]);
        let rule = |hook, whose, act| Rule { hook, whose, act };
        let doubled = [
            rule(Hook::Output, Whose::Groups, Act::DuplicateTo(Share::ALL, B)),
            rule(Hook::Output, Whose::Of(addresses.broadcast.clone()), Act::DuplicateTo(Share::ALL, B)),
        ];
        let poor = planned(&no_netem());
        assert_eq!(
            poor.rules[..2],
            [rule(Hook::Input, many.clone(), Act::Queue(2)), rule(Hook::Input, Whose::Of(vec![A]), Act::Queue(3))]
        );
        assert_eq!((poor.queues[&2].rate, poor.queues[&2].delay), (all.rate, all.delay));
        assert_eq!((poor.queues[&3].rate, poor.queues[&3].delay), (None, all.delay));
        assert_eq!(poor.rules[poor.rules.len() - 2..], doubled);
        let netem = planned(&Kernel::everything());
        assert_eq!(netem.rules[0], rule(Hook::Input, many, Act::Queue(2)));
        assert_eq!(netem.queues.len(), 1);
        assert_eq!(netem.rules[netem.rules.len() - 2..], doubled);
        let no_queue = planned(&Kernel { queue: None, dup: false, ..Kernel::everything() });
        assert!(no_queue.queues.is_empty() && no_queue.rules.len() == 1, "{no_queue:?}");
        // A delay alone needs no second queue where one holds all that arrives.
        let slow = Desired { from: vec![(Peer::Node(A), delay())], ..Desired::default() };
        assert_eq!(plan(&no_netem(), &slow, &addresses, &mut Numbering::default()).queues.len(), 1);
    }

    #[test]
    fn peers_that_fare_alike_share_a_rule() {
        let from = vec![(Peer::Node(A), cut(Cut::Drop)), (Peer::Node(B), lossy(10)), (Peer::Node(C), cut(Cut::Drop))];
        let plan = planned(&no_netem(), &Desired { from, ..Desired::default() });
        let input = |whose, act| Rule { hook: Hook::Input, whose, act };
        let wanted = [
            input(Whose::Of(vec![A, C]), Act::Drop),
            input(Whose::Of(vec![B]), Act::Lose(Share::millionths(10).unwrap())),
        ];
        assert_eq!(plan.rules, wanted);
        assert!(plan.queues.is_empty() && plan.classes.is_empty());
    }

    #[test]
    fn waiting_is_done_where_the_kernel_can() {
        let desired =
            Desired { from: vec![(Peer::Node(A), delay())], to: vec![(Peer::Node(B), delay())], ..Desired::default() };
        let queued = planned(&no_netem(), &desired);
        assert_eq!(queued.rules.len(), 1, "{queued:?}");
        assert_eq!(queued.rules[0].act, Act::Queue(2));
        assert_eq!(queued.queues[&2].delay, delay().delay);
        let netem = planned(&Kernel::everything(), &desired);
        assert!(netem.queues.is_empty());
        assert_eq!(netem.rules.len(), 1);
        assert_eq!((netem.rules[0].hook, netem.rules[0].act), (Hook::Output, Act::Classify(2)));
        assert_eq!(netem.classes[&2].netem.unwrap().delay, delay().delay);
    }

    #[test]
    fn the_host_is_dealt_with_on_this_side() {
        let desired = Desired {
            from: vec![(Peer::Host, delay())],
            to: vec![(Peer::Host, Effects { rate: rated().rate, ..lossy(5) })],
            nodes: vec![A, B],
            ..Desired::default()
        };
        let plan = planned(&Kernel::everything(), &desired);
        let host = Whose::NotOf(vec![A, B]);
        assert!(plan.rules.iter().all(|rule| rule.whose == host));
        let acts: Vec<Act> = plan.rules.iter().map(|rule| rule.act).collect();
        assert_eq!(acts, [Act::Queue(2), Act::Classify(2), Act::LoseTo(Share::millionths(5).unwrap(), SINK)]);
        let cut_off = Desired { to: vec![(Peer::Host, cut(Cut::Drop))], nodes: vec![A], ..Desired::default() };
        assert_eq!(planned(&no_netem(), &cut_off).rules[0].act, Act::Queue(SINK), "no EPERM for the sender");
        let poor = Kernel { queue: None, ..no_netem() };
        assert_eq!(planned(&poor, &cut_off).rules[0].act, Act::Drop);
    }

    #[test]
    fn what_the_host_rejects_has_been_sent() {
        let desired = Desired { to: vec![(Peer::Host, cut(Cut::Reject))], nodes: vec![A], ..Desired::default() };
        let plan = planned(&Kernel::everything(), &desired);
        let rule = |hook, act| Rule { hook, whose: Whose::NotOf(vec![A]), act };
        assert_eq!(plan.rules, [rule(Hook::Output, Act::Queue(2)), rule(Hook::Sent, Act::Reject)]);
        assert_eq!(plan.queues, BTreeMap::from([(2, Hold::default())]));
        let poor = planned(&Kernel { queue: None, ..no_netem() }, &desired);
        assert_eq!(poor.rules, [rule(Hook::Output, Act::Reject)]);
        assert!(poor.queues.is_empty());
    }

    #[test]
    fn silence_is_complete_and_comes_first() {
        let desired = Desired { silent: true, from: vec![(Peer::Node(A), delay())], ..Desired::default() };
        let plan = planned(&no_netem(), &desired);
        assert!(plan.rules[..2].iter().all(|rule| rule.whose == Whose::Anybodys));
        assert_eq!((plan.rules[0].act, plan.rules[1].act), (Act::Drop, Act::Queue(SINK)));
        assert_eq!(plan.rules.len(), 3);
    }

    #[test]
    fn a_peer_keeps_its_number_while_it_has_one() {
        let desired = |peers: &[Ipv4Addr]| Desired {
            from: peers.iter().map(|peer| (Peer::Node(*peer), delay())).collect(),
            to: peers.iter().map(|peer| (Peer::Node(*peer), rated())).collect(),
            ..Desired::default()
        };
        let mut numbering = Numbering::default();
        let mut act = |peers: &[Ipv4Addr]| {
            let plan = plan(&no_netem(), &desired(peers), &Addresses::default(), &mut numbering);
            let of = |address: Ipv4Addr| {
                let rules = plan.rules.iter().filter(move |rule| rule.whose == Whose::Of(vec![address]));
                rules.map(|rule| rule.act).collect::<Vec<_>>()
            };
            (of(A), of(B), of(C))
        };
        let two = |number| vec![Act::Queue(number), Act::Classify(number)];
        assert_eq!(act(&[A, B]), (two(2), two(3), vec![]));
        assert_eq!(act(&[B]), (vec![], two(3), vec![]));
        assert_eq!(act(&[B, C]), (vec![], two(3), two(2)));
    }

    #[test]
    fn nothing_desired_nothing_planned() {
        assert_eq!(planned(&Kernel::everything(), &Desired::default()), Plan::default());
    }
}
