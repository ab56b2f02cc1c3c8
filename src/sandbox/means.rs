//! By what means each effect is brought about on a kernel, and what it cannot do: pure, from what probing found.

use super::protocol::Kernel;
use crate::cluster::faults::{Cut, Desired, Effects, Peer};

/// By what means; or why not.
pub type Means = Result<&'static str, &'static str>;

const NFTABLES: Means = Ok("nftables");
const NO_NFTABLES: &str = "the kernel has no nftables, or the engine gives containers no CAP_NET_ADMIN";
const IPV6: &str =
    "the network has IPv6 too, by which nodes would still reach each other: mount the cluster in one without";
const NO_NUMGEN: &str = "the kernel's nftables has no numgen (CONFIG_NFT_NUMGEN)";
const NO_DELAY: &str = "the kernel has neither netem (sudo modprobe sch_netem, sch_htb) nor NFQUEUE (nfnetlink_queue with xt_NFQUEUE or nft_queue)";
const NO_DUPLICATE: &str =
    "the kernel has neither netem (sudo modprobe sch_netem, sch_htb) nor nftables' dup (nft_dup_ipv4)";

impl Kernel {
    /// For each effect, and for `crash`, its word and by what means it is brought about here.
    pub fn means(&self) -> [(&'static str, Means); 9] {
        let any_table = |means: Means| if self.nftables { means } else { Err(NO_NFTABLES) };
        let tables = |means: Means| if self.ipv6 { Err(IPV6) } else { any_table(means) };
        let random = |means: Means| if self.numgen { means } else { Err(NO_NUMGEN) };
        // Packets are sent to their class by a rule.
        let netem = self.netem && self.htb;
        let held = match (netem, self.queue) {
            (true, _) => Ok("netem"),
            (false, Some(_)) => Ok("NFQUEUE"),
            (false, None) => Err(NO_DELAY),
        };
        let duplicate = match (netem, self.dup) {
            (true, _) => Ok("netem"),
            (false, true) => random(Ok("nftables dup")),
            (false, false) => Err(NO_DUPLICATE),
        };
        let crash = if self.sock_destroy { Ok("nftables, sock_diag") } else { NFTABLES };
        [
            ("drop", tables(NFTABLES)),
            (
                "reject",
                tables(if self.reject { NFTABLES } else { Err("the kernel's nftables has no reject (nft_reject)") }),
            ),
            ("delay", tables(held)),
            ("loss", tables(random(Ok("nftables numgen")))),
            ("duplicate", tables(duplicate)),
            ("corrupt", tables(held)),
            ("reorder", tables(held)),
            ("rate", tables(if self.htb { Ok("HTB") } else { Err("the kernel has no HTB (sudo modprobe sch_htb)") })),
            // It is for all addresses.
            ("crash", any_table(crash)),
        ]
    }

    /// By what means `word`, one of [`Self::means`], is brought about.
    fn by(&self, word: &str) -> Means {
        self.means().into_iter().find(|(name, _)| *name == word).map_or(Err("there is no such effect"), |(_, by)| by)
    }

    /// Why what is desired of a sandbox cannot be brought about here: a sentence. `None` if it can.
    pub fn refuses(&self, desired: &Desired) -> Option<String> {
        if desired.silent
            && let Err(why) = self.by("crash")
        {
            return Some(format!("crash is not possible here: {why}"));
        }
        let from = desired.from.iter().find_map(|(peer, effects)| self.refuses_effects(effects, *peer == Peer::Host));
        from.or_else(|| desired.to.iter().find_map(|(_, effects)| self.refuses_effects(effects, false)))
    }

    fn refuses_effects(&self, effects: &Effects, from_host: bool) -> Option<String> {
        let refused = words(effects).into_iter().find_map(|word| self.by(word).err().map(|why| (word, why)));
        if let Some((word, why)) = refused {
            return Some(format!("{word} is not possible here: {why}"));
        }
        if !from_host {
            return None;
        }
        // What comes from outside is not ours where it is sent: it can be treated only where it arrives.
        let sent = words(effects).into_iter().find(|word| matches!(*word, "rate" | "duplicate"));
        if let Some(word) = sent {
            return Some(format!(
                "{word} is not possible from the host: its traffic can be dropped, rejected, lost, delayed, corrupted \
                 and reordered where it arrives"
            ));
        }
        let held = words(effects).into_iter().find(|word| matches!(*word, "delay" | "corrupt" | "reorder"));
        held.filter(|_| self.queue.is_none()).map(|word| {
            format!("{word} from the host is not possible here: it needs NFQUEUE (nfnetlink_queue with xt_NFQUEUE or nft_queue)")
        })
    }

    /// What the file `capabilities` says: a line an effect, `WORD yes|no HOW-OR-WHY`.
    pub fn capabilities(&self) -> String {
        let line = |(word, by): (&str, Means)| match by {
            Ok(how) => format!("{word:<10} yes  {how}\n"),
            Err(why) => format!("{word:<10} no   {why}\n"),
        };
        self.means().into_iter().map(line).collect()
    }
}

/// The words of the effects that befall a link.
fn words(effects: &Effects) -> Vec<&'static str> {
    let asked = [
        ("drop", effects.cut == Some(Cut::Drop)),
        ("reject", effects.cut == Some(Cut::Reject)),
        ("delay", effects.delay.is_some()),
        ("loss", !effects.loss.is_none()),
        ("duplicate", !effects.duplicate.is_none()),
        ("corrupt", !effects.corrupt.is_none()),
        ("reorder", !effects.reorder.is_none()),
        ("rate", effects.rate.is_some()),
    ];
    asked.into_iter().filter(|(_, asked)| *asked).map(|(word, _)| word).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::protocol::QueueBy;
    use super::*;
    use crate::cluster::faults::{Rate, Share};

