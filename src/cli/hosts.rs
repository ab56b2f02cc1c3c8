//! The options that name engines, and say which nodes run where.

use anyhow::{Result, anyhow, bail};
use clap::Args;

use crate::engine::docker::is_plain_beyond_loopback;
use crate::fleet::{HostAddress, Placement};

/// Arguments that name engines.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct HostArgs {
    /// The engine: unix://PATH, tcp://HOST:PORT, ssh://USER@HOST, or simulated: for none at all; for a cluster over several
    /// machines one for each, NAME=URL
    /// [default: DOCKER_HOST, the docker context, /var/run/docker.sock, podman's socket]
    #[arg(long, value_name = "[NAME=]URL")]
    pub(crate) host: Vec<String>,
    /// The engine of a docker context, as with --host
    #[arg(long, value_name = "[NAME=]CONTEXT")]
    pub(crate) context: Vec<String>,
}

/// Arguments of a cluster over several machines.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PlaceArgs {
    /// Which machine each node runs on: spread, pack, label:NAME, or nodes and machines as in i001-i003@a,i004@b
    #[arg(long, value_name = "HOW", default_value = "spread")]
    pub(crate) place: String,
    /// How many nodes a machine takes at most
    #[arg(long, value_name = "HOST=N")]
    pub(crate) capacity: Vec<String>,
    /// Let several engines be reached without encryption, which makes who can reach them root there
    #[arg(long)]
    pub(crate) insecure: bool,
}

impl HostArgs {
    /// The engines that are named, in order.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn addresses(&self) -> Result<Vec<HostAddress>> {
        let hosts = self.host.iter().map(|text| named("--host", text, text.contains("://") || is_simulated(text)));
        let contexts = self.context.iter().map(|text| {
            let HostAddress { name, address } = named("--context", text, true)?;
            Ok(HostAddress { name, address: format!("context:{address}") })
        });
        hosts.chain(contexts).collect()
    }
}

fn is_simulated(text: &str) -> bool {
    text.contains("simulated:")
}

/// A name and an address. A path, which may have `=` in it, has no name.
fn named(option: &str, text: &str, has_name: bool) -> Result<HostAddress> {
    let (name, address) = match text.split_once('=').filter(|(name, _)| has_name && !name.contains([':', '/'])) {
        Some((name, address)) => (Some(name), address),
        None => (None, text),
    };
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if let Some(name) = name
        && (name.is_empty() || !name.chars().all(good))
    {
        bail!("{option} {text}: a machine's name has letters, digits, '_', '.' and '-'");
    }
    Ok(HostAddress { name: name.map(Into::into), address: address.into() })
}

impl PlaceArgs {
    /// How nodes are distributed over these engines, and how many each machine takes at most.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn read(&self, hosts: &[HostAddress]) -> Result<(Placement, Vec<(String, usize)>)> {
        let placement = Placement::parse(&self.place).map_err(|why| anyhow!("--place {}: {why}", self.place))?;
        let capacity = |text: &String| {
            let (name, number) = text.split_once('=').unwrap_or_default();
            let number = number.parse().ok().filter(|_| !name.is_empty());
            let number = number.ok_or_else(|| anyhow!("--capacity {text}: the form is HOST=N, such as a=20"))?;
            Ok((name.to_owned(), number))
        };
        let capacities = self.capacity.iter().map(capacity).collect::<Result<Vec<_>>>()?;
        if hosts.len() < 2 && (placement != Placement::Spread || !capacities.is_empty()) {
            bail!("--place and --capacity: they are for clusters over several machines, each named with --host");
        }
        let plain = hosts.iter().find(|host| is_plain_beyond_loopback(&host.address));
        if let Some(HostAddress { address, .. }) = plain.filter(|_| hosts.len() > 1 && !self.insecure) {
            bail!(
                "--host {address}: without encryption, everybody who can reach that port is root on that machine; use ssh:// or \
                 TLS, or allow it with --insecure"
            );
        }
        Ok((placement, capacities))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(hosts: &[&str], contexts: &[&str]) -> Result<Vec<String>> {
        let each = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let args = HostArgs { host: each(hosts), context: each(contexts) };
        let text = |HostAddress { name, address }| format!("{} {address}", name.unwrap_or_default());
        Ok(args.addresses()?.into_iter().map(text).collect())
    }

    #[test]
    fn engines_have_names() {
        for (text, read_as) in [
            ("a=tcp://h:1", "a tcp://h:1"),
            ("tcp://h:1", " tcp://h:1"),
            ("unix:///a=b", " unix:///a=b"),
            ("a=unix:///b=c", "a unix:///b=c"),
            ("/run/a=b", " /run/a=b"),
            ("a=simulated:", "a simulated:"),
            ("simulated:?x=1", " simulated:?x=1"),
        ] {
            assert_eq!(read(&[text], &[]).unwrap(), [read_as]);
        }
        assert_eq!(read(&["a=ssh://x"], &["c", "d=e"]).unwrap(), ["a ssh://x", " context:c", "d context:e"]);
        assert!(read(&["a b=tcp://h:1"], &[]).is_err() && read(&["=tcp://h:1"], &[]).is_err());
    }
}
