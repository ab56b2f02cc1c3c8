//! Makes a container image out of the running program, so that sandboxes and demo nodes need no
//! registry and always are of our own version.
//!
//! A static build packs one file. A dynamic one (`cargo install`, `cargo test`) also packs the loader and the libraries
//! that it runs with, and is started through that loader. It may read our own files and ask the [`Engine`] for an image;
//! it never writes to this machine, and never pulls.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::engine::{Engine, EngineError, Result};
use crate::sync::{spawn_blocking, time};

mod archive;
mod layout;
#[cfg(test)]
mod tests;

pub(crate) use archive::{Part, digest, pack};
pub(crate) use layout::{Layout, PROGRAM};

/// Name of the image; its tag is the hash of what is inside.
pub(crate) const REPOSITORY: &str = "cthulhu-self";

/// Comes before the name of a program within ours that only we start: `daemon`, `sandbox`, `sweep`.
pub(crate) const INTERNAL: &str = "--internal";

/// The running program: the file it was started from, even if that has been replaced or deleted since.
const EXE: &str = "/proc/self/exe";

/// How long another process of ours may take for the same import before we import too.
const IMPORT_WAIT: Duration = Duration::from_secs(10);

/// An image of ourselves that the engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfImage {
    /// Its reference, for example `cthulhu-self:0123456789abcdef`.
    pub reference: String,
    /// The entrypoint; our arguments go after it.
    pub argv: Vec<String>,
}

impl SelfImage {
    /// The entrypoint of a container that runs one of our [`INTERNAL`] programs.
    pub(crate) fn internal(&self, program: &str) -> Vec<String> {
        self.argv.iter().map(String::as_str).chain([INTERNAL, program]).map(str::to_owned).collect()
    }
}

/// The reference that the running program's image has, or would have.
///
/// # Errors
/// From reading our own files.
pub(crate) fn reference() -> io::Result<String> {
    let (_, mut parts) = gather()?;
    Ok(format!("{REPOSITORY}:{}", digest(&mut parts)?))
}

/// Whether a reference is one that a version of the program gives to its image, and that is not chosen elsewhere by
/// chance.
pub(crate) fn is_reference(reference: &str) -> bool {
    let tag = reference.strip_prefix(REPOSITORY).and_then(|rest| rest.strip_prefix(':'));
    tag.is_some_and(|tag| tag.len() == 16 && tag.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

/// Sees to it that the engine has an image of the running program.
///
/// # Errors
/// Those of the engine; [`EngineError::Refused`] when our own files cannot be read.
pub(crate) async fn ensure(engine: &dyn Engine) -> Result<SelfImage> {
    let (mut parts, image) = blocking(|| {
        let (layout, mut parts) = gather()?;
        let reference = format!("{REPOSITORY}:{}", digest(&mut parts)?);
        let argv = layout.argv();
        Ok((parts, SelfImage { reference, argv }))
    })
    .await?;
    if engine.has_image(&image.reference).await? {
        return Ok(image);
    }
    // Two imports of the same files would both succeed, but leave an image without a name behind.
    let _turn = take_turn().await;
    if engine.has_image(&image.reference).await? {
        return Ok(image);
    }
    let archive = blocking(move || pack(&mut parts)).await?;
    match engine.import(&image.reference, archive).await {
        Ok(()) => Ok(image),
        // Another import may have come first after all.
        Err(error) => match engine.has_image(&image.reference).await {
            Ok(true) => Ok(image),
            _ => Err(error),
        },
    }
}

/// Runs file work off the runtime's own threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let refused = |why: String| EngineError::Refused(format!("cannot pack our own program: {why}"));
    match spawn_blocking(work).await {
        Ok(done) => done.map_err(|e| refused(e.to_string())),
        Err(panic) => Err(refused(panic.to_string())),
    }
}

/// Opens everything that goes into the image. The files stay open, so what is packed later is what was hashed.
fn gather() -> io::Result<(Layout, Vec<Part<File>>)> {
    let maps = String::from_utf8_lossy(&fs::read("/proc/self/maps")?).into_owned();
    let exe = fs::read_link(EXE)?;
    let is_file = |path: &str| Path::new(path).is_file();
    let layout = Layout::new(&maps, &exe.to_string_lossy(), is_file)
        .map_err(|why| io::Error::new(io::ErrorKind::NotFound, why))?;
    let mut parts = vec![Part::file(PROGRAM, File::open(EXE)?)];
    for path in layout.loader.iter().chain(&layout.libraries) {
        let name_it = |e: io::Error| io::Error::new(e.kind(), format!("{path}: {e}"));
        parts.push(Part::file(path, File::open(path).map_err(name_it)?));
        parts.extend(links_to(path).map_err(name_it)?);
    }
    Ok((layout, parts))
}

/// Symbolic links to a library from its own directory. Programs ask for a library by such a name where the file itself
/// carries its full version.
fn links_to(library: &str) -> io::Result<Vec<Part<File>>> {
    let path = Path::new(library);
    let (Some(directory), Some(file)) = (path.parent(), path.file_name()) else {
        return Ok(Vec::new());
    };
    let mut links = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_symlink() && fs::read_link(entry.path())? == Path::new(file) {
            links.push(Part::link(&entry.path().to_string_lossy(), &file.to_string_lossy()));
        }
    }
    links.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(links)
}

/// Waits until no other process imports the same program. Continues anyway after a while, or if locks don't work.
async fn take_turn() -> Option<File> {
    let file = File::open(EXE).ok()?;
    let step = Duration::from_millis(50);
    for _ in 0..IMPORT_WAIT.as_millis() / step.as_millis() {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(file),
            Err(rustix::io::Errno::WOULDBLOCK) => time::sleep(step).await,
            Err(_) => return None,
        }
    }
    None
}
