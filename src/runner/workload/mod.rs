//! Operations on the system that a cluster runs, by clients of the user's, recorded in the history of the mount.

mod client;
mod generator;
mod jobs;
mod journal;
mod operation;
mod process;
mod shared;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant as StdInstant};

use anyhow::{Context, Result, bail};
use futures_util::future::{join_all, try_join_all};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use self::client::Groups;
pub(crate) use self::generator::usual_keys;
use self::generator::{Mix, TOTAL};
use self::jobs::Jobs;
use self::journal::{Journal, Tally};
use self::operation::Operation;
use self::process::Process;
use self::shared::{Clients, Pace, Phase, Shared, Target};
use super::checking::{UNKNOWN, check, record};
use super::follow::{Watched, unusable};
use super::run::cannot_run;
use super::signals::say;
use crate::check::{Model, Options};
use crate::daemon::{ClusterPaths, within_reach};
use crate::sys::{Signals, wait_for_children};
use crate::text::{plain, sentence};

/// How often the history is read for the end of a nemesis, and of the mount.
const LOOK: Duration = Duration::from_millis(200);
/// Signals within this time after the first are the same one: timeout(1) sends its own to us and to our group.
const SIGNAL_DEBOUNCE: Duration = Duration::from_millis(200);

/// What to do, and on which cluster.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) mountpoint: PathBuf,
    pub(crate) model: Model,
    /// The client and its arguments; not empty.
    pub(crate) client: Vec<String>,
    pub(crate) processes: u64,
    /// Operations a second, of all processes.
    pub(crate) rate: f64,
    /// How long, if no nemesis is at work any more.
    pub(crate) time: Duration,
    /// How many keys are in use at once.
    pub(crate) keys: u64,
    /// Which nodes clients talk to, by name, number or service; empty: all.
    pub(crate) nodes: Vec<String>,
    pub(crate) op_timeout: Duration,
    pub(crate) read_timeout: Duration,
    pub(crate) seed: Option<u64>,
    /// Whether to end with a verdict.
    pub(crate) check: bool,
}

/// How a workload has ended.
#[derive(Debug)]
pub(crate) struct WorkloadEnd {
    /// What there is to tell the user.
    pub(crate) lines: Vec<String>,
    /// The exit status.
    pub(crate) status: u8,
}

/// Has clients do operations, and reads all back.
///
/// # Errors
/// A sentence: it cannot be done, or not go on.
pub(crate) fn workload(options: Workload) -> Result<WorkloadEnd> {
    let caught = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
    let signals = Signals::catch(&caught).and_then(|signals| wait_for_children().map(|()| signals));
    let (phase, watched) = watch::channel(Phase::Working);
    let groups = Groups::default();
    obey(signals.context("cannot catch signals")?, phase.clone(), groups.clone())?;
    let (reached, of_clients) = ([options.mountpoint.clone()], groups.clone());
    let done = within_reach(&reached, move || {
        // One thread: clients are killed when the thread that has started them ends.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(options, &phase, watched, of_clients))
    });
    groups.kill();
    done
}

