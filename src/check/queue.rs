//! Queues: what was put in comes out once. In which order is not looked at.

use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::findings::{Findings, Span, number_of, verb};
use super::gather::{Checker, Operation, Outcome};
use super::in_force::InForce;
use super::value::{Value, Values};

/// The queues, by key.
#[derive(Default)]
pub(super) struct Queues(IndexMap<Value, Queue>);

#[derive(Default)]
struct Queue {
    items: IndexMap<Value, Item>,
    /// Of the operations that found the queue empty, the one that began last.
    empty: Option<Span>,
    /// Takes of unknown end: each may have taken one value, or all.
    took_one: u64,
    took_all: u64,
}

/// A value.
struct Item {
    /// The operation that put it in: the one that was acknowledged, else the last one that tried.
    put: Span,
    is_acknowledged: bool,
    tries: u32,
    failed: u32,
    /// How often it came out, and the first and the last time.
    out: u32,
    first: Span,
    last: Span,
    /// It came out when nobody had tried to put it in, or all who had tried had failed.
    too_early: bool,
}

impl Item {
    const NEW: Self = Self {
        put: Span::NONE,
        is_acknowledged: false,
        tries: 0,
        failed: 0,
        out: 0,
        first: Span::NONE,
        last: Span::NONE,
        too_early: false,
    };

    fn is_unexpected(&self) -> bool {
        self.out > 0 && (self.too_early || self.failed == self.tries)
    }

    fn is_duplicated(&self) -> bool {
        !self.is_unexpected() && self.out > self.tries - self.failed
    }

    fn is_missing(&self) -> bool {
        self.is_acknowledged && self.out == 0
    }
}

impl Queue {
    fn put_ends(&mut self, operation: &Operation, outcome: Outcome) {
        let Some(item) = self.items.get_mut(&operation.value) else { return };
        match outcome {
            Outcome::Ok if !item.is_acknowledged => {
                item.is_acknowledged = true;
                item.put = operation.span;
            }
            _ => {
                item.failed += u32::from(matches!(outcome, Outcome::Failed { .. }));
                if !item.is_acknowledged && item.put.begin == operation.span.begin {
                    item.put = operation.span;
                }
            }
        }
    }

    fn comes_out(&mut self, value: Value, take: Span) {
        let item = self.items.entry(value).or_insert(Item::NEW);
        item.too_early |= item.failed == item.tries;
        item.out += 1;
        if item.out == 1 {
            item.first = take;
        }
        item.last = take;
    }

    fn is_empty(&mut self, take: Span) {
        if self.empty.is_none_or(|last| last.begin < take.begin) {
            self.empty = Some(take);
        }
    }

    /// Acknowledged values that never came out, and whether the queue was found empty after that.
    fn missing(&self) -> impl Iterator<Item = (Value, &Item, Option<Span>)> {
        let missing = self.items.iter().filter(|(_, item)| item.is_missing());
        missing.map(|(value, item)| (*value, item, self.empty.filter(|empty| item.put.end < empty.begin)))
    }
}

impl Checker for Queues {
    fn begin(&mut self, operation: &Operation, _: &Values) -> Result<(), String> {
        if operation.f == "enqueue" {
            let item = self.0.entry(operation.key).or_default().items.entry(operation.value).or_insert(Item::NEW);
            item.tries += 1;
            if !item.is_acknowledged {
                item.put = operation.span;
            }
        }
        Ok(())
    }

    fn end(
        &mut self,
        operation: &Operation,
        outcome: Outcome,
        value: Option<&RawValue>,
        values: &mut Values,
    ) -> Result<(), String> {
        let queue = self.0.entry(operation.key).or_default();
        match (operation.f, outcome) {
            ("enqueue", _) => queue.put_ends(operation, outcome),
            ("dequeue", Outcome::Ok) => match values.value(value) {
                Value::NULL => queue.is_empty(operation.span),
                value => queue.comes_out(value, operation.span),
            },
            ("drain", Outcome::Ok) => {
                for value in values.list(value).map_err(|why| format!("gives {why}"))? {
                    queue.comes_out(value, operation.span);
                }
                queue.is_empty(operation.span);
            }
            ("dequeue", Outcome::Unknown) => queue.took_one += 1,
            ("drain", Outcome::Unknown) => queue.took_all += 1,
            _ => {}
        }
        Ok(())
    }

