//! Classes of the queueing discipline HTB, one a peer, with netem or a plain queue in each.
//!
//! Packets come to a class by their priority, which a rule of nftables sets: so which packets they are changes at one moment, with the
//! rules. Changes here are not atomic: classes are made before packets are sent to them, and go after.

mod drain;
mod messages;
mod read_back;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

pub(crate) use drain::Draining;
pub(crate) use messages::handle_of;

use super::netlink::{Protocol, Socket};
use super::plan::{Class, Netem};
use messages::{Qdisc, delete_class, delete_qdisc, new_class, new_qdisc};

/// The queueing disciplines of a network namespace.
pub(crate) struct Tc {
    socket: Socket,
    /// What each interface has, by its number, once there are any. Engines can take interfaces away and bring others.
    interfaces: BTreeMap<u32, BTreeMap<u16, Class>>,
    /// No packet is sent to these any more, and what they hold runs off.
    draining: BTreeSet<u16>,
}

impl Tc {
    /// Those of the calling thread's.
    ///
    /// # Errors
    /// No socket.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = Socket::open(Protocol::Route)?;
        Ok(Self { socket, interfaces: BTreeMap::new(), draining: BTreeSet::new() })
    }

    /// Gives each interface its HTB, which delays nothing while it has no classes. Best before anything is sent: while
    /// one queueing discipline takes another's place, the kernel drops what is sent (`dev_deactivate`).
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        for interface in messages::interfaces(&mut self.socket)? {
            if !self.interfaces.contains_key(&interface) {
                // HTB cannot be changed, only created: remove what is at the root first.
                let _ = self.ask(delete_qdisc(interface, None));
                self.ask(new_qdisc(interface, Qdisc::Root))?;
                self.interfaces.insert(interface, BTreeMap::new());
            }
        }
        Ok(())
    }

    /// Classes that are over, and in which packets wait still.
    pub(crate) fn draining(&self) -> &BTreeSet<u16> {
        &self.draining
    }

    /// Whether each interface that is there now has what was made.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn is_everywhere(&mut self) -> io::Result<bool> {
        Ok(messages::interfaces(&mut self.socket)?.iter().all(|interface| self.interfaces.contains_key(interface)))
    }

    /// Removes everything and ignores errors: the next [`Self::make`] starts over. For when what is there is not what
    /// was made; a node that may do so can have changed it.
    pub(crate) fn reset(&mut self) {
        let there = messages::interfaces(&mut self.socket).unwrap_or_default();
        for interface in self.numbers().into_iter().filter(|interface| there.contains(interface)) {
            let _ = self.ask(delete_qdisc(interface, None));
        }
        self.interfaces.clear();
        self.draining.clear();
    }

    /// Makes classes, or changes them; others stay.
    ///
    /// # Errors
    /// The kernel's. Some may have been made.
    pub(crate) fn make(&mut self, wanted: &BTreeMap<u16, Class>) -> io::Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        self.look()?;
        self.begin()?;
        for interface in self.numbers() {
            for (number, class) in wanted {
                self.change(interface, *number, class)?;
            }
        }
        self.draining.retain(|number| !wanted.contains_key(number));
        Ok(())
    }

    /// Forgets interfaces that are no longer there: what they had went with them.
    fn look(&mut self) -> io::Result<()> {
        if !self.interfaces.is_empty() {
            let there = messages::interfaces(&mut self.socket)?;
            self.interfaces.retain(|interface, _| there.contains(interface));
        }
        Ok(())
    }

    fn numbers(&self) -> Vec<u32> {
        self.interfaces.keys().copied().collect()
    }

    fn change(&mut self, interface: u32, number: u16, class: &Class) -> io::Result<()> {
        let was = self.interfaces.get_mut(&interface).and_then(|classes| classes.insert(number, *class));
        if was == Some(*class) {
            return Ok(());
        }
        let made = self.try_change(interface, number, class, was);
        if made.is_err() {
            // A half-made class counts as missing: the next time it is made from scratch.
            let _ = self.ask(delete_class(interface, number));
            self.forget(interface, number);
        }
        made
    }

    fn try_change(&mut self, interface: u32, number: u16, class: &Class, was: Option<Class>) -> io::Result<()> {
        self.ask(new_class(interface, number, class))?;
        // A queue of another kind comes in its place; what it held is lost, as with any route that changes.
        if was.is_some_and(|was| was.netem.is_some() != class.netem.is_some()) {
            self.ask(delete_qdisc(interface, Some(number)))?;
        }
        let queue =
            class.netem.map_or(Qdisc::Fifo(number, class.rate), |netem| Qdisc::Netem(number, netem, class.rate));
        self.ask(new_qdisc(interface, queue))
    }

    fn forget(&mut self, interface: u32, number: u16) {
        if let Some(classes) = self.interfaces.get_mut(&interface) {
            classes.remove(&number);
        }
    }

    /// Packets are sent to these classes alone from now on: what the others hold runs off, as fast as can be. [`Self::tidy`] takes
    /// them away.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn keep(&mut self, wanted: &BTreeMap<u16, Class>) -> io::Result<()> {
        self.look()?;
        for interface in self.numbers() {
            let classes = self.interfaces[&interface].clone();
            for (number, class) in classes.into_iter().filter(|(number, _)| !wanted.contains_key(number)) {
                let unlimited = Class { rate: None, ..class };
                self.ask(new_class(interface, number, &unlimited))?;
                self.interfaces.entry(interface).or_default().insert(number, unlimited);
                self.draining.insert(number);
            }
        }
        Ok(())
    }

    /// Takes away what no packet is sent to and nothing waits in. Returns whether something waits still. HTB stays at the root,
    /// as in [`Self::begin`].
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn tidy(&mut self) -> io::Result<bool> {
        self.look()?;
        let mut waits = BTreeSet::new();
        for interface in self.numbers() {
            let waiting = read_back::waiting(&mut self.socket, interface)?;
            for number in self.draining.clone() {
                if waiting.contains(&number) {
                    waits.insert(number);
                } else if self.interfaces[&interface].contains_key(&number) {
                    self.ask(delete_class(interface, number))?;
                    self.forget(interface, number);
                }
            }
        }
        self.draining = waits;
        Ok(!self.draining.is_empty())
    }

    /// Whether the kernel has exactly these classes.
    ///
    /// # Errors
    /// What is not so, or the kernel's.
    pub(crate) fn check(&mut self, wanted: &BTreeMap<u16, Class>) -> io::Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        for interface in self.numbers() {
            read_back::check(&mut self.socket, interface, wanted)?;
        }
        Ok(())
    }

    /// Whether the kernel has HTB, and netem: each is tried on the loopback interface, and goes again.
    pub(crate) fn probe(&mut self) -> (bool, bool) {
        let mut tried = |qdisc| {
            let made = self.ask(new_qdisc(LOOPBACK, qdisc)).is_ok();
            // If it cannot be taken away, it does nothing where it is.
            let _ = made && self.ask(delete_qdisc(LOOPBACK, None)).is_ok();
            made
        };
        (tried(Qdisc::Root), tried(Qdisc::Alone(Netem::default())))
    }

    fn ask(&mut self, message: super::netlink::Message) -> io::Result<()> {
        self.socket.request(&[message], |_| true)
    }
}

/// The loopback interface is the first of every network namespace.
const LOOPBACK: u32 = 1;
