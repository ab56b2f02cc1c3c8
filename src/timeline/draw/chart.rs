//! The chart: the time axis, and lanes below each other.

use super::canvas::{Canvas, GUTTER, PAD, WIDTH, bold_width, fitting, fitting_name, width};
use super::nodes::NodeRows;
use super::{badges, head, nodes, operations, spans, verdicts};
use crate::timeline::axis::{step, ticks};
use crate::timeline::model::{Command, Held, Span, Timeline};
use crate::timeline::{count, rough, time};

/// The y of each part of the chart, in px.
pub(crate) struct Layout {
    /// Labels of the time axis.
    pub(crate) axis: f64,
    /// Numbers of the incidents.
    pub(crate) badges: f64,
    /// The row of commands, if there are any.
    pub(crate) commands: Option<f64>,
    /// The rows of a schedule's episodes, if there are any.
    pub(crate) nemesis: Option<f64>,
    /// The row of faults, if there are any.
    pub(crate) faults: Option<f64>,
    /// The first row of a role.
    pub(crate) roles: f64,
    /// First lane of a node.
    pub(crate) nodes: f64,
    /// Heights of these lanes.
    pub(crate) rows: NodeRows,
    /// The sum of all operations, if there are enough.
    pub(crate) sum: Option<f64>,
    /// First lane of operations.
    pub(crate) operations: f64,
    /// The end of the lanes.
    pub(crate) end: f64,
    /// The end of the picture.
    pub(crate) bottom: f64,
}

/// Height of the row of commands.
const COMMANDS: f64 = 30.0;
/// Height of the row of faults.
const FAULTS: f64 = 20.0;
/// Height of the row of a role.
const ROLE: f64 = 18.0;

impl Layout {
    /// Of a timeline whose chart begins at `top`.
    pub(crate) fn of(timeline: &Timeline, top: f64) -> Self {
        let mut y = top;
        let mut take = |height: f64| {
            y += height;
            y - height
        };
        let axis = take(20.0);
        let badges = take(20.0);
        let commands = (!timeline.commands.is_empty()).then(|| take(COMMANDS));
        let episodes = timeline.nemesis.as_ref().map(|nemesis| spans::rows(&nemesis.episodes));
        let nemesis = episodes.map(|rows| take(spans::ROW * rows as f64 + 4.0));
        let faults = (!timeline.faults.is_empty()).then(|| take(FAULTS));
        let roles = take(ROLE * timeline.roles.len() as f64);
        let (words, bar, fault) = match timeline.nodes.len() {
            ..=12 => (16.0, 14.0, 13.0),
            13..=30 => (0.0, 14.0, 6.0),
            _ => (0.0, 10.0, 4.0),
        };
        let has_faults = timeline.nodes.iter().any(|node| !node.faults.is_empty());
        let fault = if has_faults { fault } else { 0.0 };
        let rows = NodeRows { height: words + bar + 9.0 + fault, words, bar, fault };
        let nodes = take(rows.height * timeline.nodes.len() as f64);
        let sum = (timeline.operations() >= operations::MANY).then(|| {
            take(8.0);
            take(operations::SUM)
        });
        take(8.0);
        let operations = take(operations::LANE * timeline.lanes.len() as f64);
        let end = take(0.0);
        take(28.0);
        Self { axis, badges, commands, nemesis, faults, roles, nodes, rows, sum, operations, end, bottom: take(0.0) }
    }
}