    const NODE: Peer = Peer::Node(Ipv4Addr::new(10, 0, 0, 2));

    /// Tables and NFQUEUE, and none of the queueing disciplines.
    fn poor() -> Kernel {
        Kernel { nftables: true, reject: true, numgen: true, queue: Some(QueueBy::Target), ..Kernel::default() }
    }

    fn loss() -> Effects {
        Effects { loss: Share::ALL, ..Effects::default() }
    }

    fn corrupt() -> Effects {
        Effects { corrupt: Share::ALL, ..Effects::default() }
    }

    fn rate() -> Effects {
        Effects { rate: std::num::NonZeroU64::new(8000).map(Rate), ..Effects::default() }
    }

    fn from(peer: Peer, effects: Effects) -> Desired {
        Desired { from: vec![(peer, effects)], ..Desired::default() }
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_the_reason() {
        assert_eq!(poor().refuses(&from(NODE, loss())), None);
        assert_eq!(poor().refuses(&from(NODE, corrupt())), None);
        let why = poor().refuses(&from(NODE, rate())).unwrap();
        assert_eq!(why, "rate is not possible here: the kernel has no HTB (sudo modprobe sch_htb)");
        let nothing = Kernel::default();
        for desired in [from(NODE, loss()), Desired { silent: true, ..Desired::default() }] {
            assert!(nothing.refuses(&desired).unwrap().contains("CAP_NET_ADMIN"));
        }
        assert_eq!(nothing.refuses(&Desired::default()), None, "healing is always possible");
    }

    #[test]
    fn what_ipv6_would_get_around_is_refused() {
        let both = Kernel { ipv6: true, ..Kernel::everything() };
        assert!(both.refuses(&from(NODE, loss())).unwrap().contains("IPv6"));
        assert!(both.refuses(&from(Peer::Host, corrupt())).unwrap().contains("IPv6"));
        assert_eq!(both.refuses(&Desired { silent: true, ..Desired::default() }), None, "crash is for all addresses");
        assert_eq!(both.refuses(&Desired::default()), None);
    }

    #[test]
    fn the_host_is_treated_where_its_traffic_arrives() {
        let rich = Kernel { htb: true, netem: true, ..poor() };
        assert!(rich.refuses(&from(Peer::Host, rate())).unwrap().contains("from the host"));
        assert_eq!(rich.refuses(&from(Peer::Host, corrupt())), None);
        let no_queue = Kernel { queue: None, ..rich };
        assert_eq!(no_queue.refuses(&from(NODE, corrupt())), None);
        assert!(no_queue.refuses(&from(Peer::Host, corrupt())).unwrap().contains("NFQUEUE"));
        let to_host = Desired { to: vec![(Peer::Host, rate())], ..Desired::default() };
        assert_eq!(rich.refuses(&to_host), None);
    }

    #[test]
    fn netem_is_taken_where_it_is() {
        let delay = |kernel: Kernel| kernel.by("delay");
        assert_eq!(delay(poor()), Ok("NFQUEUE"));
        assert_eq!(delay(Kernel { netem: true, ..poor() }), Ok("NFQUEUE"), "netem needs HTB to be of use");
        assert_eq!(delay(Kernel { netem: true, htb: true, ..poor() }), Ok("netem"));
        assert!(delay(Kernel { queue: None, ..poor() }).is_err());
        let text = poor().capabilities();
        assert_eq!(text.lines().count(), 9);
        assert!(text.starts_with("drop       yes  nftables\n"), "{text}");
        assert!(text.contains("rate       no   the kernel"), "{text}");
    }
}
