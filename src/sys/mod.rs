//! The system room: what the kernel offers and the standard library does not, one small function each.
//!
//! The only code of the crate that may contain `unsafe`. It knows nothing of clusters, engines or FUSE, holds no
//! state, and never decides policy.
#![allow(unsafe_code)]

mod close;
mod fsid;
mod limits;
mod mounts;
mod process;
mod readable;
mod setid;
mod signals;

pub use close::{close_in_child_from, close_reporting};
pub use fsid::{FsIdGuard, fs_ids, set_fs_ids};
pub use limits::{most_nofile, nofile_limit, raise_nofile_limit};
pub use mounts::{MountEntry, detach_mount, leads_to, mount_with_id, mounts_at, mounts_of, wait_for_mounts};
pub use process::{boot_id, is_about_to_die, pidfd_open, process_start_time, umask};
pub use readable::readable;
pub use setid::{SetIdGuard, without_setid};
pub use signals::{Received, Signals, signal_at_our_end, wait_for_children};