/// The names left of the lanes, and the stripes behind them.
pub(crate) fn names(canvas: &mut Canvas, timeline: &Timeline, layout: &Layout) {
    let right = GUTTER - 4.0;
    for (index, node) in timeline.nodes.iter().enumerate() {
        let y = layout.nodes + layout.rows.height * index as f64;
        if index % 2 == 0 {
            canvas.rect("stripe", (0.0, WIDTH), (y, layout.rows.height), "");
        }
        let middle = y + layout.rows.words + layout.rows.bar / 2.0 + 6.5;
        canvas.group(&[("class", &"lane"), ("data-node", &node.name)], |canvas| {
            canvas.text("name end", (right, middle), &fitting_name(&node.name, right - 6.0));
            if layout.rows.words > 0.0 {
                canvas.text("small muted end", (right, middle - 13.0), &fitting(&node.ip, right).unwrap_or_default());
            }
        });
    }
    let row = |canvas: &mut Canvas, y: Option<f64>, name: &str| {
        if let Some(y) = y {
            canvas.text("muted end", (right, y), name);
        }
    };
    row(canvas, layout.commands.map(|y| y + COMMANDS - 6.0), "commands");
    row(canvas, layout.nemesis.map(|y| y + 13.0), "nemesis");
    row(canvas, layout.faults.map(|y| y + 13.0), "network");
    for (index, role) in timeline.roles.iter().enumerate() {
        let y = layout.roles + ROLE * index as f64 + 12.5;
        canvas.text("muted end", (right, y), &fitting(&role.name, right - 6.0).unwrap_or_else(|| "…".into()));
    }
    row(canvas, layout.sum.map(|y| y + 12.0), "operations");
    if let Some(y) = layout.sum {
        let scale = operations::scale(canvas, timeline);
        canvas.text("small muted end", (right, y + 26.0), &scale);
    }
    for (index, lane) in timeline.lanes.iter().enumerate() {
        let y = layout.operations + operations::LANE * index as f64 + 13.0;
        canvas.text("muted end", (right, y), &fitting(&lane.name, right - 6.0).unwrap_or_else(|| "…".into()));
    }
}

/// Everything whose place depends on its time.
pub(crate) fn draw(canvas: &mut Canvas, timeline: &Timeline, layout: &Layout) {
    axis(canvas, layout);
    outages(canvas, timeline, layout);
    if let Some(y) = layout.commands {
        commands(canvas, timeline, y);
    }
    if let (Some(y), Some(nemesis)) = (layout.nemesis, &timeline.nemesis) {
        let height = spans::ROW - 2.0;
        // Without words, and under those of the episodes.
        spans::bars(canvas, &nemesis.quiet, &spans::Look { class: "quiet", text: "", y: y + 2.0, height });
        spans::stacked(canvas, &nemesis.episodes, y + 2.0);
    }
    if let Some(y) = layout.faults {
        spans::row(
            canvas,
            &timeline.faults,
            &spans::Look { class: "fault", text: "on-fault", y: y + 2.0, height: 16.0 },
        );
    }
    for (index, role) in timeline.roles.iter().enumerate() {
        let (known, unsure): (Vec<&Held>, Vec<&Held>) = role.held.iter().partition(|held| held.error.is_none());
        let y = layout.roles + ROLE * index as f64 + 2.0;
        for (class, those) in [("role", known), ("role-unsure", unsure)] {
            let spans: Vec<Span> = those.into_iter().map(Held::span).collect();
            spans::row(canvas, &spans, &spans::Look { class, text: "on-role", y, height: ROLE - 4.0 });
        }
    }
    for (index, _) in timeline.nodes.iter().enumerate() {
        nodes::lane(canvas, timeline, index, layout.nodes + layout.rows.height * index as f64, &layout.rows);
    }
    if let Some(y) = layout.sum {
        operations::sum(canvas, timeline, y);
    }
    for (index, lane) in timeline.lanes.iter().enumerate() {
        let y = layout.operations + operations::LANE * index as f64;
        operations::lane(canvas, lane, y);
        verdicts::marks(canvas, timeline, index, y);
    }
    badges(canvas, timeline, layout);
}

fn axis(canvas: &mut Canvas, layout: &Layout) {
    let top = layout.axis + 18.0;
    let duration = canvas.duration;
    canvas.group(&[("id", &"axis")], |canvas| {
        for (at, label) in ticks(duration, step(duration, 12)) {
            let x = canvas.x(at);
            canvas.at((x, top), "", |canvas| {
                canvas.rect("line", (-0.5, 1.0), (0.0, layout.end - top), "");
                canvas.text("muted mid", (0.0, -5.0), &label);
                canvas.text("muted mid", (0.0, layout.end - top + 14.0), &label);
            });
        }
    });
    for y in [top, layout.end] {
        canvas.rect("tick still", (PAD, WIDTH - GUTTER - 2.0 * PAD), (y - 0.5, 1.0), "");
    }
}

fn outages(canvas: &mut Canvas, timeline: &Timeline, layout: &Layout) {
    let (top, end) = (layout.axis + 18.0, layout.end);
    for outage in &timeline.outages {
        let tip = format!(
            "{} for {}\n{} – {}",
            outage.detail,
            rough(outage.to - outage.from),
            time(outage.from),
            time(outage.to)
        );
        canvas.bar("outage", (outage.from, outage.to), (top, end - top), 2.0, &tip);
        let x = canvas.x(outage.from);
        if canvas.x(outage.to) - x > bold_width(&outage.text) + 6.0 {
            canvas.at((x, end - 4.0), "", |canvas| canvas.text("strong halo", (3.0, 0.0), &outage.text));
        }
    }
}

