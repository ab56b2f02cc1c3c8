//! Writes to control files: bytes become lines, lines become commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use rustix::io::Errno;
use tracing::info;

use super::layout::{File, Kind};
use super::{Fh, Tree};
use crate::control::{Command, ControlError, Target, parse};

/// Longest line that can be a command, in bytes: room for a thousand node names.
const LONGEST_LINE: usize = 64 * 1024;

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
    /// Notes in `error` that the caller did not wait for the end.
    pub interrupted: Box<dyn FnOnce() -> Errno + Send>,
    /// Resolves to the write's answer, when what it changed can be read.
    pub done: BoxFuture<'static, Result<u32, Errno>>,
}

impl Tree {
    /// Writes to a control file. Whole lines are commands; the rest waits for its newline or for [`Tree::flush`].
    pub fn write(&self, fh: Fh, data: &[u8]) -> Written {
        let target = match self.target(fh) {
            Ok(target) => target,
            Err(errno) => return Written::Now(Err(errno)),
        };
        let taken = u32::try_from(data.len()).unwrap_or(u32::MAX);
        match self.take_lines(fh, data) {
            Ok(commands) if commands.is_empty() => Written::Now(Ok(taken)),
            Ok(commands) => Written::Later(self.run(target, commands, taken)),
            Err(error) => Written::Later(self.refuse(target, &error)),
        }
    }

    /// Takes a last line without a newline as a command. Called when a descriptor is closed.
    pub fn flush(&self, fh: Fh) -> Written {
        let Ok(target) = self.target(fh) else {
            return Written::Now(Ok(0));
        };
        let mut files = self.0.files.lock();
        let Ok(line) = files.line(fh) else {
            return Written::Now(Ok(0));
        };
        match parse(line) {
            Ok(command) => {
                line.clear();
                drop(files);
                match command {
                    Some(command) => Written::Later(self.run(target, vec![command], 0)),
                    None => Written::Now(Ok(0)),
                }
            }
            Err(error) => {
                // The line stays: one of several processes that write it in turn may have closed its copy.
                drop(files);
                Written::Later(self.refuse(target, &error))
            }
        }
    }

    fn target(&self, fh: Fh) -> Result<Target, Errno> {
        let ino = self.0.files.lock().ino(fh)?;
        match &self.entry(ino)?.kind {
            Kind::File(File::Control, None) => Ok(Target::Root),
            Kind::File(File::Control, Some(index)) => Ok(Target::Node(*index)),
            Kind::File(..) | Kind::Directory(_) | Kind::Link(_) => Err(Errno::BADF),
        }
    }

    /// The commands of the lines that `data` ends. A line that is none spoils the whole write: nothing of it is run.
    fn take_lines(&self, fh: Fh, data: &[u8]) -> Result<Vec<Command>, ControlError> {
        let mut files = self.0.files.lock();
        let gone = |_| ControlError::Invalid("the file is not open".into());
        let buffer = files.line(fh).map_err(gone)?;
        buffer.extend_from_slice(data);
        let end = buffer.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let rest = buffer.split_off(end);
        let lines = std::mem::replace(buffer, rest);
        let too_long = |line: &[u8]| line.len() > LONGEST_LINE;
        if too_long(buffer) || lines.split(|&byte| byte == b'\n').any(too_long) {
            buffer.clear();
            return Err(ControlError::Invalid(format!("a line is longer than {LONGEST_LINE} bytes")));
        }
        let parsed: Result<Vec<_>, _> = lines.split(|&byte| byte == b'\n').map(parse).collect();
        if parsed.is_err() {
            buffer.clear();
        }
        Ok(parsed?.into_iter().flatten().collect())
    }

    fn run(&self, target: Target, commands: Vec<Command>, taken: u32) -> Pending {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (tree, stop) = (self.clone(), cancelled.clone());
        let done = Box::pin(async move {
            let mut answer = Ok(taken);
            for command in &commands {
                if stop.load(Ordering::Acquire) {
                    answer = Err(tree.fail(target, &ControlError::Interrupted));
                    break;
                }
                let result = tree.0.executor.execute(target, command).await;
                info!(?target, verb = command.verb.name(), nodes = ?command.nodes, ok = result.is_ok(), "command");
                if let Err(error) = result {
                    answer = Err(tree.fail(target, &error));
                    break;
                }
            }
            if let Some(kernel) = tree.0.kernel.get() {
                kernel.flushed().await;
            }
            answer
        });
        Pending { cancelled, interrupted: self.interruption(target), done }
    }

    fn interruption(&self, target: Target) -> Box<dyn FnOnce() -> Errno + Send> {
        let tree = self.clone();
        Box::new(move || tree.fail(target, &ControlError::Interrupted))
    }

    /// Answers with an error once the kernel knows that `error` has changed.
    fn refuse(&self, target: Target, error: &ControlError) -> Pending {
        let errno = self.fail(target, error);
        let flushed = self.0.kernel.get().map(|kernel| kernel.flushed());
        let done = Box::pin(async move {
            if let Some(flushed) = flushed {
                flushed.await;
            }
            Err(errno)
        });
        Pending { cancelled: Arc::default(), interrupted: self.interruption(target), done }
    }

    /// Notes in the directory's `error` file why a write failed.
    pub(super) fn fail(&self, target: Target, error: &ControlError) -> Errno {
        let node = match target {
            Target::Root => None,
            Target::Node(index) => Some(index),
        };
        for (ino, entry) in self.0.layout.iter() {
            if entry.kind == Kind::File(File::Error, node) {
                self.set(ino, |_| Ok(format!("{error}\n").into_bytes()));
            }
        }
        error.errno()
    }
}
