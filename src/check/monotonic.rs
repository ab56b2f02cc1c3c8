//! Numbers that only grow.

use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::findings::{Findings, Span, number_of};
use super::gather::{Checker, Operation, Outcome};
use super::in_force::InForce;
use super::value::{Value, Values, integer};

/// The numbers, by key.
#[derive(Default)]
pub(super) struct Numbers {
    keys: IndexMap<Value, Number>,
    found: Findings,
    seen: u64,
}

#[derive(Default)]
struct Number {
    /// Each operation that ended with a higher number than all before, in order.
    highest: Vec<(Span, i64)>,
    /// What each increment gave.
    increments: Vec<(i64, Span)>,
}

impl Number {
    /// The highest number of all operations that had ended when one began.
    fn before(&self, begin: u32) -> Option<(Span, i64)> {
        let ended = self.highest.partition_point(|(span, _)| span.end < begin);
        self.highest[..ended].last().copied()
    }
}

impl Checker for Numbers {
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
        if outcome != Outcome::Ok {
            return Ok(());
        }
        let is_increment = operation.f == "inc";
        // A number that was never set is lower than all others.
        let number = match value {
            None if !is_increment => i64::MIN,
            value => integer(value).map_err(|why| format!("gives {why}"))?,
        };
        self.seen += 1;
        let key = self.keys.entry(operation.key).or_default();
        let span = operation.span;
        if let Some((earlier, higher)) = key.before(span.begin)
            && (number < higher || is_increment && number == higher)
        {
            let text = || {
                let number = if number == i64::MIN { "null".to_owned() } else { number.to_string() };
                format!("the {} of {span} gave {number}, after {higher} was there ({earlier})", operation.f)
            };
            self.found.add("went back", operation.key, values, text, &[earlier, span]);
        }
        if key.highest.last().is_none_or(|(_, highest)| *highest < number) {
            key.highest.push((span, number));
        }
        if is_increment {
            key.increments.push((number, span));
        }
        Ok(())
    }

    fn finish(self: Box<Self>, values: &Values, _: &InForce) -> Findings {
        let mut found = self.found;
        for (key, mut number) in self.keys {
            number.increments.sort_unstable();
            for pair in number.increments.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
                let ((number, one), (_, other)) = (pair[0], pair[1]);
                // One that began after the other had ended is told already.
                if one.end < other.begin || other.end < one.begin {
                    continue;
                }
                let text = || format!("two increments gave {number}: those of {one} and {other}");
                found.add("duplicated", key, values, text, &[one, other]);
            }
        }
        let (back, twice) = (found.count("went back"), found.count("duplicated"));
        if back > 0 {
            found.wrong.push(format!("numbers went back {}", number_of(back, "time")));
        }
        if twice > 0 {
            found.wrong.push(format!("{} gave a number that another gave too", number_of(twice, "increment")));
        }
        match self.seen {
            0 => found.unknown.push("no number was seen".into()),
            seen => found
                .good
                .push(format!("{} never went back, and no increment gave a number twice", number_of(seen, "number"))),
        }
        found
    }
}
