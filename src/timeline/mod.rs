//! Draws a history. Its lines become a model of lanes (`build`, `model`), and that becomes SVG, or an HTML page
//! around it (`draw`, `page`).
//!
//! Pure: it touches no file, no clock, no engine. Text of the history never becomes markup: only `xml` writes that.

mod axis;
mod build;
mod draw;
mod faults;
mod incidents;
mod lapses;
mod model;
mod nemesis;
mod operations;
mod page;
mod report;
mod roles;
#[cfg(test)]
mod tests;
mod verdicts;
mod xml;

pub(crate) use build::Now;
pub(crate) use model::Timeline;
pub(crate) use report::{Evidence, Excerpt, Moments, excerpt};

use axis::{count, moment, rough, time};

/// The picture, as an SVG document of its own.
pub(crate) fn svg(timeline: &Timeline) -> String {
    draw::document(timeline)
}

/// The picture in a page that zooms, with a table of events.
pub(crate) fn html(timeline: &Timeline) -> String {
    page::document(timeline)
}

/// A page about the verdict, with the picture in it.
pub(crate) fn report(evidence: &Evidence) -> String {
    report::document(evidence)
}
