//! Deleting.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, Mode, RenameFlags, chmod, renameat_with, unlinkat};
use rustix::io::Errno;

use super::{Ground, MAX_DEPTH, Swept, enter, look_at, names};

/// Deletes everything in a directory, and not the directory itself. What cannot be deleted is counted, and the rest is
/// deleted anyway.
pub(crate) fn contents(dir: BorrowedFd<'_>) -> Swept {
    let ground = match Ground::of(dir) {
        Ok(ground) => ground,
        Err(error) => return Swept { left: 1, why: Some(words(error)), ..Swept::default() },
    };
    let mut sweep = Sweep { top: dir, ground, lifted: 0, swept: Swept::default() };
    loop {
        let lifted = sweep.lifted;
        // What could not be deleted before is counted again.
        sweep.swept.left = 0;
        sweep.inside(dir, MAX_DEPTH);
        if sweep.lifted == lifted {
            return sweep.swept;
        }
    }
}

fn words(error: Errno) -> String {
    super::io::Error::from(error).to_string().split(" (os error").next().unwrap_or_default().to_owned()
}

struct Sweep<'a> {
    top: BorrowedFd<'a>,
    ground: Ground,
    /// How many directories were moved to the top, as they lay too deep.
    lifted: u64,
    swept: Swept,
}

impl Sweep<'_> {
    fn failed(&mut self, error: Errno) {
        self.swept.left += 1;
        self.swept.why.get_or_insert_with(|| words(error));
    }

    fn inside(&mut self, dir: BorrowedFd<'_>, depth: u32) {
        let names = match names(dir) {
            Ok(names) => names,
            Err(error) => return self.failed(error),
        };
        for name in names {
            match unlinkat(dir, &name, AtFlags::empty()) {
                Ok(()) => self.swept.removed += 1,
                Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => self.directory(dir, &name, depth),
                Err(error) => self.failed(error),
            }
        }
    }

    fn directory(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: u32) {
        let seen = match look_at(parent, name) {
            Ok(seen) => seen,
            Err(Errno::NOENT) => return,
            Err(error) => return self.failed(error),
        };
        match Ground::of(&seen) {
            Ok(ground) if ground == self.ground => {}
            Ok(_) => return self.failed(Errno::XDEV),
            Err(error) => return self.failed(error),
        }
        // Its mode may forbid its owner what its owner may allow himself. By descriptor: a name could lead elsewhere.
        let itself = format!("/proc/self/fd/{}", seen.as_raw_fd());
        let _ = chmod(&itself, Mode::RWXU);
        if depth == 0 {
            return self.lift(parent, name);
        }
        let before = self.swept.left;
        match enter(&seen) {
            Ok(dir) => self.inside(dir.as_fd(), depth - 1),
            // Without looking into it: it may be empty.
            Err(Errno::ACCESS) => {}
            Err(error) => return self.failed(error),
        }
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) => self.swept.removed += 1,
            Err(Errno::NOENT) => {}
            // Reported already with what is left in it.
            Err(Errno::NOTEMPTY | Errno::EXIST) if self.swept.left > before => {}
            // A directory in it was lifted out of another one, or it could not be entered.
            Err(Errno::NOTEMPTY | Errno::EXIST) => self.failed(Errno::ACCESS),
            Err(error) => self.failed(error),
        }
    }

    /// Moves a directory that is nested too deep to the top, where the next round finds it.
    fn lift(&mut self, parent: BorrowedFd<'_>, name: &CStr) {
        loop {
            self.lifted += 1;
            let free = CString::new(format!(".lifted-{}", self.lifted)).unwrap_or_default();
            match renameat_with(parent, name, self.top, &free, RenameFlags::NOREPLACE) {
                Ok(()) => return,
                Err(Errno::EXIST) => {}
                Err(error) => {
                    self.lifted -= 1;
                    return self.failed(error);
                }
            }
        }
    }
}
