//! How each impairment is applied on this kernel, and which are impossible. Pure, from what probing found.

use super::protocol::Capabilities;
use crate::cluster::faults::{Impairments, Mechanism, NetState, WORDS};

/// By what means; or why not.
pub(crate) type Means = Result<&'static str, &'static str>;

const NFTABLES: Means = Ok("nftables");
const NO_NFTABLES: &str = "the kernel has no nftables, or the engine gives containers no CAP_NET_ADMIN";
const IPV6: &str =
    "the network has IPv6 too, by which nodes would still reach each other: mount the cluster in one without";
const NO_NUMGEN: &str = "the kernel's nftables has no numgen (CONFIG_NFT_NUMGEN)";
const NO_DELAY: &str = "the kernel has neither netem (sudo modprobe sch_netem, sch_htb) nor NFQUEUE (nfnetlink_queue with xt_NFQUEUE or nft_queue)";
const NO_DUPLICATE: &str =
    "the kernel has neither netem (sudo modprobe sch_netem, sch_htb) nor nftables' dup (nft_dup_ipv4)";

impl Capabilities {
    /// For each fault word, and for `crash`, how it is applied here.
    pub(crate) fn means(&self) -> impl Iterator<Item = (&'static str, Means)> {
        let words = WORDS.iter().map(|word| (word.name, self.by(word.mechanism)));
        words.chain([("crash", self.by_crash())])
    }

    fn by(&self, mechanism: Mechanism) -> Means {
        if self.ipv6 {
            return Err(IPV6);
        }
        if !self.nftables {
            return Err(NO_NFTABLES);
        }
        let random = |means: Means| if self.numgen { means } else { Err(NO_NUMGEN) };
        // Packets are sent to their class by a rule.
        let netem = self.netem && self.htb;
        match mechanism {
            Mechanism::Drop => NFTABLES,
            Mechanism::Reject if self.reject => NFTABLES,
            Mechanism::Reject => Err("the kernel's nftables has no reject (nft_reject)"),
            Mechanism::Loss => random(Ok("nftables numgen")),
            Mechanism::Hold | Mechanism::Duplicate if netem => Ok("netem"),
            Mechanism::Hold if self.queue.is_some() => Ok("NFQUEUE"),
            Mechanism::Hold => Err(NO_DELAY),
            Mechanism::Duplicate if self.dup => random(Ok("nftables dup")),
            Mechanism::Duplicate => Err(NO_DUPLICATE),
            Mechanism::Rate if self.htb => Ok("HTB"),
            Mechanism::Rate => Err("the kernel has no HTB (sudo modprobe sch_htb)"),
        }
    }

    /// It is for all addresses, those of IPv6 too.
    fn by_crash(&self) -> Means {
        match (self.nftables, self.sock_destroy) {
            (false, _) => Err(NO_NFTABLES),
            (true, true) => Ok("nftables, sock_diag"),
            (true, false) => NFTABLES,
        }
    }

    /// Why this state cannot be applied here: a sentence. `None` if it can.
    pub(crate) fn refuses(&self, desired: &NetState) -> Option<String> {
        if desired.blackholed
            && let Err(why) = self.by_crash()
        {
            return Some(format!("crash is not possible here: {why}"));
        }
        let from = desired
            .ingress
            .groups()
            .find_map(|(impairments, has_host)| self.refuses_impairments(&impairments, has_host));
        from.or_else(|| {
            desired.egress.groups().find_map(|(impairments, _)| self.refuses_impairments(&impairments, false))
        })
    }

    fn refuses_impairments(&self, impairments: &Impairments, from_host: bool) -> Option<String> {
        let refused = impairments.words().find_map(|word| self.by(word.mechanism).err().map(|why| (word.name, why)));
        if let Some((word, why)) = refused {
            return Some(format!("{word} is not possible here: {why}"));
        }
        if !from_host {
            return None;
        }
        // What comes from outside is not ours where it is sent: it can be treated only where it arrives.
        let mut words = impairments.words();
        if let Some(word) = words.find(|word| matches!(word.mechanism, Mechanism::Rate | Mechanism::Duplicate)) {
            return Some(format!(
                "{} is not possible from the host: its traffic can be dropped, rejected, lost, delayed, corrupted and \
                 reordered where it arrives",
                word.name
            ));
        }
        let held = impairments.words().find(|word| word.mechanism == Mechanism::Hold);
        held.filter(|_| self.queue.is_none()).map(|word| {
            format!(
                "{} from the host is not possible here: it needs NFQUEUE (nfnetlink_queue with xt_NFQUEUE or nft_queue)",
                word.name
            )
        })
    }

