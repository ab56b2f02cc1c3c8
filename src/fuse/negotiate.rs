//! What a mount asks of the kernel when it begins.

use fuser::{InitFlags, KernelConfig};

/// Largest write in one request, in bytes.
const MAX_WRITE: u32 = 1 << 20;

/// What the kernel can do for files of bindmounts.
pub(super) struct Abilities {
    /// They can be read past the page cache and still be mapped (Linux 6.6).
    pub(super) direct: bool,
    /// It reads and writes them by itself, if we may register them (Linux 6.9, as root).
    pub(super) passthrough: bool,
}

/// Asks for all that the adapter relies on or profits from. `allow_other`: other users than ours can use the mount.
pub(super) fn negotiate(config: &mut KernelConfig, allow_other: bool) -> Abilities {
    for wanted in [InitFlags::FUSE_PARALLEL_DIROPS, InitFlags::FUSE_AUTO_INVAL_DATA, InitFlags::FUSE_CACHE_SYMLINKS] {
        let _ = config.add_capabilities(wanted);
    }
    // Without it, the kernel asks for an extended attribute before every single write.
    let _ = config.add_capabilities(InitFlags::FUSE_HANDLE_KILLPRIV_V2);
    // A default ACL takes the umask's place, so the umask is ours to apply.
    let _ = config.add_capabilities(InitFlags::FUSE_DONT_MASK);
    // ACLs are kept by the backing file system. This has the kernel judge by them, and by all other permissions.
    if allow_other {
        let _ = config.add_capabilities(InitFlags::FUSE_POSIX_ACL);
    }
    let direct = config.add_capabilities(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP).is_ok();
    let passthrough = config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok();
    // 2: the backing file may itself lie on an overlay, as in a container.
    let passthrough = passthrough && config.set_max_stack_depth(2).is_ok();
    let _ = config.set_max_write(MAX_WRITE);
    Abilities { direct, passthrough }
}
