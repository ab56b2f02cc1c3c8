//! A child that does not outlive us.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has a program get SIGTERM when the thread that started it ends, for whatever reason.
pub(crate) fn end_with_us(command: &mut Command) {
    let parent = std::process::id();
    let ask = move || {
        // SAFETY: a setting of the calling process.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // The parent may have ended before it was asked for.
        // SAFETY: no memory is touched.
        match u32::try_from(unsafe { libc::getppid() }) == Ok(parent) {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    };
    // SAFETY: between fork and exec it makes two system calls, which neither allocate nor take a lock.
    unsafe { command.pre_exec(ask) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_child_ends_with_the_thread_that_started_it() {
        let start = || {
            let mut command = Command::new("sleep");
            end_with_us(command.arg("1000"));
            command.spawn().unwrap()
        };
        let mut child = std::thread::spawn(start).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
    }
}
