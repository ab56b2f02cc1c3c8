//! `cthulhu nemesis` and `cthulhu replay`: schedules of faults.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use super::args::seconds;
use super::history::find;
use super::{complain, print_lines, tell};
use crate::daemon::within_reach;
use crate::history::RecordedHistory;
use crate::nemesis::{Schedule, replay as replayed};
use crate::runner::nemesis::{Ending, Mounted, NemesisJob, Performance, Source, Stop};
use crate::sys::Signals;

/// Signals that come within this time are one: timeout(1) and a shell's `kill %1` send theirs twice.
const SAME_SIGNAL: Duration = Duration::from_millis(200);

/// How a schedule is drawn and performed, for `nemesis` and `run`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct DrawArgs {
    /// Draw from these kinds of faults: partition, oneway, crash, kill, pause, stop, restart, delay, loss, duplicate, corrupt,
    /// reorder, rate [default: the first five, delay and loss, as far as they are possible here]
    #[arg(long, value_name = "KIND,...", value_delimiter = ',')]
    pub(crate) faults: Vec<String>,
    /// Begin an episode so often [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) every: Option<Duration>,
    /// How long the schedule lasts [default: 60s]
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    pub(crate) lasting: Option<Duration>,
    /// How long to be quiet after all is healed [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) quiet: Option<Duration>,
}

impl DrawArgs {
    /// Whether they say how to draw one.
    pub(super) fn draws(&self) -> bool {
        !self.faults.is_empty() || self.every.is_some() || self.lasting.is_some()
    }

    fn drawn(&self, seed: u64) -> Source {
        Source::Drawn {
            seed,
            faults: self.faults.clone(),
            every: self.every.unwrap_or(Duration::from_secs(5)),
            lasting: self.lasting.unwrap_or(Duration::from_secs(60)),
        }
    }

    fn job(&self, source: Source) -> NemesisJob {
        NemesisJob { source, quiet: self.quiet.unwrap_or(Duration::from_secs(10)) }
    }

    /// What `run --nemesis` names: a file, or `seed:N`.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn named(&self, what: &str) -> Result<NemesisJob> {
        let Some(seed) = what.strip_prefix("seed:") else {
            if self.draws() {
                bail!(
                    "--faults, --every and --for draw a schedule, and {what} is one: leave them out, or use --nemesis seed:N"
                );
            }
            if what.parse::<u64>().is_ok() && !Path::new(what).exists() {
                bail!("--nemesis: there is no file {what}; a seed is written --nemesis seed:{what}");
            }
            return Ok(self.job(Source::Given(read(Path::new(what))?)));
        };
        let seed =
            seed.parse().map_err(|_| anyhow!("--nemesis seed:N takes a number, not '{}'", crate::text::shown(seed)))?;
        Ok(self.job(self.drawn(seed)))
    }
}

/// Where a performance is written to, or printed, instead.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Write the schedule to FILE too; - for stdout
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Perform nothing: print the schedule, or write it to the FILE of --output
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Arguments of nemesis.
#[derive(Debug, Args)]
pub(crate) struct NemesisArgs {
    /// Where the cluster is mounted
    #[arg(value_name = "CLUSTER")]
    pub(crate) cluster: PathBuf,
    /// Draw the schedule from this number: the same one draws the same [default: drawn, and told]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Perform this schedule instead of drawing one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "faults", "every", "lasting"])]
    pub(crate) schedule: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) draw: DrawArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Arguments of replay.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// What to do again: a history, a directory that has one, or a schedule
    #[arg(value_name = "HISTORY|FILE")]
    pub(crate) of: PathBuf,
    /// Where a cluster is mounted; not needed with --dry-run
    #[arg(value_name = "CLUSTER", required_unless_present = "dry_run")]
    pub(crate) cluster: Option<PathBuf>,
    /// Name nodes by the roles that they had: @leader in place of i002
    #[arg(long)]
    pub(crate) roles: bool,
    /// How long to be quiet after all is healed
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "10s")]
    pub(crate) quiet: Duration,
    /// Which mount, where the history tells of several; counted from 1 [default: the last]
    #[arg(long, value_name = "N")]
    pub(crate) mount: Option<usize>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Reads a schedule.
///
/// # Errors
/// A sentence.
pub(super) fn read(file: &Path) -> Result<Schedule> {
    let shown = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
    Schedule::parse(&text).map_err(|why| anyhow!("{shown}, {why}"))
}

/// Performs a schedule, given or drawn.
///
/// # Errors
/// One sentence for the user.
pub(crate) fn nemesis(args: NemesisArgs) -> Result<ExitCode> {
    let source = match &args.schedule {
        Some(file) => Source::Given(read(file)?),
        None => args.draw.drawn(args.seed.unwrap_or_else(|| fastrand::u64(..))),
    };
    perform(&args.draw.job(source), Some(&args.cluster), &args.output)
}

