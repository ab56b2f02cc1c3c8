//! Extended attributes, of symlinks too: the path leads to the pinned file itself.

use std::ffi::OsStr;

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::resolve::proc_path;
use super::{Passthrough, Result};

/// The kernel's own limit of a value and of a list, in bytes.
const LARGEST: usize = 64 << 10;

/// An answer to a question with a size: 0 asks how much room is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum XattrReply {
    /// That many bytes are needed.
    Size(u32),
    /// The value, or the names with a NUL after each.
    Data(Vec<u8>),
}

impl Passthrough {
    /// The value of the attribute `name`, if it fits into `size` bytes.
    ///
    /// # Errors
    /// `ENODATA` when there is none, `ERANGE` when it doesn't fit, `EOPNOTSUPP` where there are no attributes.
    pub(crate) fn getxattr(&self, ino: u64, name: &OsStr, size: u32) -> Result<XattrReply> {
        let path = self.xattr_path(ino)?;
        if size == 0 {
            return Ok(needed(rustix::fs::getxattr_query(path.as_str(), name)?));
        }
        let mut value = vec![0; LARGEST.min(size as usize)];
        let length = rustix::fs::getxattr(path.as_str(), name, &mut value[..])?;
        value.truncate(length);
        Ok(XattrReply::Data(value))
    }

    /// The names of all attributes, a NUL after each, if they fit into `size` bytes; those of the class `trusted`
    /// for a `privileged` caller only.
    ///
    /// # Errors
    /// `ERANGE` when they don't fit, `EOPNOTSUPP` where there are no attributes.
    pub(crate) fn listxattr(&self, ino: u64, size: u32, privileged: bool) -> Result<XattrReply> {
        let path = self.xattr_path(ino)?;
        if !privileged {
            let mut names = vec![0; LARGEST];
            let length = rustix::fs::listxattr(path.as_str(), &mut names[..])?;
            names.truncate(length);
            let mut shown = Vec::with_capacity(names.len());
            for name in names.split_inclusive(|&byte| byte == 0).filter(|name| !name.starts_with(b"trusted.")) {
                shown.extend_from_slice(name);
            }
            return match size as usize {
                0 => Ok(needed(shown.len())),
                room if room < shown.len() => Err(Errno::RANGE),
                _ => Ok(XattrReply::Data(shown)),
            };
        }
        if size == 0 {
            return Ok(needed(rustix::fs::listxattr_query(path.as_str())?));
        }
        let mut names = vec![0; LARGEST.min(size as usize)];
        let length = rustix::fs::listxattr(path.as_str(), &mut names[..])?;
        names.truncate(length);
        Ok(XattrReply::Data(names))
    }

    /// Sets the attribute `name`; `flags` are `XATTR_CREATE` or `XATTR_REPLACE`.
    ///
    /// # Errors
    /// `EEXIST` or `ENODATA` as the flags demand, `EINVAL` for unknown flags, `EOPNOTSUPP` where there are no
    /// attributes.
    pub(crate) fn setxattr(&self, ino: u64, name: &OsStr, value: &[u8], flags: i32) -> Result<()> {
        if flags & !(libc::XATTR_CREATE | libc::XATTR_REPLACE) != 0 {
            return Err(Errno::INVAL);
        }
        let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
        rustix::fs::setxattr(self.xattr_path(ino)?.as_str(), name, value, flags)
    }

    /// Removes the attribute `name`.
    ///
    /// # Errors
    /// `ENODATA` when there is none, `EOPNOTSUPP` where there are no attributes.
    pub(crate) fn removexattr(&self, ino: u64, name: &OsStr) -> Result<()> {
        rustix::fs::removexattr(self.xattr_path(ino)?.as_str(), name)
    }

    fn xattr_path(&self, ino: u64) -> Result<String> {
        Ok(proc_path(&self.inodes.get(ino)?.fd))
    }
}

fn needed(size: usize) -> XattrReply {
    XattrReply::Size(u32::try_from(size).unwrap_or(u32::MAX))
}
