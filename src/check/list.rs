//! Lists that only grow at their end: every read is a beginning of what later reads have.

use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::elements::{Elements, Names, report};
use super::findings::{Findings, NEVER, Span, number_of, verb};
use super::gather::{Checker, Operation, Outcome};
use super::in_force::InForce;
use super::value::{Value, Values};

/// Most reads of one list that disagree and are kept; the others are counted.
const MOST_KEPT: usize = 10;

/// The lists, by key: what is in them, and the longest read.
#[derive(Default)]
pub(super) struct Lists {
    elements: IndexMap<Value, Elements>,
    longest: IndexMap<Value, Longest>,
}

#[derive(Default)]
struct Longest {
    items: Vec<Value>,
    read: Option<Span>,
    /// Reads that disagree: where, and what each has there.
    disagree: Vec<Disagreement>,
    further: u64,
}

struct Disagreement {
    reads: [Span; 2],
    at: usize,
    has: [Value; 2],
}

impl Longest {
    fn read(&mut self, items: Vec<Value>, read: Span) {
        let longest = self.read.unwrap_or(read);
        if let Some(at) = self.items.iter().zip(&items).position(|(a, b)| a != b) {
            if self.disagree.len() < MOST_KEPT {
                let has = [self.items[at], items[at]];
                self.disagree.push(Disagreement { reads: [longest, read], at, has });
            } else {
                self.further += 1;
            }
        } else if items.len() > self.items.len() || self.read.is_none() {
            self.items = items;
            self.read = Some(read);
        }
    }
}

impl Checker for Lists {
    fn begin(&mut self, operation: &Operation, values: &Values) -> Result<(), String> {
        if operation.f == "append" {
            let list = self.elements.entry(operation.key).or_default();
            if let Some(earlier) = list.begin(operation) {
                let value = values.show(operation.value);
                return Err(format!(
                    "{value} is appended once more (first in line {}): each value can be appended once",
                    earlier.begin
                ));
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
        let list = self.elements.entry(operation.key).or_default();
        match (operation.f, outcome) {
            ("append", _) => list.end(operation, outcome),
            (_, Outcome::Ok) => {
                let items = values.list(value).map_err(|why| format!("gives {why}"))?;
                list.read(&items, operation.span);
                self.longest.entry(operation.key).or_default().read(items, operation.span);
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self: Box<Self>, values: &Values, in_force: &InForce) -> Findings {
        let mut found = Findings::default();
        report(&self.elements, &Names { one: "element", done: "appended", f: "append" }, values, in_force, &mut found);
        let mut further = 0;
        for (key, longest) in &self.longest {
            for Disagreement { reads: [one, other], at, has } in &longest.disagree {
                let [a, b] = has.map(|value| values.show(value));
                let text = || {
                    format!(
                        "the reads of {one} and {other} disagree: element {} is {a} in the first, {b} in the second",
                        at + 1
                    )
                };
                found.add("order", *key, values, text, &[*one, *other]);
            }
            further += longest.further;
            self.out_of_order(*key, longest, values, &mut found);
        }
        found.add_untold("order", further);
        let wrong = found.count("order");
        if wrong > 0 {
            found.wrong.push(format!("the order is wrong in {}", number_of(wrong, "place")));
        }
        let acknowledged: u64 = self.elements.values().map(|list| list.acknowledged).sum();
        let unread: u64 = self.elements.values().map(Elements::unread).sum();
        let reads: u64 = self.elements.values().map(|list| u64::from(list.reads)).sum();
        if reads == 0 {
            found.unknown.push("nobody read a list".into());
        }
        found.good.push(format!(
            "{} {} there, in one order",
            number_of(acknowledged - unread, "acknowledged element"),
            verb(acknowledged - unread, "is", "are")
        ));
        if unread > 0 {
            found.good.push(format!(
                "{unread} more {} acknowledged when no read began any more",
                verb(unread, "was", "were")
            ));
        }
        found
    }
}

impl Lists {
    /// What was appended after something else was acknowledged must not come before it.
    fn out_of_order(&self, key: Value, longest: &Longest, values: &Values, found: &mut Findings) {
        let Some(elements) = self.elements.get(&key) else { return };
        // The operation that began last, of all before the element.
        let mut last: Option<(Value, Span)> = None;
        for (value, element) in longest.items.iter().filter_map(|value| Some((*value, elements.of.get(value)?))) {
            let Span { begin, end } = element.add;
            if !element.add.is_some() {
                continue;
            }
            if let Some((other, late)) = last
                && element.is_acknowledged
                && end < late.begin
            {
                let (value, other) = (values.show(value), values.show(other));
                let text = || {
                    format!(
                        "{value} was acknowledged ({}) before the append of {other} ({late}) began, and comes after it",
                        element.add
                    )
                };
                found.add("order", key, values, text, &[element.add, late, longest.read.unwrap_or(Span::NONE)]);
            }
            if last.is_none_or(|(_, late)| late.begin < begin) {
                last = Some((value, element.add));
            }
        }
        let Some((other, late)) = last else { return };
        let there: std::collections::HashSet<&Value> = longest.items.iter().collect();
        for (value, element) in &elements.of {
            let is_behind = element.is_acknowledged && element.add.end != NEVER && element.add.end < late.begin;
            if is_behind && !element.is_missed() && !there.contains(value) {
                let (value, other, read) =
                    (values.show(*value), values.show(other), longest.read.unwrap_or(Span::NONE));
                let text = || {
                    format!(
                        "{value} was acknowledged ({}) before the append of {other} ({late}) began, and the read of {read} has only that",
                        element.add
                    )
                };
                found.add("order", key, values, text, &[element.add, late, read]);
            }
        }
    }
}
