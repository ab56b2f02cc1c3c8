//! Plans the rules, queues and classes that apply a desired state. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::protocol::Capabilities;
use super::queues::QueuePolicy;
use crate::cluster::faults::{Cut, Delay, Impairments, NetState, Peer, Rate, Share};

/// A queue without a listener: the kernel drops what is handed to it, and the sender gets no error.
pub(crate) const SINK: u16 = u16::MAX;

/// Where a rule looks at packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hook {
    /// On their way to the node.
    Input,
    /// On their way from it.
    Output,
    /// After [`Hook::Output`]; a packet that came through a queue there counts as sent, so its sender gets no error for
    /// what happens to it here.
    Sent,
}

impl Hook {
    pub(crate) const ALL: [Self; 3] = [Self::Input, Self::Output, Self::Sent];
}

/// Whose packets a rule is about: by their source in [`Hook::Input`], by their destination elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// All packets but the node's own.
    Anybodys,
    Of(Vec<Ipv4Addr>),
    /// All packets but the node's own and these.
    NotOf(Vec<Ipv4Addr>),
    /// What this one sends to many at once (broadcast, multicast): to none of those addresses, which are the node's own.
    ManysFrom(Ipv4Addr, Vec<Ipv4Addr>),
    /// What the node sends to multicast groups, and to 255.255.255.255.
    Groups,
}

/// Addresses of the network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// The node's own.
    pub(crate) own: Vec<Ipv4Addr>,
    /// Those of all in its networks (172.30.255.255).
    pub(crate) broadcast: Vec<Ipv4Addr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
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
    /// This share of packets is sent once more, to this neighbour only, whatever their destination.
    DuplicateTo(Share, Ipv4Addr),
    /// The packet is put into a class of the queueing discipline.
    Classify(u16),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) hook: Hook,
    /// About whose packets.
    pub(crate) whose: Whose,
    pub(crate) act: Act,
}

impl Rule {
    /// Whether it applies to IPv6 as well: that is so if it applies to all peers.
    pub(crate) fn is_for_all(&self) -> bool {
        self.whose == Whose::Anybodys
    }
}

/// What netem does to the packets of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Netem {
    /// They wait.
    pub(crate) delay: Option<Delay>,
    /// They come twice.
    pub(crate) duplicate: Share,
    /// A bit is wrong.
    pub(crate) corrupt: Share,
    /// They do not wait.
    pub(crate) reorder: Share,
}

/// A class of the queueing discipline: the packets to one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Class {
    /// As fast as can be, if there is none.
    pub(crate) rate: Option<Rate>,
    /// `None`: packets only queue.
    pub(crate) netem: Option<Netem>,
}

/// All that there has to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) rules: Vec<Rule>,
    pub(crate) queues: BTreeMap<u16, QueuePolicy>,
    /// By number: the minor one of the class.
    pub(crate) classes: BTreeMap<u16, Class>,
}