    fn finish(self: Box<Self>, values: &Values, _: &InForce) -> Findings {
        let mut found = Findings::default();
        let (mut surely, mut explained, mut still_in) = (0, 0, 0);
        for (key, queue) in &self.0 {
            let lost = queue.missing().filter(|(.., empty)| empty.is_some()).count() as u64;
            let all = queue.missing().count() as u64;
            still_in += all - lost;
            // As many as this may have been taken by operations whose end is unknown.
            if queue.took_all > 0 || lost <= queue.took_one {
                explained += lost;
                continue;
            }
            surely += lost - queue.took_one;
            explained += queue.took_one;
            for (value, item, empty) in queue.missing() {
                let Some(empty) = empty else { continue };
                let text = || {
                    format!(
                        "{} was acknowledged ({}) and never came out; the queue was found empty later ({empty})",
                        values.show(value),
                        item.put
                    )
                };
                found.add("lost", *key, values, text, &[item.put, empty]);
            }
        }
        let items =
            || self.0.iter().flat_map(|(key, queue)| queue.items.iter().map(|(value, item)| (*key, *value, item)));
        for (key, value, item) in items().filter(|(.., item)| item.is_unexpected()) {
            let text = || {
                let value = values.show(value);
                match item.tries {
                    0 => format!("{value} came out ({}), and nobody has put it in", item.first),
                    _ if item.failed > 0 => {
                        format!("{value} came out ({}), but its enqueue ({}) failed", item.first, item.put)
                    }
                    _ => format!("{value} came out ({}) before its enqueue ({}) began", item.first, item.put),
                }
            };
            found.add("unexpected", key, values, text, &[item.put, item.first]);
        }
        for (key, value, item) in items().filter(|(.., item)| item.is_duplicated()) {
            let text = || {
                let (value, Item { put, out, first, last, .. }) = (values.show(value), item);
                let times = if first == last { format!("{first}") } else { format!("{first}, …, {last}") };
                format!("{value} was put in ({put}) and came out {out} times ({times})")
            };
            found.add("duplicated", key, values, text, &[item.put, item.first, item.last]);
        }
        let acknowledged = items().filter(|(.., item)| item.is_acknowledged).count() as u64;
        Self::sentences(&mut found, acknowledged, surely, explained, still_in);
        found
    }
}

impl Queues {
    fn sentences(found: &mut Findings, acknowledged: u64, surely: u64, explained: u64, still_in: u64) {
        let of = number_of(acknowledged, "acknowledged value");
        if surely > 0 {
            let at_least = if explained > 0 { "at least " } else { "" };
            found.wrong.push(format!("{at_least}{surely} of {of} {} lost", verb(surely, "is", "are")));
        }
        for (kind, word) in [("unexpected", "unexpected"), ("duplicated", "taken out more than once")] {
            let count = found.count(kind);
            if count > 0 {
                found.wrong.push(format!("{} {} {word}", number_of(count, "value"), verb(count, "was", "were")));
            }
        }
        if still_in > 0 {
            found.unknown.push(format!(
                "{still_in} of {of} never came out, and the queue was not found empty after that: drain it at the end"
            ));
        }
        found
            .good
            .push(format!("{of}, {still} came out once", still = if explained > 0 { "the others" } else { "each" }));
        if explained > 0 {
            found.good.push(format!(
                "{explained} never came out, but a dequeue or drain of unknown end may have taken {}",
                verb(explained, "it", "them")
            ));
        }
    }
}
