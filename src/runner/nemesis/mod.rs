//! Performs schedules of faults on a mounted cluster, by its files.

mod heal;
mod job;
mod mounted;
mod perform;
mod stop;

pub(crate) use job::{NemesisJob, Prepared, Source};
pub(crate) use mounted::Mounted;
pub(crate) use perform::Performance;
pub(crate) use stop::{Ending, Stop};
