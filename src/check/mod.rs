//! Holds the operations of a history against a model: what must be true of a register, a set, a queue, a bank, a number or a
//! list.
//!
//! Pure: it reads lines one by one and keeps of each operation a few bytes. What it cannot find out is unknown; it never
//! guesses. docs/checking.md says what each model means.

mod bank;
mod elements;
mod findings;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzzed;
mod gather;
mod in_force;
mod list;
mod model;
mod monotonic;
mod options;
mod queue;
mod quote;
mod register;
mod search;
mod set;
#[cfg(test)]
mod tests;
mod value;

use std::fmt::Display;

pub(crate) use model::Model;
pub(crate) use options::Options;
pub(crate) use quote::{Quotes, text};
#[cfg(any(feature = "fuzzing", test))]
pub(crate) use search::Bounds;

use findings::{Anomaly, Findings, NEVER, number_of};
use gather::{Checker, Gathering};
use in_force::InForce;
use value::Values;

use crate::history::{
    AnomalyEvent, ClusterEvent, HistoryEvent, HistoryLine, LONGEST_LINE, VerdictEvent, VerdictResult,
};

/// Holds the operations of one mount of a history against a model.
///
/// # Errors
/// A sentence: it cannot be read, there is no such mount, or there are no operations that the model knows. Operations that
/// make no sense are no error, but a verdict: unknown.
pub(crate) fn verdict<E: Display>(
    lines: impl Iterator<Item = Result<HistoryLine, E>>,
    model: Model,
    options: &Options,
) -> Result<VerdictEvent, String> {
    let mut mount = Mount::new(model, options);
    let mut number = 0;
    let mut last = 0;
    for line in lines {
        let line = line.map_err(|error| error.to_string())?;
        // The first lines may be of a mount whose beginning is not there.
        if number == 0 || matches!(line.event, HistoryEvent::Cluster(ClusterEvent::Mounted { .. })) {
            number += 1;
            if options.mount.is_none_or(|wanted| wanted == number) {
                mount = Mount::new(model, options);
            }
        }
        // As it is written there, or at least in order.
        let at = u32::try_from(line.seq.max(u64::from(last) + 1)).ok().filter(|at| *at != NEVER);
        let at = at.ok_or("a line has a number that no history reaches")?;
        last = at;
        let counts = u64::from(at) > options.after || !matches!(line.event, HistoryEvent::Test(_));
        if counts && options.mount.is_none_or(|wanted| wanted == number) {
            mount.take(at, &line.event);
        }
    }
    if let Some(wanted) = options.mount.filter(|wanted| !(1..=number).contains(wanted)) {
        return Err(format!("there is no mount {wanted} in this history: it has {number}, counted from 1"));
    }
    mount.finish().map(|verdict| VerdictEvent { after: options.after, ..verdict })
}

/// What is known of the lines of one mount.
struct Mount {
    model: Model,
    gathering: Gathering,
    in_force: InForce,
}

impl Mount {
    fn new(model: Model, options: &Options) -> Self {
        Self { model, gathering: Gathering::new(model, checker(model, options)), in_force: InForce::default() }
    }

    fn take(&mut self, at: u32, event: &HistoryEvent) {
        match event {
            HistoryEvent::Test(object) => self.gathering.take(at, object.as_str()),
            event => self.in_force.take(at, event),
        }
    }

    fn finish(self) -> Result<VerdictEvent, String> {
        let Self { model, mut gathering, in_force } = self;
        let others = gathering.others;
        let named = gathering.other_names.iter().map(|f| crate::text::shown(f)).collect::<Vec<_>>().join(", ");
        if gathering.begun == 0 && gathering.broken.is_none() {
            let name = model.name();
            return Err(match others {
                0 => "the test has recorded no operations: a line with process, type, f and value when one begins and when it ends".into(),
                _ => format!(
                    "the model {name} has none of the test's {} ({named}): it has {}",
                    number_of(others, "operation"),
                    model.operations().join(", ")
                ),
            });
        }
        gathering.close();
        let Gathering { checker, values, begun, acknowledged, broken, .. } = gathering;
        let mut verdict = if let Some(broken) = broken {
            unknown(model, begun, broken)
        } else if acknowledged == 0 {
            unknown(model, begun, "nothing was acknowledged: there is nothing to check".into())
        } else {
            told(model, begun, checker.finish(&values, &in_force), &values, &in_force)
        };
        if others > 0 {
            verdict.text += &format!(
                "; {} that {} does not know ({named}) {} passed over",
                number_of(others, "operation"),
                model.name(),
                if others == 1 { "was" } else { "were" }
            );
        }
        shorten(&mut verdict);
        Ok(verdict)
    }
}

fn checker(model: Model, options: &Options) -> Box<dyn Checker> {
    match model {
        Model::Register => Box::new(register::Registers::new(options.bounds)),
        Model::Set => Box::new(set::Sets::default()),
        Model::Queue => Box::new(queue::Queues::default()),
        Model::Bank => Box::new(bank::Banks::new(options)),
        Model::Monotonic => Box::new(monotonic::Numbers::default()),
        Model::List => Box::new(list::Lists::default()),
    }
}

fn unknown(model: Model, operations: u64, text: String) -> VerdictEvent {
    let (model, result) = (model.name().to_owned(), VerdictResult::Unknown);
    VerdictEvent { model, result, text, operations, after: 0, anomalies: vec![], more: 0 }
}

fn told(model: Model, operations: u64, found: Findings, values: &Values, in_force: &InForce) -> VerdictEvent {
    let all = found.all();
    let (result, sentence) = if all > 0 {
        (VerdictResult::Violated, found.wrong)
    } else if !found.unknown.is_empty() {
        (VerdictResult::Unknown, found.unknown)
    } else {
        (VerdictResult::Good, found.good)
    };
    let told = found.anomalies.len() as u64;
    let anomalies = found.anomalies.into_iter().map(|anomaly| event(anomaly, values, in_force)).collect();
    let text = sentence.join("; ");
    VerdictEvent { model: model.name().into(), result, text, operations, after: 0, anomalies, more: all - told }
}

fn event(anomaly: Anomaly, values: &Values, in_force: &InForce) -> AnomalyEvent {
    let Anomaly { kind, key, text, operations } = anomaly;
    let lines = operations.iter().flat_map(|span| [span.begin, span.end]).filter(|line| *line != NEVER);
    let mut lines: Vec<u64> = lines.map(u64::from).collect();
    lines.sort_unstable();
    lines.dedup();
    let key = (key != value::Value::NULL).then(|| values.json(key)).and_then(|json| serde_json::from_str(&json).ok());
    AnomalyEvent { kind: kind.into(), text, key, lines, faults: in_force.during(&operations) }
}

/// Makes it fit into a line of the history, whatever keys and values are like.
fn shorten(verdict: &mut VerdictEvent) {
    let is_too_long =
        |verdict: &VerdictEvent| serde_json::to_string(verdict).map_or(true, |json| json.len() > LONGEST_LINE - 1024);
    while is_too_long(verdict) && verdict.anomalies.pop().is_some() {
        verdict.more += 1;
    }
    if is_too_long(verdict) {
        verdict.text = value::cut(&verdict.text, LONGEST_LINE / 64);
    }
}
