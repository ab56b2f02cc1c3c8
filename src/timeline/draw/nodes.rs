//! A node's lane: states as bars, how it went down in words, readiness as a line, commands as ticks, faults below.

use super::canvas::{Canvas, GUTTER, Px, WIDTH, bold_width};
use super::spans::Look;
use super::{badges, head, spans};
use crate::cluster::State;
use crate::timeline::incidents::{reason, short};
use crate::timeline::model::{Stay, Timeline};
use crate::timeline::{count, rough, time};

/// Heights in a node's lane, in px. They depend on how many nodes there are.
pub(crate) struct NodeRows {
    pub(crate) height: f64,
    /// Words above the bar; 0 if there is no room for them.
    pub(crate) words: f64,
    /// The bar of states.
    pub(crate) bar: f64,
    /// The row of faults; 0 if there are none.
    pub(crate) fault: f64,
}

/// Below this width (px), several changes in a row are drawn as one.
const NARROW: f64 = 1.2;

/// Draws the lane of a node at `y`.
pub(crate) fn lane(canvas: &mut Canvas, timeline: &Timeline, index: usize, y: f64, rows: &NodeRows) {
    let node = &timeline.nodes[index];
    canvas.group(&[("data-node", &node.name)], |canvas| {
        let bar = y + rows.words + 2.0;
        states(canvas, timeline, index, bar, rows.bar);
        let below = bar + rows.bar + 1.5;
        spans::bars(canvas, &node.ready, &Look { class: "ready", text: "", y: below, height: 2.0 });
        // Along the top of the bar.
        spans::bars(canvas, &node.roles, &Look { class: "role", text: "", y: bar - 0.5, height: 2.5 });
        for span in &node.unhealthy {
            canvas.bar(
                "unhealthy",
                (span.from, span.to),
                (below - 1.0, 4.0),
                2.0,
                &format!("unhealthy for {}", rough(span.to - span.from)),
            );
        }
        let text = if rows.fault > 10.0 { "small on-fault" } else { "" };
        spans::row(canvas, &node.faults, &Look { class: "fault", text, y: below + 3.5, height: rows.fault });
        commands(canvas, timeline, index, bar, rows.bar);
        words(canvas, timeline, index, y, rows);
    });
}

fn states(canvas: &mut Canvas, timeline: &Timeline, index: usize, y: f64, height: f64) {
    let node = &timeline.nodes[index];
    let mut stays = node.stays.as_slice();
    while let Some(first) = stays.first() {
        let narrow = |stay: &&Stay| canvas.x(stay.to) - canvas.x(stay.from) < NARROW;
        let run =
            stays.iter().take_while(narrow).take_while(|stay| canvas.x(stay.to) - canvas.x(first.from) < 6.0).count();
        if run >= 3 {
            let those = &stays[..run];
            let to = those[run - 1].to;
            let worst = if those.iter().any(|stay| stay.is_down()) { "exited" } else { "unknown" };
            let tip = format!("{}: {} changes of state\n{} – {}", node.name, count(run), time(first.from), time(to));
            canvas.bar(worst, (first.from, to), (y, height), 3.0, &tip);
            stays = &stays[run..];
            continue;
        }
        stay(canvas, timeline, index, first, (y, height));
        stays = &stays[1..];
    }
}

fn stay(canvas: &mut Canvas, timeline: &Timeline, index: usize, stay: &Stay, (y, height): (f64, f64)) {
    let name = &timeline.nodes[index].name;
    let why = match (stay.is_down(), stay.why.command) {
        (true, _) => format!("\n{name} {}", reason(timeline, stay)),
        (false, Some(command)) => format!("\nby “{}”", timeline.commands[command].line),
        (false, None) => String::new(),
    };
    let tip = format!(
        "{name}: {} for {}\n{} – {}{why}",
        stay.state,
        rough(stay.to - stay.from),
        time(stay.from),
        time(stay.to)
    );
    // Normal states are thin, so that the others stand out.
    let (inset, least) = match stay.state {
        State::Running => (height * 0.22, 0.0),
        State::Created => (height * 0.36, 0.0),
        State::Paused => (0.0, 2.0),
        State::Exited | State::Missing => (0.0, 3.0),
    };
    canvas.bar(&stay.state.to_string(), (stay.from, stay.to), (y + inset, height - 2.0 * inset), least, &tip);
}

