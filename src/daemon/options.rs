//! From what the command line says to what the cluster is.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use super::config::Config;
use super::place::Place;
use super::program::programs;
use super::readiness;
use crate::cli::MountArgs;
use crate::cluster::NodeName;
use crate::engine::Bind;
use crate::provision::{NetworkWish, NodeOptions};
use crate::sys;
use crate::template::Nodes;
use crate::watch::{DEFAULT_LOG_LIMIT, SMALLEST_LIMIT};

/// The mountpoint if none is named.
const DEFAULT_MOUNTPOINT: &str = "./cthulhu-fixture";
/// More is never possible: a Linux bridge holds 1,023 ports.
const MOST_NODES: usize = 1023;

/// 198.18.0.0/15, which RFC 2544 keeps for tests, so that no node has an address of it.
const BENCHMARK_NETWORK: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

/// Everything that a daemon is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The arguments, paths made absolute.
    pub args: MountArgs,
    /// Where.
    pub place: Place,
    /// The umask of the user who mounts, for a mountpoint that is made.
    pub umask: u32,
    /// Where bindmounts and logs are kept.
    pub data: PathBuf,
    /// What the files of `--env-file` say, `KEY=VALUE` each.
    pub env: Vec<String>,
    /// Host directories for the nodes.
    pub volumes: Vec<Volume>,
    /// Memory limit in bytes.
    pub memory: Option<i64>,
    /// How much of a node's output is kept, in bytes.
    pub log_limit: u64,
}

/// A host directory for the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// On the host.
    pub source: PathBuf,
    /// In the node.
    pub target: String,
    /// Read-only.
    pub read_only: bool,
}

impl Plan {
    /// Checks the arguments and resolves what depends on the working directory.
    ///
    /// # Errors
    /// A sentence that names the argument.
    pub fn new(mut args: MountArgs) -> Result<Self> {
        match args.instances {
            0 => bail!("-n 0: a cluster has at least one node"),
            n if n > MOST_NODES => {
                bail!("-n {n}: a cluster has at most {MOST_NODES} nodes, as many as a Linux bridge has ports")
            }
            _ => {}
        }
        if args.image.as_deref().is_some_and(|image| image.trim().is_empty()) {
            bail!("-i: the name of the image is empty; leave the option out for the built-in demo node");
        }
        if args.port == 0 {
            bail!("--port 0: a port is a number from 1 to 65535");
        }
        if let Some(base) = args.publish
            && (base == 0 || usize::from(base) + args.instances - 1 > usize::from(u16::MAX))
        {
            bail!("--publish {base}: the host ports for {} nodes do not fit between 1 and 65535", args.instances);
        }
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if !args.prefix.chars().all(good) || args.prefix.starts_with(['.', '-', '_']) || args.prefix.len() > 64 {
            bail!(
                "--prefix {}: a prefix has letters, digits, '_', '.' and '-', and begins with a letter or digit",
                args.prefix
            );
        }
        if args.cpus.is_some_and(|cpus| !cpus.is_finite() || cpus <= 0.0 || cpus > 4096.0) {
            bail!("--cpus takes a number above 0, such as 0.5");
        }
        for target in [&args.etc_target, &args.var_target] {
            if !target.starts_with('/') {
                bail!("{target}: a path in a node is absolute");
            }
        }
        let mountpoint = args.mountpoint.take().unwrap_or_else(|| DEFAULT_MOUNTPOINT.into());
        let place = Place::of(&mountpoint)?;
        let data = match &args.data {
            Some(data) => std::path::absolute(data).context("--data")?,
            None => place.state.join("data"),
        };
        if data.parent().is_none() {
            bail!("--data {}: choose a directory of its own", data.display());
        }
        if data.starts_with(&place.mountpoint) {
            bail!("--data {}: it lies in the mountpoint, where the daemon cannot reach it", data.display());
        }
        let env = environment(&args)?;
        let volumes = args.volume.iter().map(|text| volume(text, &place.mountpoint)).collect::<Result<_>>()?;
        let memory = args.memory.as_deref().map(|text| bytes("--memory", text)).transpose()?;
        let log_limit = args.log_limit.as_deref().map(log_limit).transpose()?.unwrap_or(DEFAULT_LOG_LIMIT);
        let config = args.config.take();
        let umask = sys::umask().unwrap_or(0o077);
        let mut plan = Self { umask, data, env, volumes, memory, log_limit, place, args };
        plan.check_templates(config.as_deref())?;
        plan.args.config = config.map(std::path::absolute).transpose().context("--config")?;
        Ok(plan)
    }