/// Numbers for peers; each keeps its own for as long as it is used.
#[derive(Clone, Debug)]
pub(crate) struct Numbers<K> {
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
pub(crate) struct Numbering {
    queues: Numbers<(Stage, Peer)>,
    /// A class of HTB keeps the debt that it has by its rate: another rate is another class.
    classes: Numbers<(Peer, Option<Rate>)>,
    /// Classes that are over, and in which packets wait still.
    pub(crate) draining: BTreeSet<u16>,
}

pub(crate) fn plan(
    kernel: &Capabilities,
    desired: &NetState,
    addresses: &Addresses,
    numbering: &mut Numbering,
) -> Plan {
    let desired = &desired.of_node_with(&addresses.own);
    let mut plan = Plan::default();
    let netem = kernel.netem && kernel.htb;
    if desired.blackholed {
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

    fn silence(&mut self, kernel: &Capabilities) {
        self.rule(Hook::Input, Whose::Anybodys, Act::Drop);
        self.rule(Hook::Output, Whose::Anybodys, discard(kernel));
    }

    /// What applies to traffic where it arrives: cut and loss; without netem, and from the host, delays too.
    fn receive(
        &mut self,
        desired: &NetState,
        netem: bool,
        kernel: &Capabilities,
        addresses: &Addresses,
        numbering: &mut Numbering,
    ) {
        for (cut, act) in [(Cut::Drop, Act::Drop), (Cut::Reject, Act::Reject)] {
            self.group(desired, |impairments| (impairments.cut == Some(cut)).then_some(act));
        }
        let mut losses: Vec<Share> = desired.ingress.iter().map(|(_, impairments)| impairments.loss).collect();
        losses.sort();
        losses.dedup();
        for loss in losses.into_iter().filter(|loss| !loss.is_none()) {
            self.group(desired, |impairments| (impairments.loss == loss).then_some(Act::Lose(loss)));
        }
        for (peer, impairments) in desired.ingress.iter() {
            let policy = held(&impairments);
            let many = QueuePolicy { rate: impairments.rate, ..policy };
            if let Peer::Node(address) = peer
                && many != (if netem { QueuePolicy::default() } else { policy })
                && kernel.queue.is_some()
                && !addresses.own.is_empty()
            {
                // What is sent to many leaves once for all of them: what applies on the way to this one can only be done here.
                let queue = numbering.queues.of((Stage::ArrivingToMany, peer), &BTreeSet::new());
                self.queues.insert(queue, many);
                self.rule(Hook::Input, Whose::ManysFrom(address, addresses.own.clone()), Act::Queue(queue));
            }
            if policy != QueuePolicy::default() && (!netem || peer == Peer::Host) {
                let queue = numbering.queues.of((Stage::Arriving, peer), &BTreeSet::new());
                self.queues.insert(queue, policy);
                self.rule(Hook::Input, whose(peer, desired), Act::Queue(queue));
            }
        }
    }

    /// One rule for all nodes that an act is for, and one for the host.
    fn group(&mut self, desired: &NetState, act: impl Fn(&Impairments) -> Option<Act>) {
        let mut nodes = vec![];
        let mut found = None;
        for (peer, impairments) in desired.ingress.iter() {
            let Some(act) = act(&impairments) else {
                continue;
            };
            match peer {
                Peer::Node(address) => {
                    nodes.push(address);
                    found = Some(act);
                }
                Peer::Host => self.rule(Hook::Input, whose(Peer::Host, desired), act),
            }
        }
        if let Some(act) = found {
            self.rule(Hook::Input, Whose::Of(nodes), act);
        }
    }

    /// What applies to traffic where it leaves.
    fn send(&mut self, desired: &NetState, netem: bool, kernel: &Capabilities, numbering: &mut Numbering) {
        for (peer, impairments) in desired.egress.iter() {
            let whose = || whose(peer, desired);
            let policy = held(&impairments);
            let class = Class {
                rate: impairments.rate,
                netem: netem
                    .then_some(Netem {
                        delay: policy.delay,
                        duplicate: impairments.duplicate,
                        corrupt: policy.corrupt,
                        reorder: policy.reorder,
                    })
                    .filter(|netem| *netem != Netem::default()),
            };
            if class != Class::default() {
                let number = numbering.classes.of((peer, impairments.rate), &numbering.draining);
                self.classes.insert(number, class);
                self.rule(Hook::Output, whose(), Act::Classify(number));
            }
            if !impairments.duplicate.is_none() && !netem {
                self.rule(Hook::Output, whose(), Act::Duplicate(impairments.duplicate));
            }
            // What arrives at a node is cut, lost and held there.
            if peer == Peer::Host {
                self.send_to_host(&impairments, desired, netem, kernel, numbering);
            }
        }
    }

    /// A second copy of what is sent to many goes to that one peer alone. The receiver applies the other impairments.
    fn send_to_many(&mut self, desired: &NetState, kernel: &Capabilities, addresses: &Addresses) {
        for (peer, impairments) in desired.egress.iter() {
            let Peer::Node(address) = peer else { continue };
            if impairments.duplicate.is_none() || !kernel.dup || !kernel.numgen {
                continue;
            }
            let act = Act::DuplicateTo(impairments.duplicate, address);
            self.rule(Hook::Output, Whose::Groups, act);
            if !addresses.broadcast.is_empty() {
                self.rule(Hook::Output, Whose::Of(addresses.broadcast.clone()), act);
            }
        }
    }

    fn send_to_host(
        &mut self,
        impairments: &Impairments,
        desired: &NetState,
        netem: bool,
        kernel: &Capabilities,
        numbering: &mut Numbering,
    ) {
        let whose = || whose(Peer::Host, desired);
        match impairments.cut {
            Some(Cut::Drop) => return self.rule(Hook::Output, whose(), discard(kernel)),
            // A packet that is rejected while it is sent gives its sender EPERM, which no network does.
            Some(Cut::Reject) if kernel.queue.is_some() => {
                let queue = numbering.queues.of((Stage::Leaving, Peer::Host), &BTreeSet::new());
                self.queues.insert(queue, QueuePolicy::default());
                self.rule(Hook::Output, whose(), Act::Queue(queue));
                return self.rule(Hook::Sent, whose(), Act::Reject);
            }
            Some(Cut::Reject) => return self.rule(Hook::Output, whose(), Act::Reject),
            None => {}
        }
        if !impairments.loss.is_none() {
            let lose = match discard(kernel) {
                Act::Queue(sink) => Act::LoseTo(impairments.loss, sink),
                _ => Act::Lose(impairments.loss),
            };
            self.rule(Hook::Output, whose(), lose);
        }
        let policy = held(impairments);
        if policy != QueuePolicy::default() && !netem {
            let queue = numbering.queues.of((Stage::Leaving, Peer::Host), &BTreeSet::new());
            self.queues.insert(queue, policy);
            self.rule(Hook::Output, whose(), Act::Queue(queue));
        }
    }
}

/// What makes a packet vanish in output: without a word to its sender, where that is possible.
fn discard(kernel: &Capabilities) -> Act {
    if kernel.queue.is_some() { Act::Queue(SINK) } else { Act::Drop }
}

fn held(impairments: &Impairments) -> QueuePolicy {
    QueuePolicy {
        delay: impairments.delay,
        corrupt: impairments.corrupt,
        reorder: impairments.reorder,
        ..QueuePolicy::default()
    }
}

fn whose(peer: Peer, desired: &NetState) -> Whose {
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
    use crate::cluster::faults::ByPeer;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
    const C: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);

    fn cut(cut: Cut) -> Impairments {
        Impairments { cut: Some(cut), ..Impairments::default() }
    }

    fn delay() -> Impairments {
        let delay = Delay { time: Duration::from_millis(5), jitter: Duration::ZERO };
        Impairments { delay: Some(delay), ..Impairments::default() }
    }

    fn lossy(millionths: u32) -> Impairments {
        Impairments { loss: Share::millionths(millionths).unwrap(), ..Impairments::default() }
    }

    fn rated() -> Impairments {
        Impairments { rate: NonZeroU64::new(1_000_000).map(Rate), ..Impairments::default() }
    }

    fn no_netem() -> Capabilities {
        Capabilities { netem: false, queue: Some(QueueBy::Target), ..Capabilities::everything() }
    }

    fn by_peer<const N: usize>(pairs: [(Peer, Impairments); N]) -> ByPeer {
        pairs.into_iter().collect()
    }

    fn planned(kernel: &Capabilities, desired: &NetState) -> Plan {
        plan(kernel, desired, &Addresses::default(), &mut Numbering::default())
    }

    #[test]
    fn what_is_sent_to_many_is_held_where_it_arrives_and_doubled_for_one_peer() {
        let all = Impairments { duplicate: Share::ALL, rate: rated().rate, ..delay() };
        let desired = NetState {
            ingress: by_peer([(Peer::Node(A), all)]),
            egress: by_peer([(Peer::Node(B), all)]),
            ..NetState::default()
        };
        let addresses = Addresses { own: vec![C], broadcast: vec![Ipv4Addr::new(10, 0, 0, 255)] };
        let planned = |kernel: &Capabilities| plan(kernel, &desired, &addresses, &mut Numbering::default());
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
        let netem = planned(&Capabilities::everything());
        assert_eq!(netem.rules[0], rule(Hook::Input, many, Act::Queue(2)));
        assert_eq!(netem.queues.len(), 1);
        assert_eq!(netem.rules[netem.rules.len() - 2..], doubled);
        let no_queue = planned(&Capabilities { queue: None, dup: false, ..Capabilities::everything() });
        assert!(no_queue.queues.is_empty() && no_queue.rules.len() == 1, "{no_queue:?}");
        // A delay alone needs no second queue where one holds all that arrives.
        let slow = NetState { ingress: by_peer([(Peer::Node(A), delay())]), ..NetState::default() };
        assert_eq!(plan(&no_netem(), &slow, &addresses, &mut Numbering::default()).queues.len(), 1);
    }

    #[test]
    fn peers_that_fare_alike_share_a_rule() {
        let ingress =
            by_peer([(Peer::Node(A), cut(Cut::Drop)), (Peer::Node(B), lossy(10)), (Peer::Node(C), cut(Cut::Drop))]);
        let plan = planned(&no_netem(), &NetState { ingress, ..NetState::default() });
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
        let desired = NetState {
            ingress: by_peer([(Peer::Node(A), delay())]),
            egress: by_peer([(Peer::Node(B), delay())]),
            ..NetState::default()
        };
        let queued = planned(&no_netem(), &desired);
        assert_eq!(queued.rules.len(), 1, "{queued:?}");
        assert_eq!(queued.rules[0].act, Act::Queue(2));
        assert_eq!(queued.queues[&2].delay, delay().delay);
        let netem = planned(&Capabilities::everything(), &desired);
        assert!(netem.queues.is_empty());
        assert_eq!(netem.rules.len(), 1);
        assert_eq!((netem.rules[0].hook, netem.rules[0].act), (Hook::Output, Act::Classify(2)));
        assert_eq!(netem.classes[&2].netem.unwrap().delay, delay().delay);
    }

    #[test]
    fn the_host_is_dealt_with_on_this_side() {
        let desired = NetState {
            ingress: by_peer([(Peer::Host, delay())]),
            egress: by_peer([(Peer::Host, Impairments { rate: rated().rate, ..lossy(5) })]),
            nodes: vec![A, B],
            ..NetState::default()
        };
        let plan = planned(&Capabilities::everything(), &desired);
        let host = Whose::NotOf(vec![A, B]);
        assert!(plan.rules.iter().all(|rule| rule.whose == host));
        let acts: Vec<Act> = plan.rules.iter().map(|rule| rule.act).collect();
        assert_eq!(acts, [Act::Queue(2), Act::Classify(2), Act::LoseTo(Share::millionths(5).unwrap(), SINK)]);
        let cut_off =
            NetState { egress: by_peer([(Peer::Host, cut(Cut::Drop))]), nodes: vec![A], ..NetState::default() };
        assert_eq!(planned(&no_netem(), &cut_off).rules[0].act, Act::Queue(SINK), "no EPERM for the sender");
        let poor = Capabilities { queue: None, ..no_netem() };
        assert_eq!(planned(&poor, &cut_off).rules[0].act, Act::Drop);
    }

    #[test]
    fn what_the_host_rejects_has_been_sent() {
        let desired =
            NetState { egress: by_peer([(Peer::Host, cut(Cut::Reject))]), nodes: vec![A], ..NetState::default() };
        let plan = planned(&Capabilities::everything(), &desired);
        let rule = |hook, act| Rule { hook, whose: Whose::NotOf(vec![A]), act };
        assert_eq!(plan.rules, [rule(Hook::Output, Act::Queue(2)), rule(Hook::Sent, Act::Reject)]);
        assert_eq!(plan.queues, BTreeMap::from([(2, QueuePolicy::default())]));
        let poor = planned(&Capabilities { queue: None, ..no_netem() }, &desired);
        assert_eq!(poor.rules, [rule(Hook::Output, Act::Reject)]);
        assert!(poor.queues.is_empty());
    }

    #[test]
    fn silence_is_complete_and_comes_first() {
        let desired =
            NetState { blackholed: true, ingress: by_peer([(Peer::Node(A), delay())]), ..NetState::default() };
        let plan = planned(&no_netem(), &desired);
        assert!(plan.rules[..2].iter().all(|rule| rule.whose == Whose::Anybodys));
        assert_eq!((plan.rules[0].act, plan.rules[1].act), (Act::Drop, Act::Queue(SINK)));
        assert_eq!(plan.rules.len(), 3);
    }

    #[test]
    fn a_peer_keeps_its_number_while_it_has_one() {
        let desired = |peers: &[Ipv4Addr]| NetState {
            ingress: peers.iter().map(|peer| (Peer::Node(*peer), delay())).collect(),
            egress: peers.iter().map(|peer| (Peer::Node(*peer), rated())).collect(),
            ..NetState::default()
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
        assert_eq!(planned(&Capabilities::everything(), &NetState::default()), Plan::default());
    }
}