/// A tick for each command that means the node.
fn commands(canvas: &mut Canvas, timeline: &Timeline, index: usize, y: f64, height: f64) {
    let mut last = f64::MIN;
    for command in timeline.commands.iter().filter(|command| command.nodes.contains(&index)) {
        let failure = command.failure.as_ref().filter(|_| !command.went_well.contains(&index));
        let (x, failed) = (canvas.x(command.from), failure.is_some());
        if x - last < 2.0 && !failed {
            continue;
        }
        last = x;
        let failure = failure.map(|failure| format!("\nfailed: {failure}")).unwrap_or_default();
        canvas.at((x, y), &format!("{}: {}{failure}", time(command.from), command.line), |canvas| {
            if failed {
                head::sign(canvas, (0.0, height / 2.0), true);
            } else {
                let down = height + 2.0;
                canvas.xml.empty(
                    "path",
                    &[("class", &"command"), ("d", &format!("M-3.5 -4h7l-2.7 4v{0}h-1.6v-{0}z", Px(down)))],
                );
            }
        });
    }
}

/// How the node went down, in as many words as fit: above its bar, or beside it where lanes are low.
fn words(canvas: &mut Canvas, timeline: &Timeline, index: usize, y: f64, rows: &NodeRows) {
    let node = &timeline.nodes[index];
    let above = rows.words > 0.0;
    let base = if above { y + 12.0 } else { y + rows.bar / 2.0 + 6.0 };
    let edge = WIDTH - GUTTER - 2.0;
    let downs: Vec<&Stay> = node.stays.iter().filter(|stay| stay.is_down()).collect();
    let mut free = f64::MIN;
    for (nth, stay) in downs.iter().enumerate() {
        let from = canvas.x(stay.from);
        let numbers: Vec<_> = timeline
            .incidents()
            .filter(|(_, incident)| incident.at == stay.from && incident.nodes.contains(&index))
            .collect();
        let badges = 17.0 * numbers.len() as f64;
        // Leave room for the words of the next one.
        let next = downs.get(nth + 1).map_or(edge, |next| canvas.x(next.from) - 4.0);
        let texts = [short(timeline, stay), shorter(stay), shortest(stay)];
        let begin = (from + 2.0).max(free);
        let inside = |text: &&String| canvas.x(stay.to) - begin > badges + bold_width(text) + 4.0;
        let after = |text: &&String| begin + badges + bold_width(text) + 4.0 < next;
        let beside = canvas.x(stay.to).max(begin + badges) + 4.0;
        let (begin, text, place) = if above {
            let last = nth + 1 == downs.len();
            match texts[..2].iter().find(after).filter(|text| !last || *text == &texts[0]) {
                Some(text) => (begin, text.as_str(), badges),
                // The words of the last one may begin before its bar.
                None if last => {
                    let early = (edge - badges - bold_width(&texts[0]) - 4.0).max(free);
                    let fits = early + badges + bold_width(&texts[0]) <= edge;
                    (early.min(begin), if fits { texts[0].as_str() } else { "" }, badges)
                }
                None => (begin, "", badges),
            }
        } else if let Some(text) = texts.iter().find(inside) {
            (begin, text.as_str(), badges)
        } else {
            let fits = |text: &&String| beside + bold_width(text) < next;
            let text = texts.iter().find(fits).map_or("", |text| text.as_str());
            (begin, text, beside - begin)
        };
        if text.is_empty() && numbers.is_empty() {
            continue;
        }
        let wide = if text.is_empty() { badges } else { place + bold_width(text) };
        free = begin + wide + 6.0;
        canvas.at((from, base), "", |canvas| {
            for (nth, (number, incident)) in numbers.iter().enumerate() {
                let x = begin - from + 8.0 + 17.0 * nth as f64;
                badges::incident(canvas, (x, -4.0), *number, incident);
            }
            if !text.is_empty() {
                canvas.text("strong halo", (begin - from + place + 2.0, 0.0), text);
            }
        });
    }
}

/// Exit code and signal: `137 SIGKILL`.
fn shorter(stay: &Stay) -> String {
    let code = stay.why.exit_code.map(|code| code.to_string());
    let words: Vec<String> = code.into_iter().chain(stay.why.signal.clone()).collect();
    if words.is_empty() { stay.state.to_string() } else { words.join(" ") }
}

/// The exit code: `137`.
fn shortest(stay: &Stay) -> String {
    stay.why.exit_code.map_or_else(|| stay.state.to_string(), |code| code.to_string())
}
