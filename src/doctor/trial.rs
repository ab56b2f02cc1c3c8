//! A cluster of one demo node, mounted, started and unmounted: what all the other checks are about.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;

use super::{Finding, Verdict};
use crate::daemon::within_reach;
use crate::fleet::HostAddress;

/// How long mounting, and unmounting, may take.
const TRIAL_LIMIT: Duration = Duration::from_secs(90);

/// Tries it, at a mountpoint of its own among temporary files, with state where the user's is. The last finding says whether
/// it works.
pub(crate) async fn mount(hosts: &[HostAddress]) -> Vec<Finding> {
    let began = Instant::now();
    let finding = |verdict, text: String| Finding::new("trial", verdict, text);
    let mountpoint = match directory() {
        Ok(dir) => dir,
        Err(why) => return vec![finding(Verdict::Problem, why)],
    };
    let prefix = format!("doctor{}", std::process::id());
    let what = match hosts.len() {
        0 | 1 => "one demo node".to_owned(),
        several => format!("{several} demo nodes"),
    };
    let named = options(hosts);
    let named: Vec<_> = named.iter().map(String::as_str).collect();
    let nodes = hosts.len().max(1).to_string();
    let mut begin = vec!["mount", "-n", &nodes, "--start", "--prefix", &prefix];
    begin.extend(&named);
    if hosts.len() > 1 {
        begin.push("--insecure");
    }
    let mounted = ourselves(&begin, &mountpoint).await;
    let mut seen = vec![];
    if mounted.is_ok() {
        seen.push(faults(&mountpoint));
        seen.push(if hosts.len() > 1 { overlay() } else { addresses(&mountpoint).await });
        // The mount itself has tried it.
        seen.extend(pairs(hosts));
    }
    let unmounted = match &mounted {
        Ok(()) => ourselves(&["umount"], &mountpoint).await,
        // It has taken away what it had made, or says what not.
        Err(_) => Ok(()),
    };
    // What the demo node wrote too.
    let mut end = vec!["prune", "--yes"];
    end.extend(&named);
    let pruned = ourselves(&end, &mountpoint).await;
    let _ = fs::remove_dir(&mountpoint);
    let trial = match (mounted, unmounted.and(pruned)) {
        (Ok(()), Ok(())) => {
            let took = began.elapsed().as_secs_f64();
            finding(Verdict::Ok, format!("a cluster of {what} was mounted, started and unmounted in {took:.1} s"))
        }
        (Err(why), _) => finding(Verdict::Problem, format!("a cluster of {what} cannot be mounted: {why}")),
        (_, Err(why)) => finding(Verdict::Problem, format!("a cluster of {what} cannot be unmounted: {why}")),
    };
    seen.push(trial);
    seen
}

/// An overlay network begins and ends in the engines, even where one of them is on this machine.
fn overlay() -> Finding {
    let text = "nodes of several machines are in an overlay network, which this machine does not reach: publish their ports with \
                --publish PORT";
    Finding::new("addresses", Verdict::Note, text)
}

/// That nodes of each two machines reach each other.
fn pairs(hosts: &[HostAddress]) -> Vec<Finding> {
    let name = |host: &HostAddress| host.name.clone().unwrap_or_else(|| host.address.clone());
    let names: Vec<_> = hosts.iter().map(name).collect();
    let pairs = names.iter().enumerate().flat_map(|(nth, a)| names[nth + 1..].iter().map(move |b| (a, b)));
    let text = |(a, b)| format!("nodes on {a} and on {b} reach each other");
    pairs.map(|pair| Finding::new("machines", Verdict::Ok, text(pair))).collect()
}

/// The options that name these engines.
fn options(hosts: &[HostAddress]) -> Vec<String> {
    let option = |host: &HostAddress| {
        let name = host.name.iter().map(|name| format!("{name}=")).collect::<String>();
        match host.address.strip_prefix("context:") {
            Some(context) => ["--context".to_owned(), format!("{name}{context}")],
            None => ["--host".to_owned(), format!("{name}{}", host.address)],
        }
    };
    hosts.iter().flat_map(option).collect()
}

