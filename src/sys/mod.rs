//! What the kernel offers and the standard library does not, one small function each.
//!
//! The only code of the crate that may contain `unsafe`. It knows nothing of clusters, engines or FUSE, holds no
//! state, and never decides policy.
#![allow(unsafe_code)]

mod ask;
mod close;
mod fsid;
mod limits;
mod mounts;
mod process;
mod readable;
mod setid;
mod signals;

pub(crate) use ask::{Asked, ask};
pub(crate) use close::{close_in_child_from, close_reporting};
#[cfg(test)]
pub(crate) use fsid::fs_ids;
pub(crate) use fsid::{FsIdGuard, act_as_user, set_fs_ids};
pub(crate) use limits::{map_large_blocks, most_nofile, nofile_limit, raise_nofile_limit, resident_bytes};
pub use mounts::detach_mount;
pub(crate) use mounts::{MountEntry, leads_to, mount_with_id, mounts_at, mounts_of, wait_for_mounts};
pub(crate) use process::{boot_id, is_about_to_die, is_stopped, pidfd_open, process_start_time, umask};
pub(crate) use readable::readable;
pub(crate) use setid::{SetIdGuard, without_setid};
pub(crate) use signals::{Received, Signals, signal_at_our_end, wait_for_children};