/// Performs what a history tells of again.
///
/// # Errors
/// One sentence for the user.
pub(crate) fn replay(args: ReplayArgs) -> Result<ExitCode> {
    let schedule = match again(&args)? {
        schedule if schedule.episodes.is_empty() => {
            bail!("{}: nothing was done to the cluster in it", args.of.display())
        }
        schedule => schedule,
    };
    let job = NemesisJob { source: Source::Given(schedule), quiet: args.quiet };
    perform(&job, args.cluster.as_deref(), &args.output)
}

fn again(args: &ReplayArgs) -> Result<Schedule> {
    let path = find(&args.of)?;
    let shown = path.display();
    let bytes = fs::read(&path).with_context(|| format!("cannot read {shown}"))?;
    // A history begins with a JSON object.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        if args.roles {
            bail!("{shown} is a schedule: --roles is for a history, which says who had which role");
        }
        return read(&path);
    }
    let history = RecordedHistory::read(&bytes).with_context(|| format!("cannot replay {shown}"))?;
    let of = history.mounts.len();
    let mount = args.mount.unwrap_or(of).checked_sub(1).and_then(|nth| history.mounts.get(nth));
    let mount = mount.with_context(|| format!("{shown} tells of {of} mounts"))?;
    replayed(mount, args.roles).map_err(|why| anyhow!("{shown}: {why}"))
}

/// Performs a schedule, or shows it.
fn perform(job: &NemesisJob, cluster: Option<&Path>, output: &OutputArgs) -> Result<ExitCode> {
    let reached: Vec<_> = cluster.into_iter().map(Path::to_owned).collect();
    let schedule = match (cluster, &job.source) {
        (None, Source::Given(schedule)) => schedule.clone(),
        (None, Source::Drawn { .. }) => bail!("name the mountpoint of a cluster"),
        (Some(cluster), _) => {
            let (job, cluster) = (job.clone(), cluster.to_owned());
            within_reach(&reached, move || job.schedule(&Mounted::at(&cluster)?))?
        }
    };
    let text = schedule.to_string();
    match &output.output {
        Some(file) if file != Path::new("-") => {
            fs::write(file, &text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        None if !output.dry_run => {}
        _ => drop(print_lines(text.lines().map(str::to_owned))?),
    }
    let Some(cluster) = cluster.filter(|_| !output.dry_run) else { return Ok(ExitCode::SUCCESS) };
    let mut signals = Signals::catch(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]).context("cannot catch signals")?;
    let (job, at) = (NemesisJob { source: Source::Given(schedule), quiet: job.quiet }, cluster.to_owned());
    let stop = Arc::new(Stop::default());
    let (stopped, signal) = (Arc::clone(&stop), Arc::new(std::sync::OnceLock::new()));
    let received = Arc::clone(&signal);
    let mut began = Instant::now();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        while let Ok(caught) = signals.wait() {
            if received.set(caught.signal).is_ok() {
                complain("all is healed first; another signal leaves it as it is");
                began = Instant::now();
            } else if began.elapsed() > SAME_SIGNAL {
                complain("left as it is: write heal, resume and start to the cluster's control");
                std::process::exit(128 + caught.signal);
            }
            stopped.ask(Ending::Heal);
        }
    })?;
    let performance = within_reach(&reached, move || job.prepare(&at)?.perform(&stop, &tell))?;
    Ok(match signal.get() {
        Some(signal) => ExitCode::from(128 + u8::try_from(*signal).unwrap_or_default()),
        None => summary(&performance),
    })
}

/// Says what came of it.
fn summary(performance: &Performance) -> ExitCode {
    let mut late = performance.late.clone();
    late.sort_unstable();
    if let Some(most) = late.last() {
        let usual = late[(late.len() * 99).div_ceil(100) - 1];
        let writes = late.len();
        tell(&format!("{writes} writes; 99 of 100 began at most {usual} ms late, all at most {most} ms"));
    }
    let errors = performance.errors.iter().chain(&performance.not_healed);
    match errors.count() {
        0 => ExitCode::SUCCESS,
        _ => {
            if let Some(why) = &performance.not_healed {
                complain(&format!("not all is healed: {why}"));
            }
            let failed = performance.errors.len();
            if failed > 0 {
                let writes = if failed == 1 { "write" } else { "writes" };
                complain(&format!("{failed} {writes} did not go as the schedule says: see above, and the history"));
            }
            ExitCode::FAILURE
        }
    }
}
