//! Checks what works on this machine, and says what to do about the rest; a line each.
//!
//! It asks the kernel, the engine and the file system, and at the end mounts a cluster of one node for a moment. It
//! loads no module and touches no network of the host's; it reports as working only what it has seen to work.

mod engine;
mod fuse;
mod kernel;
mod machine;
mod trial;

use serde::Serialize;

use crate::engine::Engine;
use crate::fleet::HostAddress;

/// The result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
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
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Problem => "problem",
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) verdict: Verdict,
    /// What was seen, or what to do.
    pub(crate) text: String,
}

impl Finding {
    fn new(check: &'static str, verdict: Verdict, text: impl Into<String>) -> Self {
        Self { check, verdict, text: text.into() }
    }

    /// Says which engine it is about, if there are several.
    fn of(self, engine: &dyn Engine, is_one_of_several: bool) -> Self {
        let text = match is_one_of_several {
            true => format!("{}: {}", engine.info().address, self.text),
            false => self.text,
        };
        Self { text, ..self }
    }
}

/// Makes all checks, and reports each as soon as it is made. Returns whether `cthulhu mount` works.
pub(crate) async fn examine(hosts: &[HostAddress], tell: &mut (dyn FnMut(Finding) + Send)) -> bool {
    let mut well = true;
    let mut told = |finding: Finding| {
        well &= finding.verdict != Verdict::Problem;
        tell(finding);
    };
    told(fuse::device());
    told(fuse::helper());
    told(fuse::others());
    told(fuse::passthrough());
    let usual = [HostAddress { name: None, address: String::new() }];
    let mut engines = vec![];
    for host in if hosts.is_empty() { &usual } else { hosts } {
        match engine::reach(Some(host.address.as_str()).filter(|address| !address.is_empty())).await {
            Ok((engine, finding)) => {
                told(finding);
                if hosts.len() > 1 {
                    told(engine::clock(engine.as_ref()).await);
                }
                engines.push(engine);
            }
            Err(finding) => told(finding),
        }
    }
    told(machine::cgroup());
    told(machine::descriptors());
    told(machine::state());
    for engine in &engines {
        let of = |finding: Finding| finding.of(engine.as_ref(), hosts.len() > 1);
        for finding in engine::setup(&engine.info().setup) {
            told(of(finding));
        }
        if let Some(finding) = engine::isolated(engine.as_ref()).await {
            told(of(finding));
        }
        told(of(engine::subnets(engine.as_ref()).await));
        for finding in kernel::faults(engine.info().local) {
            told(of(finding));
        }
    }
    if !engines.is_empty() {
        told(engine::leftovers(hosts).await);
    }
    // What is known to be broken need not be tried.
    if well {
        for finding in trial::mount(hosts).await {
            well &= finding.verdict != Verdict::Problem;
            tell(finding);
        }
    }
    well
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
