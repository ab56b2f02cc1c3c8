//! This process's own network namespace.

use std::collections::BTreeMap;
use std::io;

use super::Namespace;
use crate::cluster::faults::{NetState, Share};
use crate::sandbox::address;
use crate::sandbox::netlink::{Protocol, Socket};
use crate::sandbox::nft::{self, Nft};
use crate::sandbox::plan::{Act, Addresses, Numbering, Plan, SINK, plan};
use crate::sandbox::protocol::{Capabilities, QueueBy};
use crate::sandbox::queues::{QueuePolicy, Queues};
use crate::sandbox::sockets;
use crate::sandbox::tc::{Draining, Tc};

/// This process's own. Its sockets are opened when they are first needed, and kept.
#[derive(Default)]
pub(crate) struct Real {
    nft: Option<Nft>,
    tc: Option<Draining>,
    diag: Option<Socket>,
    queues: Queues,
    numbering: Numbering,
    /// What is in force,
    plan: Plan,
    /// unless that is unknown.
    is_lost: bool,
}

impl Real {
    /// This process's own, made ready for what may be desired.
    pub(crate) fn begin() -> Self {
        let mut real = Self::default();
        // If it is not available, a state that needs it is refused with the reason.
        if let Ok(tc) = Draining::open()
            && tc.lock().begin().is_ok()
        {
            real.tc = Some(tc);
        }
        real
    }
}

impl Namespace for Real {
    fn probe(&mut self) -> Result<Capabilities, String> {
        let rules = probe_rules().unwrap_or_default();
        // Whether we may destroy a socket, the kernel asks only when it has found it: who may have no rules may not.
        Ok(Capabilities {
            sock_destroy: rules.nftables && sockets::probe(),
            ipv6: address::is_reached_by_ipv6(),
            ..rules
        })
    }

    fn apply(&mut self, kernel: &Capabilities, desired: &NetState) -> Result<(), String> {
        let mut numbering = self.numbering.clone();
        numbering.draining = self.tc.as_ref().map(|tc| tc.lock().draining().clone()).unwrap_or_default();
        let known = |addresses: io::Result<_>| addresses.map_err(named("this namespace's addresses"));
        let addresses = Addresses { own: known(address::own())?, broadcast: known(address::broadcast())? };
        let wanted = plan(kernel, desired, &addresses, &mut numbering);
        if wanted == self.plan && !self.is_lost && self.is_in_force(&wanted)? {
            return Ok(());
        }
        let before = self.plan.clone();
        if let Err(why) = self.change(kernel, &before, &wanted, false) {
            // The earlier state is applied again. If that fails too, nothing more can be done here.
            return match self.change(kernel, &wanted, &before, true) {
                Ok(()) => Err(why),
                Err(again) => {
                    self.is_lost = true;
                    Err(format!("{why}; and what was in force before could not be put back: {again}"))
                }
            };
        }
        (self.plan, self.is_lost) = (wanted, false);
        self.numbering = numbering;
        Ok(())
    }

    fn abort(&mut self) -> Result<u64, String> {
        let diag = opened(&mut self.diag, || Socket::open(Protocol::SockDiag)).map_err(named("sock_diag"))?;
        sockets::destroy_orphans(diag).map_err(named("the sockets of the run before cannot be destroyed"))
    }
}

impl Real {
    /// Whether what was applied is still there: a node with the privilege may have removed it, and an engine may have
    /// given us another interface.
    fn is_in_force(&mut self, plan: &Plan) -> Result<bool, String> {
        if let Some(nft) = &mut self.nft
            && nft.check(&plan.rules).is_err()
        {
            return Ok(false);
        }
        match &self.tc {
            Some(tc) if !plan.classes.is_empty() => {
                let mut tc = tc.lock();
                Ok(tc.is_everywhere().map_err(named("traffic control"))? && tc.check(&plan.classes).is_ok())
            }
            _ => Ok(true),
        }
    }

