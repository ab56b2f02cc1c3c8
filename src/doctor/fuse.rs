//! What mounting needs.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use super::{Finding, Verdict, is_root};
use crate::daemon::{fuse_device, on_path};

/// Linux with FUSE_PASSTHROUGH.
const PASSTHROUGH_SINCE: (u32, u32) = (6, 9);

/// Whether the device is there and may be used.
pub(crate) fn device() -> Finding {
    match fuse_device() {
        Ok(()) => Finding::new("/dev/fuse", Verdict::Ok, "it can be opened"),
        Err(error) => Finding::new("/dev/fuse", Verdict::Problem, error.to_string()),
    }
}

/// The program that mounts for ordinary users.
pub(crate) fn helper() -> Finding {
    let finding = |verdict, text: String| Finding::new("fusermount3", verdict, text);
    let bad = if is_root() { Verdict::Note } else { Verdict::Problem };
    let Some(path) = on_path("fusermount3") else {
        let who = if is_root() { "root mounts without it, an ordinary user" } else { "an ordinary user" };
        return finding(bad, format!("it is missing, with which {who} mounts: sudo apt-get install fuse3"));
    };
    let shown = path.display();
    let output = Command::new(&path).arg("-V").stdin(Stdio::null()).output();
    let version = match output {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(error) => {
            return finding(bad, format!("{shown} cannot be run: {error}; sudo apt-get install --reinstall fuse3"));
        }
    };
    match fs::metadata(&path) {
        Ok(meta) if meta.uid() == 0 && meta.permissions().mode() & 0o4000 != 0 => {
            finding(Verdict::Ok, format!("{version}, {shown}"))
        }
        _ => finding(
            bad,
            format!("{shown} is not setuid root, so ordinary users cannot mount with it: sudo chmod u+s {shown}"),
        ),
    }
}

/// Whether an ordinary user may give others access.
pub(crate) fn others() -> Finding {
    let finding = |verdict, text: &str| Finding::new("--allow-other", verdict, text);
    if is_root() {
        return finding(Verdict::Ok, "root may use it");
    }
    let conf = fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    if conf.lines().any(|line| line.trim() == "user_allow_other") {
        return finding(Verdict::Ok, "user_allow_other is set in /etc/fuse.conf");
    }
    finding(
        Verdict::Note,
        "not for ordinary users here; to allow it: echo user_allow_other | sudo tee -a /etc/fuse.conf",
    )
}

/// Whether the kernel itself reads and writes files in bindmounts.
pub(crate) fn passthrough() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let finding = |verdict, text: String| Finding::new("passthrough", verdict, text);
    let daemon = "the daemon reads and writes files in bindmounts for the kernel, which is right and slower";
    match version(release) {
        None => finding(Verdict::Unknown, format!("the kernel's version {release} cannot be read")),
        Some(version) if version < PASSTHROUGH_SINCE => {
            finding(Verdict::Note, format!("Linux {release} does not have it, 6.9 does: {daemon}"))
        }
        Some(_) if !is_root() => finding(Verdict::Note, format!("only root may use it: {daemon}")),
        // That the kernel was built with it shows when a file is opened; where it was not, the daemon does it.
        Some(_) => {
            finding(Verdict::Ok, format!("Linux {release} can have it: used where the kernel was built with it"))
        }
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_kernels() {
        for (release, wanted) in
            [("6.18.44-x", Some((6, 18))), ("5.10", Some((5, 10))), ("6.9-rc1", Some((6, 9))), ("x", None), ("", None)]
        {
            assert_eq!(version(release), wanted, "{release}");
        }
    }
}
