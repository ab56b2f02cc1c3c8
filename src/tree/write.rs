//! Writes to control files: bytes become lines, lines become commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use rustix::io::Errno;
use tracing::info;

use super::layout::Kind;
use super::table::Role;
use super::unfinished::Refusal;
use super::{Fh, Tree};
use crate::control::{Command, ControlError, Setting, Target, parse};
use crate::history::{CommandId, LONGEST_LINE};
use crate::sync::Mutex;

/// How much of an invalid command is kept in the history, in bytes.
const LONGEST_REFUSED: usize = 1024;

/// Bytes of the longest write(2) that the kernel hands over in one piece, wherever it lies in memory: a piece has up to 1 MiB,
/// in up to 256 pages, and what is written need not begin where a page does.
pub const LONGEST_WRITE: usize = (1 << 20) - (4 << 10);

/// The result of a write or a flush.
pub enum Written {
    /// Answered: bytes taken, or why not.
    Now(Result<u32, Errno>),
    /// Answered when its commands are done.
    Later(Pending),
}

/// Commands under way. Awaiting `done` runs them; setting `cancelled` skips those not begun.
pub struct Pending {
    /// Skips what has not begun.
    pub cancelled: Arc<AtomicBool>,
    /// Notes in `error`, and in the history, that the caller did not wait for the end.
    pub interrupted: Box<dyn FnOnce() -> Errno + Send>,
    /// Resolves to the write's answer, when what it changed can be read.
    pub done: BoxFuture<'static, Result<u32, Errno>>,
}

/// The command that is at work, if one is.
pub(super) type InFlightGuard = Arc<Mutex<Option<CommandId>>>;

/// A command, and the line that it was.
type Line = (String, Command);

/// What a file does with what is written to it.
enum Sink {
    Commands(Target),
    History,
    Setting(Setting),
}

impl Sink {
    /// The node in whose directory the file is.
    fn node(&self) -> Option<usize> {
        match self {
            Self::Commands(target) => node(*target),
            Self::History => None,
            Self::Setting(setting) => setting.node(),
        }
    }
}

/// Why nothing of a write is taken.
enum Refused {
    /// One of its lines is not a command.
    Line(Vec<u8>, ControlError),
    /// It is refused, whatever it says.
    Write(Refusal),
}

/// Where a write goes in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Bytes from the beginning.
    pub offset: u64,
    /// The file is open with O_APPEND.
    pub appends: bool,
}

impl Tree {
    /// Writes to a file: commands to a control file, lines to the history, a new state to a setting. What is no whole line
    /// yet waits for its newline or for [`Tree::flush`].
    ///
    /// A write is taken completely or not at all. The kernel passes a very long one on in pieces, and it is impossible
    /// to know whether a long piece is all of it: with the end of a line in it, it is refused.
    pub fn write(&self, fh: Fh, at: Position, data: &[u8]) -> Written {
        let sink = self.sink(fh);
        if let Ok(sink) = &sink
            && data.len() > LONGEST_WRITE
            && data.contains(&b'\n')
        {
            let why = format!("a write of lines has at most {LONGEST_WRITE} bytes: nothing of this one is taken");
            return Written::Later(self.refuse(sink.node(), Errno::FBIG, &why));
        }
        let target = match sink {
            Ok(Sink::Commands(target)) => target,
            Ok(Sink::History) => return self.append(fh, data),
            Ok(Sink::Setting(setting)) => return self.write_setting(fh, setting, at, data),
            Err(errno) => return Written::Now(Err(errno)),
        };
        let taken = u32::try_from(data.len()).unwrap_or(u32::MAX);
        match self.take_lines(fh, data) {
            Ok(commands) if commands.is_empty() => Written::Now(Ok(taken)),
            Ok(commands) => Written::Later(self.run(target, commands, taken)),
            Err(Refused::Line(line, error)) => Written::Later(self.refuse_line(node(target), &line, &error)),
            Err(Refused::Write((errno, why))) => Written::Later(self.refuse(node(target), errno, &why)),
        }
    }

