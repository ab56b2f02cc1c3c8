//! Writes to `partition`, `links` and `net`: each is a new state, in force when the write returns.

use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::write::{Position, Written};
use super::{Fh, Tree};
use crate::control::{ControlError, Setting, Writing};

/// In bytes. What is read can be written: a `ring` of 1,000 nodes spelled out is 1.25 MB.
const LONGEST: usize = 2 << 20;

impl Tree {
    /// Takes bytes, and applies what their complete lines say, all at once. From the beginning of the file they are the
    /// whole new state; further on, or with O_APPEND, they add to a table.
    pub(super) fn write_setting(&self, fh: Fh, setting: Setting, at: Position, data: &[u8]) -> Written {
        let taken = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let lines = {
            let mut files = self.0.files.lock();
            if at.offset == 0 && !at.appends {
                files.begin_anew(fh);
            }
            files.gather(fh, data, LONGEST).map(|gathered| gathered.lines)
        };
        match lines {
            Ok(lines) if lines.is_empty() => Written::Now(Ok(taken)),
            Ok(lines) => self.set_from(fh, setting, lines, taken),
            Err((Errno::INVAL, too_long)) => {
                let error = ControlError::Invalid(format!("{}: {too_long}", setting.name()));
                Written::Later(self.refuse_line(setting.node(), data, &error))
            }
            Err((errno, why)) => {
                Written::Later(self.refuse(setting.node(), errno, &format!("{}: {why}", setting.name())))
            }
        }
    }

    /// Takes a last line without a newline as a line. Called when a descriptor is closed.
    pub(super) fn flush_setting(&self, fh: Fh, setting: Setting) -> Written {
        let rest = self.0.files.lock().unfinished(fh).map(|unfinished| unfinished.take(fh));
        match rest {
            Ok(line) if !line.is_empty() => self.set_from(fh, setting, line, 0),
            Ok(_) | Err(_) => Written::Now(Ok(0)),
        }
    }

    fn set_from(&self, fh: Fh, setting: Setting, lines: Vec<u8>, taken: u32) -> Written {
        let Ok(lines) = String::from_utf8(lines) else {
            let error = ControlError::Invalid(format!("{}: what was written is not UTF-8 text", setting.name()));
            return Written::Later(self.refuse_line(setting.node(), b"", &error));
        };
        let is_anew = self.0.files.lock().is_anew(fh);
        let writing = if is_anew { Writing::Whole } else { Writing::More };
        // By itself a blank line clears. Behind others it says nothing, however a program splits what it writes.
        if writing == Writing::More && lines.trim().is_empty() {
            return Written::Now(Ok(taken));
        }
        Written::Later(self.pending(setting.node(), taken, async move |tree, stop, under_way| {
            let executor = &tree.0.executor;
            // A node's `net` names no nodes.
            let roles = executor.ask_roles(if setting.node().is_none() { &lines } else { "" }).await;
            if stop.load(Ordering::Acquire) {
                return Err(ControlError::Interrupted);
            }
            let id = executor.invoke_setting(setting, writing, &lines, &roles);
            *under_way.lock() = Some(id);
            let result = executor.set(id, setting, writing, &lines, roles).await;
            tracing::info!(?setting, ok = result.is_ok(), "faults");
            if result.is_ok() {
                tree.0.files.lock().goes_on(fh);
            }
            result
        }))
    }
}