    /// What the file `capabilities` says: a line per impairment, `WORD yes|no HOW-OR-WHY`.
    pub(crate) fn capabilities(&self) -> String {
        let line = |(word, by): (&str, Means)| match by {
            Ok(how) => format!("{word:<10} yes  {how}\n"),
            Err(why) => format!("{word:<10} no   {why}\n"),
        };
        self.means().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::protocol::QueueBy;
    use super::*;
    use crate::cluster::faults::{Peer, Rate, Share};

    const NODE: Peer = Peer::Node(Ipv4Addr::new(10, 0, 0, 2));

    /// Tables and NFQUEUE, and none of the queueing disciplines.
    fn poor() -> Capabilities {
        Capabilities {
            nftables: true,
            reject: true,
            numgen: true,
            queue: Some(QueueBy::Target),
            ..Capabilities::default()
        }
    }

    fn loss() -> Impairments {
        Impairments { loss: Share::ALL, ..Impairments::default() }
    }

    fn corrupt() -> Impairments {
        Impairments { corrupt: Share::ALL, ..Impairments::default() }
    }

    fn rate() -> Impairments {
        Impairments { rate: std::num::NonZeroU64::new(8000).map(Rate), ..Impairments::default() }
    }

    fn from(peer: Peer, impairments: Impairments) -> NetState {
        NetState { ingress: [(peer, impairments)].into_iter().collect(), ..NetState::default() }
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_the_reason() {
        assert_eq!(poor().refuses(&from(NODE, loss())), None);
        assert_eq!(poor().refuses(&from(NODE, corrupt())), None);
        let why = poor().refuses(&from(NODE, rate())).unwrap();
        assert_eq!(why, "rate is not possible here: the kernel has no HTB (sudo modprobe sch_htb)");
        let nothing = Capabilities::default();
        for desired in [from(NODE, loss()), NetState { blackholed: true, ..NetState::default() }] {
            assert!(nothing.refuses(&desired).unwrap().contains("CAP_NET_ADMIN"));
        }
        assert_eq!(nothing.refuses(&NetState::default()), None, "healing is always possible");
    }

    #[test]
    fn what_ipv6_would_get_around_is_refused() {
        let both = Capabilities { ipv6: true, ..Capabilities::everything() };
        assert!(both.refuses(&from(NODE, loss())).unwrap().contains("IPv6"));
        assert!(both.refuses(&from(Peer::Host, corrupt())).unwrap().contains("IPv6"));
        assert_eq!(
            both.refuses(&NetState { blackholed: true, ..NetState::default() }),
            None,
            "crash is for all addresses"
        );
        assert_eq!(both.refuses(&NetState::default()), None);
    }

    #[test]
    fn the_host_is_treated_where_its_traffic_arrives() {
        let rich = Capabilities { htb: true, netem: true, ..poor() };
        assert!(rich.refuses(&from(Peer::Host, rate())).unwrap().contains("from the host"));
        assert_eq!(rich.refuses(&from(Peer::Host, corrupt())), None);
        let no_queue = Capabilities { queue: None, ..rich };
        assert_eq!(no_queue.refuses(&from(NODE, corrupt())), None);
        assert!(no_queue.refuses(&from(Peer::Host, corrupt())).unwrap().contains("NFQUEUE"));
        let to_host = NetState { egress: [(Peer::Host, rate())].into_iter().collect(), ..NetState::default() };
        assert_eq!(rich.refuses(&to_host), None);
    }

    #[test]
    fn netem_is_taken_where_it_is() {
        let delay = |kernel: Capabilities| kernel.by(Mechanism::Hold);
        assert_eq!(delay(poor()), Ok("NFQUEUE"));
        assert_eq!(delay(Capabilities { netem: true, ..poor() }), Ok("NFQUEUE"), "netem needs HTB to be of use");
        assert_eq!(delay(Capabilities { netem: true, htb: true, ..poor() }), Ok("netem"));
        assert!(delay(Capabilities { queue: None, ..poor() }).is_err());
        let text = poor().capabilities();
        assert_eq!(text.lines().count(), 9);
        assert!(text.starts_with("drop       yes  nftables\n"), "{text}");
        assert!(text.contains("rate       no   the kernel"), "{text}");
    }
}
