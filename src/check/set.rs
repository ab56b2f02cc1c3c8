//! Sets: what was added must be there.

use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::elements::{Elements, Names, report};
use super::findings::{Findings, number_of, verb};
use super::gather::{Checker, Operation, Outcome};
use super::in_force::InForce;
use super::value::{Value, Values};

/// The sets, by key.
#[derive(Default)]
pub(super) struct Sets(IndexMap<Value, Elements>);

impl Checker for Sets {
    fn begin(&mut self, operation: &Operation, _: &Values) -> Result<(), String> {
        if operation.f == "add" {
            // To add again what was added changes nothing.
            self.0.entry(operation.key).or_default().begin(operation);
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
        let set = self.0.entry(operation.key).or_default();
        match (operation.f, outcome) {
            ("add", _) => set.end(operation, outcome),
            (_, Outcome::Ok) => {
                let there = values.list(value).map_err(|why| format!("gives {why}"))?;
                set.read(&there, operation.span);
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self: Box<Self>, values: &Values, in_force: &InForce) -> Findings {
        let mut found = Findings::default();
        report(&self.0, &Names { one: "element", done: "added", f: "add" }, values, in_force, &mut found);
        let acknowledged: u64 = self.0.values().map(|set| set.acknowledged).sum();
        let unread: u64 = self.0.values().map(Elements::unread).sum();
        if self.0.values().all(|set| set.reads == 0) {
            found.unknown.push("nobody read the set".into());
        } else if unread > 0 {
            found.unknown.push(format!(
                "{unread} of {} {} not looked for: no read began after that, so read the set once more at the end",
                number_of(acknowledged, "acknowledged element"),
                verb(unread, "was", "were"),
            ));
        } else {
            found.good.push(match acknowledged {
                0 => "no element was acknowledged, and none is unexpected".into(),
                1 => "the one acknowledged element is there".into(),
                many => format!("all {many} acknowledged elements are there"),
            });
        }
        found
    }
}