    /// Takes a last line without a newline as a line. Called when a descriptor is closed.
    pub fn flush(&self, fh: Fh) -> Written {
        let target = match self.sink(fh) {
            Ok(Sink::Commands(target)) => target,
            Ok(Sink::History) => return self.append_rest(fh),
            Ok(Sink::Setting(setting)) => return self.flush_setting(fh, setting),
            Err(_) => return Written::Now(Ok(0)),
        };
        let mut files = self.0.files.lock();
        let Ok(unfinished) = files.unfinished(fh) else {
            return Written::Now(Ok(0));
        };
        match parse(unfinished.get(fh)) {
            Ok(command) => {
                let line = unfinished.take(fh);
                drop(files);
                match command {
                    Some(command) => Written::Later(self.run(target, vec![(text(&line), command)], 0)),
                    None => Written::Now(Ok(0)),
                }
            }
            Err(error) => {
                // The line stays: one of several processes that write it in turn may have closed its copy.
                let line = unfinished.get(fh).to_vec();
                drop(files);
                Written::Later(self.refuse_line(node(target), &line, &error))
            }
        }
    }

    fn sink(&self, fh: Fh) -> Result<Sink, Errno> {
        let ino = self.0.files.lock().ino(fh)?;
        match &self.entry(ino)?.kind {
            Kind::File(file, node) => match (file.role, *node) {
                (Role::Control, None) => Ok(Sink::Commands(Target::Root)),
                (Role::Control, Some(index)) => Ok(Sink::Commands(Target::Node(index))),
                (Role::History, _) => Ok(Sink::History),
                (Role::Partition, _) => Ok(Sink::Setting(Setting::Partition)),
                (Role::Links, _) => Ok(Sink::Setting(Setting::Links)),
                (Role::Net, Some(index)) => Ok(Sink::Setting(Setting::Net(index))),
                (Role::Net | Role::Value | Role::Log | Role::Error, _) => Err(Errno::BADF),
            },
            Kind::Directory(_) | Kind::Link(_) => Err(Errno::BADF),
        }
    }

    /// The commands of the lines that `data` ends. If a line is not a command, none of the write is run.
    fn take_lines(&self, fh: Fh, data: &[u8]) -> Result<Vec<Line>, Refused> {
        let mut files = self.0.files.lock();
        let gathered = files.gather(fh, data, LONGEST_LINE).map_err(|(errno, why)| match errno {
            Errno::INVAL => Refused::Line(data.to_vec(), ControlError::Invalid(why)),
            _ => Refused::Write((errno, why)),
        })?;
        let mut commands = vec![];
        for (nth, line) in gathered.lines.split(|&byte| byte == b'\n').enumerate() {
            match parse(line) {
                Ok(command) => commands.extend(command.map(|command| (text(line), command))),
                Err(error) => {
                    if let Ok(unfinished) = files.unfinished(fh) {
                        unfinished.nothing_taken(fh, &gathered, Some(nth));
                    }
                    return Err(Refused::Line(line.to_vec(), error));
                }
            }
        }
        Ok(commands)
    }

    fn run(&self, target: Target, commands: Vec<Line>, taken: u32) -> Pending {
        self.pending(node(target), taken, async move |tree, stop, under_way| {
            for (line, command) in commands {
                // A node's own control names no nodes.
                let roles = tree.0.executor.ask_roles(if target == Target::Root { &line } else { "" }).await;
                if stop.load(Ordering::Acquire) {
                    return Err(ControlError::Interrupted);
                }
                let (verb, nodes, is_fresh_start) = (command.verb, command.nodes.clone(), command.is_fresh_start());
                let invoked = tree.0.executor.invoke(target, &line, command, roles);
                let (id, about) = (invoked.id(), invoked.about());
                *under_way.lock() = Some(id);
                let result = tree.0.executor.execute(invoked).await;
                info!(?target, verb, ?nodes, ok = result.is_ok(), "command");
                result?;
                if is_fresh_start {
                    tree.forget_errors(about);
                }
                if let Some(warning) = tree.0.executor.warning(id) {
                    tree.note(node(target), &warning);
                }
            }
            Ok(())
        })
    }