    /// Renders every template for every node, before anything is made: where addresses are not known yet, with
    /// others in their place.
    fn check_templates(&self, config: Option<&Path>) -> Result<()> {
        let addresses = (2..).map(|nth| Ipv4Addr::from(u32::from(BENCHMARK_NETWORK) + nth));
        let nodes = (0..self.args.instances).map(|index| NodeName::nth(index).to_string()).zip(addresses);
        let nodes = Nodes::new(self.args.port, nodes);
        programs(self, &nodes)?;
        readiness::check(&self.args, &nodes)?;
        let Some(dir) = config else { return Ok(()) };
        self.check_config_place(dir)?;
        Config::read(dir)?.check(&nodes)
    }

    /// Whether reading DIR touches neither our own mount nor what we write.
    fn check_config_place(&self, dir: &Path) -> Result<()> {
        let shown = dir.display();
        let mountpoint = &self.place.mountpoint;
        let dir = outside(dir, mountpoint, "--config")?;
        if mountpoint.starts_with(&dir) {
            bail!("--config {shown}: the mountpoint lies in it");
        }
        let data = self.data.canonicalize().unwrap_or_else(|_| self.data.clone());
        if data.starts_with(&dir) || dir.starts_with(&data) {
            bail!("--config {shown}: what the nodes write is kept in {}, choose another directory", data.display());
        }
        Ok(())
    }

    /// How the nodes' containers are run; their programs follow when the addresses are known.
    pub fn node_options(&self) -> NodeOptions {
        let args = &self.args;
        NodeOptions {
            programs: vec![],
            entrypoint: args.entrypoint.clone().map(|program| vec![program]),
            etc_target: args.etc_target.clone(),
            var_target: args.var_target.clone(),
            image_volumes: vec![],
            volumes: self.volumes.iter().map(Volume::bind).collect(),
            user: args.user.clone(),
            memory: self.memory,
            nano_cpus: args.cpus.map(|cpus| (cpus * 1e9) as i64),
            cap_add: args.cap_add.clone(),
            privileged: args.privileged,
        }
    }

    /// Which network is wanted.
    pub fn network(&self) -> NetworkWish {
        match (&self.args.network, &self.args.subnet) {
            (Some(name), _) => NetworkWish::Existing(name.clone()),
            (None, Some(subnet)) => NetworkWish::Subnet(subnet.clone()),
            (None, None) => NetworkWish::Any,
        }
    }
}

impl Volume {
    fn bind(&self) -> Bind {
        Bind { source: self.source.clone(), target: self.target.clone(), read_only: self.read_only }
    }
}

/// Checks all of the environment, and returns what the files say, read as docker run reads them.
pub(super) fn environment(args: &MountArgs) -> Result<Vec<String>> {
    let mut all = vec![];
    for path in &args.env_file {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        for (at, line) in text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text).split('\n').enumerate() {
            let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
            if !line.is_empty() && !line.starts_with('#') {
                let said = env_line(line).with_context(|| format!("{} line {}", path.display(), at + 1))?;
                all.push(said);
            }
        }
    }
    for one in &args.env {
        check_env(one).context("-e")?;
    }
    Ok(all)
}

/// What editors on Windows begin a text with.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A line of a file: K=V, or K alone, which has the value that it has here.
fn env_line(line: &str) -> Result<String> {
    if line.contains('=') {
        check_env(line)?;
        return Ok(line.to_owned());
    }
    check_env(&format!("{line}="))?;
    match std::env::var(line) {
        Ok(value) => Ok(format!("{line}={value}")),
        Err(std::env::VarError::NotPresent) => {
            bail!(
                "'{line}' is not of the form K=V, and there is no variable of that name here whose value it could take"
            )
        }
        Err(std::env::VarError::NotUnicode(_)) => bail!("the value of {line} here is not UTF-8 text"),
    }
}

fn check_env(line: &str) -> Result<()> {
    if line.contains('\0') {
        bail!("'{}' has a NUL byte in it", line.escape_debug());
    }
    let Some((name, _)) = line.split_once('=').filter(|(name, _)| !name.trim().is_empty()) else {
        bail!("'{line}' is not of the form K=V");
    };
    // Docker takes some of these from -e. No program asks for such a name, and no shell can.
    if name.contains(|c: char| c.is_whitespace() || c.is_control() || c == BYTE_ORDER_MARK) {
        let hint = if name.starts_with("export ") { "; leave 'export' out, this is no shell script" } else { "" };
        bail!("'{}' is no name of a variable: it has a blank or a control character in it{hint}", name.escape_debug());
    }
    Ok(())
}