/// Ends the workload with the first signal that comes, and this process with the second.
fn obey(mut signals: Signals, phase: watch::Sender<Phase>, groups: Groups) -> std::io::Result<()> {
    let obeying = move || {
        let mut first: Option<StdInstant> = None;
        while let Ok(received) = signals.wait() {
            match first {
                None => {
                    first = Some(StdInstant::now());
                    phase.send_replace(Phase::Interrupted(received.signal));
                    say("interrupted: the clients are being ended");
                }
                Some(first) if first.elapsed() > SIGNAL_DEBOUNCE => {
                    groups.kill();
                    std::process::exit(128 + received.signal);
                }
                Some(_) => {}
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(obeying).map(drop)
}

async fn run(
    options: Workload,
    phase: &watch::Sender<Phase>,
    watched: watch::Receiver<Phase>,
    groups: Groups,
) -> Result<WorkloadEnd> {
    let paths = ClusterPaths::of(&options.mountpoint)?;
    let mountpoint = paths.mountpoint.clone();
    if !paths.is_mounted() {
        bail!("no cluster is mounted at {}: name the mountpoint of one (cthulhu ls lists yours)", mountpoint.display());
    }
    let targets = targets(&mountpoint, &options.nodes)?;
    let mut history = Watched::begin(&mountpoint)?;
    let (first_id, first_key, after) = (history.seen.next_process, history.seen.next_key, history.seen.line);
    let shared = Shared {
        mix: Mix { model: options.model, keys: options.keys, first_key, processes: options.processes },
        seed: options.seed.unwrap_or_else(|| fastrand::u64(..)),
        first_id,
        targets,
        journal: Journal::open(&mountpoint)?,
        phase: watched,
        pace: Pace::new(options.rate),
        groups,
        clients: Clients::default(),
        registers: Default::default(),
        keys: Default::default(),
        mountpoint,
        options,
    };
    let mut processes = vec![];
    for nth in 0..shared.options.processes {
        match Process::start(&shared, nth) {
            Ok(process) => processes.push(process),
            Err(error) => {
                let status = cannot_run(&shared.options.client[0], &error);
                return Ok(WorkloadEnd { lines: vec![], status });
            }
        }
    }
    say(&shared.plan());
    let unmade = shared.until_done(&mut processes, shared.mix.first()).await?;
    if let (Some((_, why)), Phase::Working) = (unmade, *shared.phase.borrow()) {
        shared.clients.must_have_answered(&shared.options)?;
        bail!("the accounts of the bank could not be made: {why}");
    }
    let began = Instant::now();
    let working = try_join_all(processes.iter_mut().map(Process::work));
    tokio::try_join!(working, shared.time(phase, &mut history))?;
    let (worked, took) = (shared.journal.tally().all(), began.elapsed());
    let keys = shared.keys.borrow().clone();
    let unread = shared.until_done(&mut processes, keys.into_iter().map(|key| shared.mix.last(key))).await?;
    join_all(processes.iter_mut().map(Process::end)).await;
    let mut lines = shared.summary(worked, took);
    if let Phase::Interrupted(signal) = *shared.phase.borrow() {
        return Ok(WorkloadEnd { lines, status: 128 + u8::try_from(signal).unwrap_or_default() });
    }
    shared.clients.must_have_answered(&shared.options)?;
    let mut status = 0;
    if let Some((left, why)) = unread {
        lines.push(shared.unread(&left, &why));
        status = UNKNOWN;
    }
    if shared.options.check {
        let total = (shared.mix.model == Model::Bank).then_some(TOTAL.cast_signed());
        let path = shared.mountpoint.join("history");
        let tell = |error| say(&plain(&sentence(&error)));
        match check(&path, shared.mix.model, &Options { after, total, ..Options::default() }) {
            Ok(checked) => {
                lines.extend(checked.text().lines().map(str::to_owned));
                record(&path, &checked.verdict).unwrap_or_else(tell);
                status = if checked.status() == 0 { status } else { checked.status() };
            }
            Err(error) => {
                tell(error);
                status = UNKNOWN;
            }
        }
    }
    Ok(WorkloadEnd { lines, status })
}

impl Shared {
    /// Has the processes do operations until each has succeeded once; returns those that have not.
    async fn until_done(
        &self,
        processes: &mut [Process<'_>],
        operations: impl IntoIterator<Item = Operation>,
    ) -> Result<Option<(Vec<Operation>, String)>> {
        let jobs = Jobs::new(operations);
        let deadline = Instant::now() + self.options.read_timeout;
        let all = try_join_all(processes.iter_mut().map(|process| process.finish(&jobs, deadline)));
        tokio::select! {
            // Then nothing is under way.
            () = jobs.done() => {}
            done = all => drop(done?),
        }
        Ok(jobs.failure())
    }

    /// Ends the work when its time is over and no nemesis is at work.
    async fn time(&self, phase: &watch::Sender<Phase>, history: &mut Watched) -> Result<()> {
        let (began, mut told) = (Instant::now(), false);
        loop {
            history.read()?;
            let left = self.options.time.saturating_sub(began.elapsed());
            if left.is_zero() && !history.has_nemesis()? {
                if let Some(why) = &history.seen.not_healed {
                    say(&plain(&format!("what is read back comes from a cluster that has not recovered: {why}")));
                }
                phase.send_if_modified(|phase| {
                    let ends = *phase == Phase::Working;
                    if ends {
                        *phase = Phase::Finishing;
                    }
                    ends
                });
                return Ok(());
            }
            if left.is_zero() && !told {
                say("the time is over; going on until the nemesis is over, too");
                told = true;
            }
            let pause = if left.is_zero() { LOOK } else { left.min(LOOK) };
            if self.unless(|phase| phase != Phase::Working, sleep(pause)).await.is_none() {
                return Ok(());
            }
        }
    }

    /// What is about to be done.
    fn plan(&self) -> String {
        let Workload { model, processes, rate, time, .. } = &self.options;
        let talks = |process: &u64| self.target(*process).name.clone();
        let most = self.targets.len() as u64;
        let nodes: Vec<_> = (0..(*processes).min(most)).collect();
        let nodes: Vec<_> = nodes.iter().map(talks).collect();
        format!(
            "{}, seed {}: {processes} processes at {}, {rate} operations a second for {} s",
            model.name(),
            self.seed,
            nodes.join(" "),
            time.as_secs_f64()
        )
    }

    /// What became of all operations, in lines; so many of them came before everything was read back, in this time.
    fn summary(&self, worked: u64, took: Duration) -> Vec<String> {
        let tally = self.journal.tally();
        let (all, seconds) = (tally.all(), took.as_secs_f64());
        let Tally { ok, failed, unknown, slowest } = tally;
        let mut line = format!(
            "{all} operations: {ok} ok, {failed} failed, {unknown} unknown; {:.1} a second for {seconds:.1} s",
            worked as f64 / seconds.max(0.001)
        );
        if let Some((time, f, process)) = slowest {
            line.push_str(&format!(
                "; slowest answer {:.1} ms ({f} of process {process})",
                time.as_secs_f64() * 1000.0
            ));
        }
        let clients = &self.clients;
        let counts = [
            (&clients.silent, "did not answer in time"),
            (&clients.ended, "ended"),
            (&clients.nonsense, "answered nonsense"),
        ];
        let counts = counts.iter().filter(|(count, _)| count.get() > 0);
        let restarted: Vec<_> = counts.map(|(count, what)| format!("{} {what}", count.get())).collect();
        let restarted = (!restarted.is_empty()).then(|| format!("clients started again: {}", restarted.join(", ")));
        [line].into_iter().chain(restarted).collect()
    }

    fn unread(&self, left: &[Operation], why: &str) -> String {
        let f = self.mix.last(String::new()).f;
        let keys: Vec<_> = left.iter().map(|operation| operation.key.as_str()).take(5).collect();
        let more = left.len().saturating_sub(keys.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let time = self.options.read_timeout.as_secs_f64();
        format!("no {f} of {}{more} has succeeded within {time} s after the end: {why}", keys.join(", "))
    }
}

/// The nodes of a mount that clients talk to, in the order of their numbers.
fn targets(mountpoint: &Path, wanted: &[String]) -> Result<Vec<Target>> {
    let path = mountpoint.join("spec.json");
    let text = std::fs::read_to_string(&path).map_err(|error| unusable(mountpoint, &error))?;
    let spec: Map<String, Value> =
        serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
    chosen(&spec, wanted)
}

fn chosen(spec: &Map<String, Value>, wanted: &[String]) -> Result<Vec<Target>> {
    let text = |node: &Value, member: &str| node[member].as_str().unwrap_or_default().to_owned();
    let is = |name: &str, node: &Value, word: &String| {
        name == word || text(node, "index") == *word || text(node, "service") == *word
    };
    if let Some(stray) = wanted.iter().find(|word| !spec.iter().any(|(name, node)| is(name, node, word))) {
        bail!("--node {stray}: there is no such node or service");
    }
    let mut nodes: Vec<_> = spec
        .iter()
        .filter(|(name, node)| match wanted {
            // One that is there to end answers nobody.
            [] => node["oneshot"] != Value::Bool(true),
            _ => wanted.iter().any(|word| is(name, node, word)),
        })
        .map(|(name, node)| (text(node, "index"), Target { name: name.clone(), ip: text(node, "ip") }))
        .collect();
    nodes.sort_by_key(|(index, target)| if index.is_empty() { target.name.clone() } else { index.clone() });
    match nodes.is_empty() {
        true => bail!("there is no node to talk to"),
        false => Ok(nodes.into_iter().map(|(_, target)| target).collect()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn clients_talk_to_all_nodes_or_to_those_named() {
        let spec = json!({
            "gateway": {"index": "i003", "service": "gateway", "ip": "10.0.0.4"},
            "kv-1": {"index": "i001", "service": "kv", "ip": "10.0.0.2"},
            "kv-2": {"index": "i002", "service": "kv", "ip": "10.0.0.3"},
            "seed": {"index": "i004", "service": "seed", "ip": "10.0.0.5", "oneshot": true},
        });
        let names = |wanted: &[&str]| {
            let wanted: Vec<_> = wanted.iter().map(|word| (*word).to_owned()).collect();
            chosen(spec.as_object().unwrap(), &wanted)
                .map(|all| all.into_iter().map(|one| one.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap(), ["kv-1", "kv-2", "gateway"]);
        assert_eq!(names(&["kv"]).unwrap(), ["kv-1", "kv-2"]);
        assert_eq!(names(&["i003", "kv-2"]).unwrap(), ["kv-2", "gateway"]);
        assert_eq!(names(&["kvx"]).unwrap_err().to_string(), "--node kvx: there is no such node or service");
        let plain = json!({"i002": {"ip": "10.0.0.3"}, "i001": {"ip": "10.0.0.2"}});
        let all = chosen(plain.as_object().unwrap(), &[]).unwrap();
        assert_eq!(all[0], Target { name: "i001".into(), ip: "10.0.0.2".into() });
    }
}
