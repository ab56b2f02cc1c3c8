//! Writes to control files: bytes become lines, lines become commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rustix::io::Errno;
use tracing::info;

use super::layout::{File, Kind};
use super::{Fh, Tree};
use crate::control::{Command, ControlError, Setting, Target, parse};
use crate::history::{CommandId, LONGEST_LINE};

/// How much of a line that is no command is kept in the history, in bytes.
const LONGEST_REFUSED: usize = 1024;

/// What became of a write or a flush.
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
pub(super) type UnderWay = Arc<Mutex<Option<CommandId>>>;

/// A command, and the line that it was.
type Line = (String, Command);

/// What a file does with what is written to it.
enum Sink {
    Commands(Target),
    History,
    Setting(Setting),
}

/// Where a write goes in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Bytes from the beginning.
    pub offset: u64,
    /// The file is open with O_APPEND.
    pub appends: bool,
}

/// Takes bytes into a buffer, and the whole lines out of it; the rest stays.
///
/// # Errors
/// A sentence about a line of more than `longest` bytes; nothing stays then.
pub(super) fn whole_lines(buffer: &mut Vec<u8>, data: &[u8], longest: usize) -> Result<Vec<u8>, String> {
    buffer.extend_from_slice(data);
    let end = buffer.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let rest = buffer.split_off(end);
    let lines = std::mem::replace(buffer, rest);
    let too_long = |line: &[u8]| line.len() > longest;
    if too_long(buffer) || lines.split(|&byte| byte == b'\n').any(too_long) {
        buffer.clear();
        return Err(format!("a line is longer than {longest} bytes"));
    }
    Ok(lines)
}

impl Tree {
    /// Writes to a file: commands to a control file, lines to the history, a new state to a setting. What is no whole line
    /// yet waits for its newline or for [`Tree::flush`].
    pub fn write(&self, fh: Fh, at: Position, data: &[u8]) -> Written {
        let target = match self.sink(fh) {
            Ok(Sink::Commands(target)) => target,
            Ok(Sink::History) => return self.append(fh, data),
            Ok(Sink::Setting(setting)) => return self.write_setting(fh, setting, at, data),
            Err(errno) => return Written::Now(Err(errno)),
        };
        let taken = u32::try_from(data.len()).unwrap_or(u32::MAX);
        match self.take_lines(fh, data) {
            Ok(commands) if commands.is_empty() => Written::Now(Ok(taken)),
            Ok(commands) => Written::Later(self.run(target, commands, taken)),
            Err((line, error)) => Written::Later(self.refuse_line(node(target), &line, &error)),
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
        let Ok(line) = files.line(fh) else {
            return Written::Now(Ok(0));
        };
        match parse(line) {
            Ok(command) => {
                let line = std::mem::take(line);
                drop(files);
                match command {
                    Some(command) => Written::Later(self.run(target, vec![(text(&line), command)], 0)),
                    None => Written::Now(Ok(0)),
                }
            }
            Err(error) => {
                // The line stays: one of several processes that write it in turn may have closed its copy.
                let line = line.clone();
                drop(files);
                Written::Later(self.refuse_line(node(target), &line, &error))
            }
        }
    }

    fn sink(&self, fh: Fh) -> Result<Sink, Errno> {
        let ino = self.0.files.lock().ino(fh)?;
        match &self.entry(ino)?.kind {
            Kind::File(File::Control, None) => Ok(Sink::Commands(Target::Root)),
            Kind::File(File::Control, Some(index)) => Ok(Sink::Commands(Target::Node(*index))),
            Kind::File(File::History, _) => Ok(Sink::History),
            Kind::File(File::Partition, _) => Ok(Sink::Setting(Setting::Partition)),
            Kind::File(File::Links, _) => Ok(Sink::Setting(Setting::Links)),
            Kind::File(File::Net, Some(index)) => Ok(Sink::Setting(Setting::Net(*index))),
            Kind::File(..) | Kind::Directory(_) | Kind::Link(_) => Err(Errno::BADF),
        }
    }

    /// The commands of the lines that `data` ends. A line that is none spoils the whole write: nothing of it is run.
    fn take_lines(&self, fh: Fh, data: &[u8]) -> Result<Vec<Line>, (Vec<u8>, ControlError)> {
        let mut files = self.0.files.lock();
        let invalid = |why: String| (data.to_vec(), ControlError::Invalid(why));
        let buffer = files.line(fh).map_err(|_| invalid("the file is not open".into()))?;
        let lines = whole_lines(buffer, data, LONGEST_LINE).map_err(invalid)?;
        let mut commands = vec![];
        for line in lines.split(|&byte| byte == b'\n') {
            match parse(line) {
                Ok(command) => commands.extend(command.map(|command| (text(line), command))),
                Err(error) => {
                    buffer.clear();
                    return Err((line.to_vec(), error));
                }
            }
        }
        Ok(commands)
    }

    fn run(&self, target: Target, commands: Vec<Line>, taken: u32) -> Pending {
        self.pending(node(target), taken, async move |tree, stop, under_way| {
            for (line, command) in commands {
                if stop.load(Ordering::Acquire) {
                    return Err(ControlError::Interrupted);
                }
                let (verb, nodes) = (command.verb.name(), command.nodes.clone());
                let invoked = tree.0.executor.invoke(target, &line, command);
                *under_way.lock() = Some(invoked.id());
                let result = tree.0.executor.execute(invoked).await;
                info!(?target, verb, ?nodes, ok = result.is_ok(), "command");
                result?;
            }
            Ok(())
        })
    }

    /// What `work` does, to be awaited by somebody else. It notes the command that is under way, and begins none when it is
    /// told to stop; why it fails is noted in the directory of `node`.
    pub(super) fn pending<W, F>(&self, node: Option<usize>, taken: u32, work: W) -> Pending
    where
        W: FnOnce(Tree, Arc<AtomicBool>, UnderWay) -> F + Send + 'static,
        F: Future<Output = Result<(), ControlError>> + Send + 'static,
    {
        let cancelled = Arc::new(AtomicBool::new(false));
        let current = UnderWay::default();
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

    fn interruption(&self, node: Option<usize>, current: UnderWay) -> Box<dyn FnOnce() -> Errno + Send> {
        let tree = self.clone();
        Box::new(move || {
            let current = *current.lock();
            if let Some(id) = current {
                // It is what its writer was told; one that has ended meanwhile has told its end already.
                tree.0.executor.recorder().end(id, ControlError::Interrupted.outcome());
            }
            tree.fail(node, &ControlError::Interrupted)
        })
    }

    /// Answers a line that is no command, and tells the history of it.
    pub(super) fn refuse_line(&self, node: Option<usize>, line: &[u8], error: &ControlError) -> Pending {
        let recorder = self.0.executor.recorder();
        let id = recorder.invoke(&text(&line[..line.len().min(LONGEST_REFUSED)]), None, vec![]);
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

    fn note(&self, node: Option<usize>, why: &str) {
        for (ino, entry) in self.0.layout.iter() {
            if entry.kind == Kind::File(File::Error, node) {
                self.set(ino, |_| Ok(format!("{why}\n").into_bytes()));
            }
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
