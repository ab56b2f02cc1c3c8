//! Registers: one value for each key, linearizable. Each key is looked at by itself, as linearizability allows (Herlihy and
//! Wing, "Linearizability: A Correctness Condition for Concurrent Objects", 1990).

use std::collections::HashMap;

use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::findings::{Findings, NEVER, Span, number_of};
use super::gather::{Checker, Operation, Outcome};
use super::in_force::InForce;
use super::search::{Action, Bounds, Order, Step, order};
use super::value::{Value, Values};

/// The operations on each key, in the order in which they ended.
pub(super) struct Registers {
    keys: IndexMap<Value, Vec<Taken>>,
    bounds: Bounds,
}

/// An operation that may have happened, or that tells something. Those of unknown end keep the line that says so, for what is told of them.
struct Taken {
    action: Action,
    span: Span,
    outcome: Outcome,
}

impl Taken {
    /// What failed leaves nothing; a cas that failed may have looked.
    fn can_have_happened(&self) -> bool {
        !matches!(self.outcome, Outcome::Failed { .. }) || matches!(self.action, Action::Lacks(_))
    }

    fn step(&self) -> Step {
        Step { begin: self.span.begin, end: self.end(), action: self.action }
    }

    /// What it leaves there, if it happened.
    fn leaves(&self) -> Option<Value> {
        match self.action {
            Action::Write(value) | Action::Swap(_, value) => Some(value),
            Action::Read(_) | Action::Lacks(_) => None,
        }
    }

    /// Until when it can have taken effect.
    fn end(&self) -> u32 {
        if self.outcome == Outcome::Unknown { NEVER } else { self.span.end }
    }
}

impl Registers {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { keys: IndexMap::new(), bounds }
    }
}

impl Checker for Registers {
    fn begin(&mut self, _: &Operation, _: &Values) -> Result<(), String> {
        Ok(())
    }

    fn end(
        &mut self,
        operation: &Operation,
        outcome: Outcome,
        value: Option<&RawValue>,
        values: &mut Values,
    ) -> Result<(), String> {
        let action = match (operation.f, outcome) {
            ("read", Outcome::Ok) => Action::Read(values.value(value)),
            ("read", _) => return Ok(()),
            ("write", _) => Action::Write(operation.value),
            // What failed with an error may not have looked.
            (_, Outcome::Failed { has_error: false }) => Action::Lacks(operation.value),
            _ => Action::Swap(operation.value, operation.new),
        };
        self.keys.entry(operation.key).or_default().push(Taken { action, span: operation.span, outcome });
        Ok(())
    }

    fn finish(self: Box<Self>, values: &Values, _: &InForce) -> Findings {
        let mut found = Findings::default();
        let (mut unknown, mut wrong, mut waiting) = (vec![], vec![], vec![]);
        let keys = self.keys.len() as u64;
        for (key, mut taken) in self.keys {
            taken.sort_unstable_by_key(|taken| taken.span);
            if out_of_nowhere(key, &taken, values, &mut found) {
                wrong.push(key);
            } else {
                taken.retain(Taken::can_have_happened);
                waiting.push((key, taken));
            }
        }
        // One key must not use up the steps of all: each has its share, and then those that need more share what is left.
        let mut left = self.bounds.steps;
        for _ in 0..2 {
            let mut keys = waiting.len() as u64;
            waiting.retain(|(key, taken)| {
                let mut bounds = Bounds { steps: left / keys, ..self.bounds };
                left -= bounds.steps;
                keys -= 1;
                let steps: Vec<Step> = taken.iter().map(Taken::step).collect();
                let order = order(&steps, &mut bounds);
                left += bounds.steps;
                match order {
                    Order::Unknown if bounds.steps == 0 => return true,
                    Order::Unknown => unknown.push(*key),
                    Order::Exists => {}
                    Order::Missing { step, values: there } => {
                        no_place(*key, taken, step, &there, values, &mut found);
                        wrong.push(*key);
                    }
                }
                false
            });
        }
        unknown.extend(waiting.into_iter().map(|(key, _)| key));
        let one_key = |key: &Value| {
            if *key == Value::NULL { "the register".to_owned() } else { format!("key {}", values.show(*key)) }
        };
        match wrong.as_slice() {
            [] => {}
            [key] => found.wrong.push(format!("{} is not linearizable", one_key(key))),
            many => found.wrong.push(format!(
                "{} keys are not linearizable, {} the first",
                many.len(),
                values.show(many[0])
            )),
        }
        if let Some(key) = unknown.first() {
            let (count, which) = (unknown.len() as u64, one_key(key));
            let more = if count > 1 { format!(" and of {}", number_of(count - 1, "other key")) } else { String::new() };
            found.unknown.push(format!(
                "whether there is an order of the operations of {which}{more} would take too long to find out: too many overlap"
            ));
        }
        found.good.push(match keys {
            1 => "the register is linearizable".into(),
            keys => format!("{keys} keys are linearizable, each by itself"),
        });
        found
    }
}

