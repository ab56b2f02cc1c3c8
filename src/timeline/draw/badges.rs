//! The numbers of incidents and anomalies.

use super::canvas::{Canvas, Px};
use crate::timeline::model::{Incident, Weight};

/// The number of an incident, around a place.
pub(crate) fn incident(canvas: &mut Canvas, (x, y): (f64, f64), nth: usize, incident: &Incident) {
    let class = if incident.weight >= Weight::Failure { "badge-alarm" } else { "badge" };
    canvas.xml.empty("circle", &[("class", &class), ("cx", &Px(x)), ("cy", &Px(y)), ("r", &7.5)]);
    number(canvas, (x, y), nth);
}

/// The number of an anomaly: square, as those of incidents are round.
pub(crate) fn anomaly(canvas: &mut Canvas, (x, y): (f64, f64), nth: usize) {
    canvas.rect("badge-alarm", (x - 7.0, 14.0), (y - 7.0, 14.0), "");
    number(canvas, (x, y), nth);
}

fn number(canvas: &mut Canvas, (x, y): (f64, f64), nth: usize) {
    let class = if nth > 9 { "number two" } else { "number" };
    canvas.text(class, (x, y + 3.5), &nth.to_string());
}