    /// What `work` does, for another task to await. It records the command that is under way, and begins none after it
    /// was cancelled; why it fails is noted in the directory of `node`.
    pub(super) fn pending<W, F>(&self, node: Option<usize>, taken: u32, work: W) -> Pending
    where
        W: FnOnce(Tree, Arc<AtomicBool>, InFlightGuard) -> F + Send + 'static,
        F: Future<Output = Result<(), ControlError>> + Send + 'static,
    {
        let cancelled = Arc::new(AtomicBool::new(false));
        let current = InFlightGuard::default();
        let (tree, stop, under_way) = (self.clone(), cancelled.clone(), current.clone());
        let done = Box::pin(async move {
            let answer = match work(tree.clone(), stop, under_way).await {
                Ok(()) => Ok(taken),
                Err(error) => Err(tree.fail(node, &error)),
            };
            if let Some(kernel) = tree.0.kernel.get() {
                kernel.flushed().await;
            }
            answer
        });
        Pending { cancelled, interrupted: self.interruption(node, current), done }
    }

    fn interruption(&self, node: Option<usize>, current: InFlightGuard) -> Box<dyn FnOnce() -> Errno + Send> {
        let tree = self.clone();
        Box::new(move || {
            let current = *current.lock();
            if let Some(id) = current {
                // This is what its writer got. A command that has ended meanwhile has recorded its end already.
                tree.0.executor.recorder().end(id, ControlError::Interrupted.outcome());
            }
            tree.fail(node, &ControlError::Interrupted)
        })
    }

    /// Answers a line that is not a command, and records it in the history.
    pub(super) fn refuse_line(&self, node: Option<usize>, line: &[u8], error: &ControlError) -> Pending {
        let recorder = self.0.executor.recorder();
        let id =
            recorder.invoke(&text(&line[..line.len().min(LONGEST_REFUSED)]), None, vec![], Default::default(), false);
        recorder.end(id, error.outcome());
        self.refuse(node, error.errno(), &error.to_string())
    }

    /// Answers with an error once the kernel knows that `error` has changed.
    pub(super) fn refuse(&self, node: Option<usize>, errno: Errno, why: &str) -> Pending {
        self.note(node, why);
        let flushed = self.0.kernel.get().map(|kernel| kernel.flushed());
        let done = Box::pin(async move {
            if let Some(flushed) = flushed {
                flushed.await;
            }
            Err(errno)
        });
        // What it answers, it answers at once.
        Pending { cancelled: Arc::default(), interrupted: Box::new(move || errno), done }
    }

    /// Notes in the directory's `error` file why a write failed.
    fn fail(&self, node: Option<usize>, error: &ControlError) -> Errno {
        self.note(node, &error.to_string());
        error.errno()
    }

    /// Empties the `error` files of a command's nodes, and the root's if it was about all of them.
    fn forget_errors(&self, (nodes, is_whole): (Vec<usize>, bool)) {
        let directories = nodes.into_iter().map(Some).chain(is_whole.then_some(None));
        for ino in directories.filter_map(|node| self.0.layout.file(node, Role::Error)) {
            self.set(ino, || Ok(vec![]));
        }
    }

    /// Puts a sentence into the directory's `error` file.
    fn note(&self, node: Option<usize>, why: &str) {
        if let Some(ino) = self.0.layout.file(node, Role::Error) {
            self.set(ino, || Ok(format!("{why}\n").into_bytes()));
        }
    }
}

fn node(target: Target) -> Option<usize> {
    match target {
        Target::Root => None,
        Target::Node(index) => Some(index),
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}
