//! The doctor room: what works on this machine, and what to do about what doesn't; a line each.
//!
//! It asks the kernel, the engine and the file system, and at the end mounts a cluster of one node for a moment. It loads
//! no module and touches no network of the host's; what it has not seen to work it does not call well.

mod engine;
mod fuse;
mod kernel;
mod machine;
mod trial;

use serde::Serialize;

/// What came of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It works, and was seen to.
    Ok,
    /// `cthulhu mount` works without it, and something else doesn't.
    Note,
    /// It could not be seen from here; `cthulhu mount` works without it.
    Unknown,
    /// `cthulhu mount` does not work.
    Problem,
}

impl Verdict {
    /// The word that is printed.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Problem => "problem",
        }
    }
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was checked.
    pub check: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// What was seen, or what to do.
    pub text: String,
}

impl Finding {
    fn new(check: &'static str, verdict: Verdict, text: impl Into<String>) -> Self {
        Self { check, verdict, text: text.into() }
    }
}

/// Makes all checks, and tells of each as soon as it is made. Whether `cthulhu mount` works is what it returns.
pub async fn examine(host: Option<&str>, tell: &mut (dyn FnMut(Finding) + Send)) -> bool {
    let mut well = true;
    let mut told = |finding: Finding| {
        well &= finding.verdict != Verdict::Problem;
        tell(finding);
    };
    told(fuse::device());
    told(fuse::helper());
    told(fuse::others());
    told(fuse::passthrough());
    let engine = match engine::reach(host).await {
        Ok((engine, finding)) => {
            told(finding);
            Some(engine)
        }
        Err(finding) => {
            told(finding);
            None
        }
    };
    told(machine::cgroup());
    told(machine::descriptors());
    told(machine::state());
    if let Some(engine) = &engine {
        for finding in engine::setup(&engine.info().setup) {
            told(finding);
        }
        if let Some(finding) = engine::isolated(engine.as_ref()).await {
            told(finding);
        }
        told(engine::subnets(engine.as_ref()).await);
        for finding in kernel::faults(engine.info().local) {
            told(finding);
        }
        told(engine::leftovers(host).await);
    }
    // What is known to be broken need not be tried.
    if well {
        for finding in trial::mount(host).await {
            well &= finding.verdict != Verdict::Problem;
            tell(finding);
        }
    }
    well
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