    /// Everything that packets may be sent to is there before the rules send them, and goes after. When an earlier state is put back, as
    /// much of it as can be.
    fn change(
        &mut self,
        kernel: &Capabilities,
        before: &Plan,
        wanted: &Plan,
        putting_back: bool,
    ) -> Result<(), String> {
        let nft = opened(&mut self.nft, Nft::open).map_err(named("nftables"))?;
        nft.queue_by(kernel.queue.unwrap_or(QueueBy::Native));
        // What waits in queues that go is let go before the rules send others past it. One that is on its way to a queue at that moment may be
        // overtaken.
        let mut all: BTreeMap<u16, QueuePolicy> =
            before.queues.keys().map(|number| (*number, QueuePolicy::default())).collect();
        all.extend(&wanted.queues);
        // When a state is put back whose successor got no queue of its own, the rules name none of the successor's.
        let bound = self.queues.set(&all);
        let bound = bound.or_else(|error| if putting_back { self.queues.set(&wanted.queues) } else { Err(error) });
        let made = bound.map_err(named("NFQUEUE")).and_then(|()| self.make_classes(wanted));
        if !putting_back {
            made.clone()?;
        }
        let nft = opened(&mut self.nft, Nft::open).map_err(named("nftables"))?;
        nft.set(&wanted.rules).map_err(named("nftables"))?;
        nft.check(&wanted.rules).map_err(named("nftables, reading back"))?;
        if let Some(tc) = &self.tc {
            // The lock goes in between.
            let kept = tc.lock().keep(&wanted.classes);
            // No packets are sent any more to what is removed, so removing it harms none.
            if kept.and_then(|()| tc.tidy()).is_err() && wanted.classes.is_empty() {
                tc.lock().reset();
            }
        }
        self.queues.set(&wanted.queues).map_err(named("NFQUEUE"))?;
        made
    }

    /// Makes the classes. If the kernel has others than it was sent, they are made again, once.
    fn make_classes(&mut self, wanted: &Plan) -> Result<(), String> {
        if wanted.classes.is_empty() && self.tc.is_none() {
            return Ok(());
        }
        let mut tc = opened(&mut self.tc, Draining::open).map_err(named("traffic control"))?.lock();
        let make = |tc: &mut Tc| tc.make(&wanted.classes).and_then(|()| tc.check(&wanted.classes));
        let made = make(&mut tc).or_else(|_| {
            tc.reset();
            make(&mut tc)
        });
        made.map_err(|error| {
            tc.reset();
            named("traffic control")(error)
        })
    }
}

fn opened<T>(slot: &mut Option<T>, open: impl FnOnce() -> io::Result<T>) -> io::Result<&mut T> {
    match slot {
        Some(open) => Ok(open),
        none => Ok(none.insert(open()?)),
    }
}

fn named(what: &str) -> impl Fn(io::Error) -> String {
    move |error| format!("{what}: {error}")
}

/// What can be found out with rules, classes and queues. Without CAP_NET_ADMIN nothing can.
fn probe_rules() -> io::Result<Capabilities> {
    let mut socket = Socket::open(Protocol::Netfilter)?;
    let mut takes = |act, by| nft::probe(&mut socket, act, by);
    let queue = [QueueBy::Native, QueueBy::Target].into_iter().find(|by| takes(Act::Queue(SINK), *by));
    let kernel = Capabilities {
        nftables: takes(Act::Drop, QueueBy::Native),
        reject: takes(Act::Reject, QueueBy::Native),
        numgen: takes(Act::Lose(Share::ALL), QueueBy::Native),
        dup: takes(Act::Duplicate(Share::ALL), QueueBy::Native),
        // Rules are one half of it, the listening queues the other.
        queue: queue.filter(|_| Queues::default().set(&BTreeMap::from([(SINK - 1, QueuePolicy::default())])).is_ok()),
        ..Capabilities::default()
    };
    let (htb, netem) = Tc::open()?.probe();
    Ok(Capabilities { htb, netem, ..kernel })
}