/// A sign for each command, and words where there is room, failed commands first.
fn commands(canvas: &mut Canvas, timeline: &Timeline, y: f64) {
    let all = &timeline.commands;
    let mut groups: Vec<&[Command]> = vec![];
    // Commands on one spot have one sign.
    let mut begin = 0;
    for index in 0..all.len() {
        let next = all.get(index + 1);
        let apart = next.is_none_or(|next| {
            canvas.x(next.from) - canvas.x(all[begin].from) > 3.0
                || next.failure.is_some() != all[index].failure.is_some()
        });
        if apart {
            groups.push(&all[begin..=index]);
            begin = index + 1;
        }
    }
    let mut free = [f64::MIN; 2];
    for (nth, group) in groups.iter().enumerate() {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let failed = first.failure.is_some();
        let x = canvas.x(first.from);
        let names =
            |nodes: &[usize]| nodes.iter().map(|node| timeline.nodes[*node].name.clone()).collect::<Vec<_>>().join(" ");
        let tip = match group.len() {
            1 => {
                let to =
                    first.to.map_or("never answered".into(), |to| format!("answered after {}", rough(to - first.from)));
                let failure = first.failure.as_ref().map(|failure| format!("\nfailed: {failure}")).unwrap_or_default();
                format!("{}: {}\non {}\n{to}{failure}", time(first.from), first.line, names(&first.nodes))
            }
            many => format!(
                "{} – {}: {} commands, from “{}” to “{}”",
                time(first.from),
                time(last.from),
                count(many),
                first.line,
                last.line
            ),
        };
        let words = match (group.len(), &first.failure) {
            (1, Some(failure)) => {
                format!("{} ✕ {}", said(timeline, first), failure.split(':').next().unwrap_or_default())
            }
            (1, None) => said(timeline, first),
            (many, Some(_)) => format!("{} commands failed", count(many)),
            (many, None) => format!("{} commands", count(many)),
        };
        let wide = if failed { bold_width(&words) } else { width(&words) };
        // Beside the sign, if the next one is far enough; else above it.
        let next = groups.get(nth + 1).and_then(|next| next.first()).map_or(f64::MAX, |next| canvas.x(next.from) - 7.0);
        let edge = WIDTH - GUTTER - 2.0;
        let places = [x + 9.0, (x - 4.0).min(edge - wide)];
        let ends = [next.min(edge), edge];
        let row = (0..2).find(|row| places[*row] > free[*row] && places[*row] + wide <= ends[*row]);
        if let Some(row) = row {
            free[row] = places[row] + wide + 6.0;
        }
        free[0] = free[0].max(x + 5.0);
        canvas.at((x, y + COMMANDS - 8.0), &tip, |canvas| {
            if let Some(row) = row {
                let class = if failed { "alarm halo" } else { "halo" };
                canvas.text(class, (places[row] - x, if row == 0 { 3.0 } else { -10.0 }), &words);
            }
            head::sign(canvas, (0.0, 0.0), failed);
        });
    }
}

/// `kill i002`: the command with its nodes, also if it was written in the directory of a node.
fn said(timeline: &Timeline, command: &Command) -> String {
    let mut text = command.line.clone();
    let all = command.nodes.len() == timeline.nodes.len() && command.nodes.len() > 1;
    if command.nodes.len() == 1 && !all {
        let name = &timeline.nodes[command.nodes[0]].name;
        if !text.contains(name.as_str()) {
            text = format!("{text} {name}");
        }
    }
    fitting(&text, 150.0).unwrap_or_default()
}

/// The numbers of the incidents, side by side where they are too close.
fn badges(canvas: &mut Canvas, timeline: &Timeline, layout: &Layout) {
    let mut free = f64::MIN;
    for (number, incident) in timeline.incidents() {
        let true_x = canvas.x(incident.at);
        let x = true_x.max(free);
        free = x + 17.0;
        canvas.at((true_x, layout.badges + 10.0), &incident.text, |canvas| {
            badges::incident(canvas, (x - true_x, 0.0), number, incident);
        });
    }
}
