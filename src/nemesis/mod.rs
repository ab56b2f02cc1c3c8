//! Schedules of faults: their text, how they are drawn from a seed, taken from a history, and made smaller.
//!
//! Pure: it neither performs a schedule (`runner` does, through the files of a mount) nor reads a clock.

mod action;
mod draw;
mod fit;
mod replay;
mod schedule;
mod shrink;
#[cfg(test)]
mod tests;

pub(crate) use action::{Action, File};
pub(crate) use draw::{DrawOptions, Kind, draw, kinds};
pub(crate) use fit::{Surroundings, impossible};
pub(crate) use replay::replay;
pub(crate) use schedule::{Claim, MOST, Schedule, seconds};
pub(crate) use shrink::{Outcome, Shrinking, Shrunk, shrink};
