//! The timeline room: a history in, a picture of it out. Lines to a model of lanes (`read`, `model`), the model to SVG or
//! an HTML page around it (`draw`, `page`).
//!
//! Pure: it touches no file, no clock, no engine. Text of the history never becomes markup: `xml` alone writes it.

mod axis;
mod draw;
mod faults;
mod incidents;
mod model;
mod operations;
mod page;
mod read;
#[cfg(test)]
mod tests;
mod xml;

pub use model::Timeline;
pub use read::{History, ReadError};

use axis::{count, moment, rough, time};

/// The picture, as an SVG document of its own.
pub fn svg(timeline: &Timeline) -> String {
    draw::document(timeline)
}

/// The picture in a page that zooms, with a table of events.
pub fn html(timeline: &Timeline) -> String {
    page::document(timeline)
}
