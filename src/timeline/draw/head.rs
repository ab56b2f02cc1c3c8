//! Above the chart: title, incidents, legend.

use super::canvas::{Canvas, LEFT, LINE, Px, WIDTH, fitting};
use super::{badges, verdicts};
use crate::cluster::State;
use crate::timeline::model::{End, Timeline, Weight};
use crate::timeline::operations::OperationOutcome;
use crate::timeline::{count, moment, rough};

/// The y of the first incident.
const LIST: f64 = 72.0;

pub(crate) fn title(timeline: &Timeline) -> String {
    let image = if timeline.image.is_empty() { "a cluster" } else { &timeline.image };
    let nodes = timeline.nodes.len();
    let nodes = if nodes == 1 { "1 node".into() } else { format!("{nodes} nodes") };
    format!("{nodes} of {image}")
}

pub(crate) fn subtitle(timeline: &Timeline) -> String {
    let mut parts = vec![];
    if !timeline.id.is_empty() {
        parts.push(format!("cluster {}", timeline.id));
    }
    if timeline.mount.1 > 1 {
        parts.push(format!("mount {} of {}", timeline.mount.0, timeline.mount.1));
    }
    if !timeline.start.is_empty() {
        parts.push(format!("from {}", wall(&timeline.start)));
    }
    let end = match timeline.end {
        End::Unmounted => "",
        End::Unrecorded => " (no end recorded)",
        End::Now => " so far",
    };
    parts.push(format!("{}{end}", rough(timeline.duration)));
    parts.push(match timeline.commands.len() {
        1 => "1 command".into(),
        many => format!("{} commands", count(many)),
    });
    match timeline.operations() {
        0 => {}
        1 => parts.push("1 operation of the test".into()),
        many => parts.push(format!("{} operations of the test", count(many))),
    }
    parts.extend(
        timeline
            .nemesis
            .as_ref()
            .filter(|nemesis| !nemesis.head.is_empty())
            .map(|nemesis| format!("nemesis: {}", nemesis.head)),
    );
    parts.join(" · ")
}

/// `2026-11-25T07:00:31.123456789Z` as people write it.
fn wall(time: &str) -> String {
    match (time.get(..10), time.get(10..11), time.get(11..23), time.ends_with('Z')) {
        (Some(day), Some("T"), Some(clock), true) => format!("{day} {clock} UTC"),
        _ => time.to_owned(),
    }
}

/// The height of the legend alone.
pub(crate) const LEGEND: f64 = 30.0;

/// The height of all of it.
pub(crate) fn height(timeline: &Timeline) -> f64 {
    verdicts::height(timeline) + LIST + LINE * (list_lines(timeline) as f64 - 1.0) + 44.0
}

fn list_lines(timeline: &Timeline) -> usize {
    timeline.incidents.len().max(1) + usize::from(timeline.more_incidents > 0) + timeline.notes.len()
}

/// Draws title, incidents and legend.
pub(crate) fn draw(canvas: &mut Canvas, timeline: &Timeline) {
    let room = WIDTH - 2.0 * LEFT;
    canvas.text("title", (LEFT, 27.0), &fitting(&title(timeline), room * 0.6).unwrap_or_default());
    canvas.text("muted", (LEFT, 46.0), &fitting(&subtitle(timeline), room).unwrap_or_default());
    let mut y = verdicts::draw(canvas, timeline, LIST);
    for (number, incident) in timeline.incidents() {
        canvas.group(&[("class", &"happened")], |canvas| {
            badges::incident(canvas, (LEFT + 8.0, y - 4.0), number, incident);
            let at = moment(incident.at, timeline.duration);
            canvas.text("muted end", (LEFT + 96.0, y), &at);
            let class = if incident.weight >= Weight::Failure { "alarm" } else { "plain" };
            canvas.text(class, (LEFT + 106.0, y), &fitting(&incident.text, (room - 110.0) / 1.1).unwrap_or_default());
        });
        y += LINE;
    }
    if timeline.incidents.is_empty() {
        canvas.text("strong", (LEFT, y), "No node went down, no command failed.");
        y += LINE;
    }
    if timeline.more_incidents > 0 {
        canvas.text("muted", (LEFT + 106.0, y), &format!("and {} more of less weight", count(timeline.more_incidents)));
        y += LINE;
    }
    for note in &timeline.notes {
        canvas.text("muted", (LEFT, y), note);
        y += LINE;
    }
    legend(canvas, timeline, y + 8.0);
}