/// Which network faults its sandbox has found possible.
fn faults(mountpoint: &Path) -> Finding {
    let text = read(mountpoint, "capabilities");
    judge_faults(&text)
}

/// What a file of the mount says; nothing if it cannot be read.
fn read(mountpoint: &Path, file: &str) -> String {
    let file = mountpoint.join(file);
    within_reach(&[mountpoint.to_owned()], move || Ok(fs::read_to_string(file)?)).unwrap_or_default()
}

/// `text` is what the file `capabilities` says: a line per impairment, `WORD yes|no HOW-OR-WHY`.
fn judge_faults(text: &str) -> Finding {
    let lines = text.lines().filter_map(|line| {
        let (word, rest) = line.split_once(' ')?;
        let (possible, how) = rest.trim_start().split_once(' ')?;
        Some((word, possible == "yes", how.trim_start()))
    });
    let (possible, not): (Vec<_>, Vec<_>) = lines.partition(|(_, possible, _)| *possible);
    let listed = |lines: &[(&str, bool, &str)]| {
        let texts: Vec<_> = lines.iter().map(|(word, _, how)| format!("{word} ({how})")).collect();
        texts.join(", ")
    };
    let (verdict, text) = match (possible.is_empty(), not.is_empty()) {
        (true, true) => (Verdict::Unknown, "a sandbox could not find out which are possible".into()),
        (false, true) => (Verdict::Ok, format!("all are possible: {}", listed(&possible))),
        (true, false) => (Verdict::Note, format!("none is possible: {}", not[0].2)),
        (false, false) => (Verdict::Note, format!("possible: {}; not possible: {}", listed(&possible), listed(&not))),
    };
    Finding::new("faults", verdict, text)
}

/// How long connecting to a node may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Whether this machine reaches the node's address. A rootless engine's nodes, for one, it does not.
async fn addresses(mountpoint: &Path) -> Finding {
    let finding = |verdict, text: String| Finding::new("addresses", verdict, text);
    let ip = read(mountpoint, "i001/ip");
    let Ok(ip) = ip.trim().parse::<std::net::IpAddr>() else {
        return finding(Verdict::Unknown, "the node's address cannot be read".into());
    };
    // Any port will do: a machine that is reached refuses it, or takes it.
    let why = match tokio::time::timeout(CONNECT, tokio::net::TcpStream::connect((ip, 8080))).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", CONNECT.as_secs())),
    };
    match why {
        None => finding(Verdict::Ok, "this machine reaches the nodes' addresses".into()),
        Some(why) => finding(
            Verdict::Note,
            format!(
                "this machine does not reach the nodes' addresses ({why}): publish their ports with --publish PORT"
            ),
        ),
    }
}

fn directory() -> Result<PathBuf, String> {
    let dir = std::env::temp_dir().join(format!("cthulhu-doctor-{}", std::process::id()));
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&dir)
        .map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    Ok(dir)
}

/// Runs our own program; its complaint if it fails.
async fn ourselves(args: &[&str], mountpoint: &Path) -> Result<(), String> {
    let mut command = Command::new("/proc/self/exe");
    command.args(args).arg(mountpoint).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(TRIAL_LIMIT, command.output()).await;
    let output = output.map_err(|_| format!("it took longer than {} s", TRIAL_LIMIT.as_secs()))?;
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or("it ended without a word");
    Err(last.trim_start_matches("cthulhu: ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sandbox_has_found_is_told() {
        let all = judge_faults("drop       yes  nftables\nrate       yes  HTB\n");
        assert_eq!((all.verdict, all.text.as_str()), (Verdict::Ok, "all are possible: drop (nftables), rate (HTB)"));
        let some = judge_faults("drop       yes  nftables\nrate       no   the kernel has no HTB\n");
        assert_eq!(some.verdict, Verdict::Note);
        assert_eq!(some.text, "possible: drop (nftables); not possible: rate (the kernel has no HTB)");
        assert_eq!(judge_faults("drop       no   no nftables\n").text, "none is possible: no nftables");
        assert_eq!(judge_faults("").verdict, Verdict::Unknown);
    }
}
