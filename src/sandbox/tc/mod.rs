//! Classes of the queueing discipline HTB, one a peer, with netem or a plain queue in each.
//!
//! Packets come to a class by their priority, which a rule of nftables sets: so which packets they are changes at one moment, with the
//! rules. Changes here are not atomic: classes are made before packets are sent to them, and go after.

mod messages;
mod read_back;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

pub use messages::handle_of;

use super::netlink::{Protocol, Socket};
use super::plan::{Class, Netem};
use messages::{Qdisc, delete_class, delete_qdisc, new_class, new_qdisc};

/// The queueing disciplines of a network namespace.
pub struct Tc {
    socket: Socket,
    /// Where they are, once there are any.
    interfaces: Vec<u32>,
    classes: BTreeMap<u16, Class>,
    /// No packet is sent to these any more, and what they hold runs off.
    draining: BTreeSet<u16>,
}

impl Tc {
    /// Those of the calling thread's.
    ///
    /// # Errors
    /// No socket.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::open(Protocol::Route)?;
        Ok(Self { socket, interfaces: vec![], classes: BTreeMap::new(), draining: BTreeSet::new() })
    }

    /// Makes classes, or changes them; others stay.
    ///
    /// # Errors
    /// The kernel's. Some may have been made.
    pub fn make(&mut self, wanted: &BTreeMap<u16, Class>) -> io::Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        if self.interfaces.is_empty() {
            let interfaces = messages::interfaces(&mut self.socket)?;
            for interface in &interfaces {
                // HTB cannot be changed, only made: whatever is at the root goes first.
                let _ = self.ask(delete_qdisc(*interface, None));
                self.ask(new_qdisc(*interface, Qdisc::Root))?;
            }
            self.interfaces = interfaces;
        }
        for (number, class) in wanted {
            let was = self.classes.get(number);
            if was != Some(class) {
                self.change(*number, class, was.is_some_and(|was| was.netem.is_some() == class.netem.is_some()))?;
            }
            self.draining.remove(number);
        }
        Ok(())
    }

    fn change(&mut self, number: u16, class: &Class, keeps_queue: bool) -> io::Result<()> {
        for interface in self.interfaces.clone() {
            self.ask(new_class(interface, number, class))?;
            // A queue of another kind comes in its place; what it held is lost, as with any route that changes.
            if !keeps_queue && self.classes.contains_key(&number) {
                self.ask(delete_qdisc(interface, Some(number)))?;
            }
            let queue =
                class.netem.map_or(Qdisc::Fifo(number, class.rate), |netem| Qdisc::Netem(number, netem, class.rate));
            self.ask(new_qdisc(interface, queue))?;
        }
        self.classes.insert(number, *class);
        Ok(())
    }

    /// Packets are sent to these classes alone from now on: what the others hold runs off, and when it has had the time until the next
    /// change, they go.
    ///
    /// # Errors
    /// The kernel's.
    pub fn keep(&mut self, wanted: &BTreeMap<u16, Class>) -> io::Result<()> {
        for number in std::mem::take(&mut self.draining) {
            for interface in self.interfaces.clone() {
                self.ask(delete_class(interface, number))?;
            }
            self.classes.remove(&number);
        }
        let over: Vec<u16> = self.classes.keys().filter(|number| !wanted.contains_key(number)).copied().collect();
        for number in over {
            let class = Class { rate: None, ..self.classes[&number] };
            for interface in self.interfaces.clone() {
                self.ask(new_class(interface, number, &class))?;
            }
            self.classes.insert(number, class);
            self.draining.insert(number);
        }
        Ok(())
    }

    /// Whether the kernel has these classes, as they are wanted.
    ///
    /// # Errors
    /// What is not so, or the kernel's.
    pub fn check(&mut self, wanted: &BTreeMap<u16, Class>) -> io::Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        for interface in self.interfaces.clone() {
            read_back::check(&mut self.socket, interface, wanted)?;
        }
        Ok(())
    }

    /// Whether the kernel has HTB, and netem: each is tried on the loopback interface, and goes again.
    pub fn probe(&mut self) -> (bool, bool) {
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