/// Reports the first operation that found a value which no operation can have put there. That is seen without a search.
fn out_of_nowhere(key: Value, taken: &[Taken], values: &Values, found: &mut Findings) -> bool {
    let mut sources: HashMap<Value, &Taken> = HashMap::new();
    for source in taken {
        let Some(value) = source.leaves() else { continue };
        let known = sources.entry(value).or_insert(source);
        // In the order of their begins: the first is as good as any, unless it failed.
        if !known.can_have_happened() && source.can_have_happened() {
            *known = source;
        }
    }
    let is_there = |value: &Value, end: u32| {
        let source = sources.get(value);
        *value == Value::NULL || source.is_some_and(|source| source.can_have_happened() && source.span.begin < end)
    };
    let wrong = taken.iter().filter(|taken| taken.outcome == Outcome::Ok).filter_map(|taken| match taken.action {
        Action::Read(value) => Some((taken.span, "read", value)),
        Action::Swap(value, _) => Some((taken.span, "cas", value)),
        _ => None,
    });
    let first = wrong.filter(|(span, _, value)| !is_there(value, span.end)).min_by_key(|(span, ..)| span.end);
    let Some((span, f, value)) = first else { return false };
    let source = sources.get(&value);
    let text = || {
        let value = values.show(value);
        match source {
            None => format!("the {f} of {span} found {value}, which nobody has written"),
            Some(source) if source.can_have_happened() => {
                format!("the {f} of {span} found {value} before its write ({}) began", source.span)
            }
            Some(source) => format!("the {f} of {span} found {value}, but its write ({}) failed", source.span),
        }
    };
    found.add("unexpected", key, values, text, &[span, source.map_or(Span::NONE, |source| source.span)]);
    true
}

/// Reports the operation that has no place in any order.
fn no_place(key: Value, taken: &[Taken], at: usize, there: &[Value], values: &Values, found: &mut Findings) {
    let Taken { action, span, .. } = taken[at];
    let can_be = there.iter().map(|value| values.show(*value)).collect::<Vec<_>>().join(" or ");
    let (kind, value, text) = match action {
        Action::Read(value) => ("wrong read", value, format!("the read of {span} found {}", values.show(value))),
        Action::Swap(value, _) => ("wrong cas", value, format!("the cas of {span} found {}", values.show(value))),
        Action::Lacks(value) => ("wrong cas", value, format!("the cas of {span} did not find {}", values.show(value))),
        Action::Write(value) => {
            ("wrong write", value, format!("the write of {} ({span}) has no place", values.show(value)))
        }
    };
    let sources_of = |value: Value| taken.iter().filter(move |source| source.leaves() == Some(value));
    let written = sources_of(value).find(|source| source.span != span);
    let is_stale =
        kind == "wrong read" && (value == Value::NULL || written.is_some_and(|source| source.end() < span.begin));
    let last: Vec<&Taken> =
        there.iter().filter_map(|value| sources_of(*value).rfind(|source| source.span.begin < span.end)).collect();
    let whose: Vec<String> = last.iter().map(|source| source.span.to_string()).collect();
    let whose = if whose.is_empty() { String::new() } else { format!(" (written in {})", whose.join("; ")) };
    let text = || format!("{text}, when only {can_be} can have been there{whose}");
    let operations: Vec<Span> =
        std::iter::once(span).chain(written.into_iter().chain(last).map(|source| source.span)).collect();
    found.add(if is_stale { "stale read" } else { kind }, key, values, text, &operations);
}