pub(super) fn volume(text: &str, mountpoint: &Path) -> Result<Volume> {
    let wrong = || anyhow!("--volume {text}: the form is SRC:DST or SRC:DST:ro, with an absolute DST");
    let (rest, read_only) = text.strip_suffix(":ro").map_or((text, false), |rest| (rest, true));
    let (source, target) = rest.rsplit_once(':').ok_or_else(wrong)?;
    if source.is_empty() || !target.starts_with('/') {
        return Err(wrong());
    }
    // A node that had the mount in it would keep it, and wait for the daemon that waits for the node.
    let source = outside(Path::new(source), mountpoint, &format!("--volume {text}"))?;
    Ok(Volume { source, target: target.to_owned(), read_only })
}

/// Resolves a path that must be there and not in the mountpoint.
fn outside(path: &Path, mountpoint: &Path, what: &str) -> Result<PathBuf> {
    let inside = || anyhow!("{what}: {} lies in the mountpoint, which holds nothing but the cluster", path.display());
    // By its name first: to look at what is in a mount may hang.
    if std::path::absolute(path).with_context(|| what.to_owned())?.starts_with(mountpoint) {
        return Err(inside());
    }
    let resolved = path.canonicalize().with_context(|| format!("{what}: cannot use {}", path.display()))?;
    if resolved.starts_with(mountpoint) { Err(inside()) } else { Ok(resolved) }
}

fn log_limit(text: &str) -> Result<u64> {
    let limit = bytes("--log-limit", text)?.unsigned_abs();
    if limit < SMALLEST_LIMIT {
        bail!("--log-limit {text}: at least {}k are kept", SMALLEST_LIMIT >> 10);
    }
    Ok(limit)
}

/// Bytes, with the suffixes of the docker command line: b, k, m, g, powers of 1024.
pub(super) fn bytes(option: &str, text: &str) -> Result<i64> {
    let lower = text.to_ascii_lowercase();
    let (digits, shift) = match lower.char_indices().last() {
        Some((at, 'k')) => (&lower[..at], 10),
        Some((at, 'm')) => (&lower[..at], 20),
        Some((at, 'g')) => (&lower[..at], 30),
        Some((at, 'b')) => (&lower[..at], 0),
        _ => (lower.as_str(), 0),
    };
    let number = digits.parse::<i64>().ok().filter(|number| *number > 0).and_then(|n| n.checked_mul(1 << shift));
    number.ok_or_else(|| anyhow!("{option} {text}: the form is a number with b, k, m or g, such as 512m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_volumes() {
        assert_eq!(bytes("--memory", "512m").unwrap(), 512 << 20);
        assert_eq!(bytes("--memory", "1").unwrap(), 1);
        for wrong in ["", "m", "-1m", "0", "1.5g", "9999999999g"] {
            assert!(bytes("--memory", wrong).is_err(), "{wrong}");
        }
        assert_eq!(log_limit("64k").unwrap(), 64 << 10);
        for wrong in ["0", "63k", "x"] {
            assert!(log_limit(wrong).unwrap_err().to_string().starts_with("--log-limit"), "{wrong}");
        }
        let good = volume("/tmp:/data:ro", Path::new("/mnt/x")).unwrap();
        assert_eq!((good.target.as_str(), good.read_only), ("/data", true));
        for wrong in ["", "/tmp", "/tmp:data", ":/data", "/no/such/dir:/data", "/tmp/none:/data", "/tmp:/a"] {
            assert!(volume(wrong, Path::new("/tmp")).is_err(), "{wrong}");
        }
        assert!(check_env("A=").is_ok());
        assert!(check_env("A").is_err() && check_env("=x").is_err());
        assert!(check_env("A=\0").unwrap_err().to_string().contains("NUL"), "no program can have it");
        for wrong in [" A=1", "A =1", "A B=1", "A\tB=1", "A\u{a0}B=1", "\u{feff}A=1", "A\u{b}=1", "A\n=1", "A\u{1b}=1"]
        {
            assert!(check_env(wrong).unwrap_err().to_string().contains("no name"), "{wrong:?}");
        }
        for good in ["A.b-c=1", "é=1", "A= 1 ", "A=B=C", "A=\t\n", "1=2"] {
            assert!(check_env(good).is_ok(), "{good:?}");
        }
        assert!(check_env("export A=1").unwrap_err().to_string().contains("leave 'export' out"));
    }
}