/// The legend, only with signs that occur.
pub(crate) fn legend(canvas: &mut Canvas, timeline: &Timeline, y: f64) {
    let long = timeline.nodes.iter().flat_map(|node| &node.stays).filter(|stay| stay.to > stay.from);
    let state = |state| long.clone().any(|stay| stay.state == state);
    let nodes = &timeline.nodes;
    let operations = timeline.operations() > 0;
    let outcome = |outcome| timeline.lanes.iter().any(|lane| lane.operations.iter().any(|one| one.outcome == outcome));
    let commands = !timeline.commands.is_empty();
    let entries = [
        ("created", "created", state(State::Created)),
        ("running", "running", true),
        ("paused", "paused", state(State::Paused)),
        ("exited", "exited", true),
        ("missing", "container missing", state(State::Missing)),
        ("ready", "ready", nodes.iter().any(|node| !node.ready.is_empty())),
        ("unhealthy", "unhealthy", nodes.iter().any(|node| !node.unhealthy.is_empty())),
        ("fault", "fault", nodes.iter().any(|node| !node.faults.is_empty())),
        ("episode", "episode", timeline.nemesis.is_some()),
        ("quiet", "quiet", timeline.nemesis.as_ref().is_some_and(|nemesis| !nemesis.quiet.is_empty())),
        ("role", "role", !timeline.roles.is_empty()),
        ("outage", "engine lost", !timeline.outages.is_empty()),
        ("command", "command", commands),
        ("failed", "command failed", timeline.commands.iter().any(|command| command.failure.is_some())),
        ("ok", "operation", operations),
        ("failed-operation", "failed", outcome(OperationOutcome::Failed)),
        ("unsure", "uncertain", outcome(OperationOutcome::Unknown)),
    ];
    let mut x = LEFT;
    for (class, text, _) in entries.iter().filter(|(_, _, there)| *there) {
        let mid = y - 4.0;
        match *class {
            "command" => sign(canvas, (x + 8.0, mid), false),
            "failed" => sign(canvas, (x + 8.0, mid), true),
            "ready" => canvas.rect(class, (x, 18.0), (mid - 1.0, 2.5), ""),
            "running" | "created" => canvas.rect(class, (x, 18.0), (mid - 3.0, 6.0), ""),
            "role" => canvas.rect(class, (x, 18.0), (mid - 2.0, 3.5), ""),
            "failed-operation" => canvas.rect("failed", (x, 18.0), (mid - 5.0, 10.0), ""),
            _ => canvas.rect(class, (x, 18.0), (mid - 5.0, 10.0), ""),
        }
        canvas.text("muted", (x + 23.0, y), text);
        x += 38.0 + super::canvas::width(text);
    }
}

/// The sign of a command: a triangle that points at its moment, or a cross if it failed.
pub(crate) fn sign(canvas: &mut Canvas, (x, y): (f64, f64), failed: bool) {
    let (class, path) = if failed {
        ("failed halo", "m-2 0l-4-4 2-2 4 4 4-4 2 2-4 4 4 4-2 2-4-4-4 4-2-2z")
    } else {
        ("command", "m-4.5-4h9l-4.5 8z")
    };
    canvas.xml.empty("path", &[("class", &class), ("d", &format!("M{} {}{path}", Px(x), Px(y)))]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_times_are_written_as_people_do() {
        assert_eq!(wall("2026-11-25T07:00:31.123456789Z"), "2026-11-25 07:00:31.123 UTC");
        assert_eq!(wall("früher einmal"), "früher einmal");
    }
}
