//! Rules of nftables: replaced as a whole in one transaction, and read back.
//!
//! There is one table of ours in a network namespace. Its chains stay once they are made: the kernel drops every packet that
//! waits in a queue when a base chain goes (nf_queue_nf_hook_drop).

mod expression;
mod read_back;
mod transaction;

use std::io;

use transaction::replace;
pub(crate) use transaction::{Family, end_redirecting_dns, probe, redirect_dns};

use super::address;
use super::netlink::{Protocol, Socket};
use super::plan::Rule;
use super::protocol::QueueBy;

/// The rules of a network namespace.
pub(crate) struct Nft {
    socket: Socket,
    /// The chains are there.
    made: bool,
    /// So are those for IPv6.
    made_v6: bool,
    queue_by: QueueBy,
}

impl Nft {
    /// Those of the calling thread's.
    ///
    /// # Errors
    /// No socket.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(Protocol::Netfilter)?, made: false, made_v6: false, queue_by: QueueBy::Native })
    }

    /// How packets are handed to queues.
    pub(crate) fn queue_by(&mut self, by: QueueBy) {
        self.queue_by = by;
    }

    /// Replaces all rules at one moment.
    ///
    /// # Errors
    /// The kernel's; then nothing has changed.
    pub(crate) fn set(&mut self, rules: &[Rule]) -> io::Result<()> {
        if rules.is_empty() && !self.made {
            return Ok(());
        }
        // Rules for all peers apply to IPv6 too, which has a table of its own.
        let silences = rules.iter().any(Rule::is_for_all) && address::has_ipv6();
        replace(&mut self.socket, Family::V4, rules, self.queue_by)?;
        self.made = true;
        if silences || self.made_v6 {
            replace(&mut self.socket, Family::V6, &for_all(rules), self.queue_by)?;
            self.made_v6 = true;
        }
        Ok(())
    }

    /// Whether the kernel has these rules, these alone, and in this order.
    ///
    /// # Errors
    /// What is not so, or the kernel's.
    pub(crate) fn check(&mut self, rules: &[Rule]) -> io::Result<()> {
        if !self.made {
            return Ok(());
        }
        read_back::check(&mut self.socket, Family::V4, rules, self.queue_by)?;
        if self.made_v6 {
            read_back::check(&mut self.socket, Family::V6, &for_all(rules), self.queue_by)?;
        }
        Ok(())
    }
}

/// Those that IPv6 has too.
fn for_all(rules: &[Rule]) -> Vec<Rule> {
    rules.iter().filter(|rule| rule.is_for_all()).cloned().collect()
}
