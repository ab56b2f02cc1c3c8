//! From the test's lines to operations: each invoke with its completion, handed to a model's checker in the order of the
//! lines. Nothing is kept of an operation that has ended.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Model;
use super::findings::{Findings, NEVER, Span};
use super::in_force::InForce;
use super::value::{Value, Values, shown};

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It happened.
    Ok,
    /// It did not happen.
    Failed {
        /// Whether the line says what went wrong: then the system may not have been asked.
        has_error: bool,
    },
    /// Nobody knows.
    Unknown,
}

/// An operation that has begun.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) f: &'static str,
    pub(super) key: Value,
    /// What is written, added, …; null if it only asks.
    pub(super) value: Value,
    /// Of `cas`, what is to be there instead.
    pub(super) new: Value,
    /// Without its end as long as it is under way.
    pub(super) span: Span,
}

/// Holds operations against a model.
pub(super) trait Checker {
    /// An operation begins.
    ///
    /// # Errors
    /// It makes no sense; as the end of a sentence that begins with its line.
    fn begin(&mut self, operation: &Operation, values: &Values) -> Result<(), String>;

    /// An operation has ended, with this value in the last line; or the history has, and it is unknown.
    ///
    /// # Errors
    /// As of `begin`.
    fn end(
        &mut self,
        operation: &Operation,
        outcome: Outcome,
        value: Option<&RawValue>,
        values: &mut Values,
    ) -> Result<(), String>;

    /// What was found. `in_force` has all faults of the history.
    fn finish(self: Box<Self>, values: &Values, in_force: &InForce) -> Findings;
}

/// Collects operations.
pub(super) struct Gathering {
    model: Model,
    pub(super) checker: Box<dyn Checker>,
    pub(super) values: Values,
    /// What each process has under way.
    open: HashMap<Value, Operation>,
    /// Of those that the model knows.
    pub(super) begun: u64,
    pub(super) acknowledged: u64,
    /// How many it does not know, and the names of the first of them.
    pub(super) others: u64,
    pub(super) other_names: BTreeSet<String>,
    /// Why this is no sequence of operations, if that is so: a sentence. Nothing is taken any more then.
    pub(super) broken: Option<String>,
}

/// Most names of operations that are kept because they are unknown.
const MOST_OTHERS: usize = 20;

impl Gathering {
    pub(super) fn new(model: Model, checker: Box<dyn Checker>) -> Self {
        Self {
            model,
            checker,
            values: Values::new(),
            open: HashMap::new(),
            begun: 0,
            acknowledged: 0,
            others: 0,
            other_names: BTreeSet::new(),
            broken: None,
        }
    }

    /// Takes an object of the test, in line `at`.
    pub(super) fn take(&mut self, at: u32, object: &str) {
        if self.broken.is_some() {
            return;
        }
        // An object: it was checked when the line was read.
        let Ok(line) = serde_json::from_str::<Line<'_>>(object) else { return };
        let (Some(kind), Some(f)) = (word(line.kind), word(line.f)) else { return };
        if !matches!(&*kind, "invoke" | "ok" | "fail" | "info") {
            return;
        }
        let Some(f) = self.model.operations().iter().find(|known| **known == f) else {
            if kind == "invoke" {
                self.others += 1;
                if self.other_names.len() < MOST_OTHERS && !self.other_names.contains(&*f) {
                    self.other_names.insert(f.into_owned());
                }
            }
            return;
        };
        let taken = if kind == "invoke" { self.begin(at, f, &line) } else { self.end(at, &kind, f, &line) };
        if let Err(why) = taken {
            self.broken = Some(format!("line {at} makes no sense: {why}"));
        }
    }

    fn begin(&mut self, at: u32, f: &'static str, line: &Line<'_>) -> Result<(), String> {
        let process = self.values.value(line.process);
        if let Some(open) = self.open.get(&process) {
            return Err(format!(
                "process {} begins “{f}” before its “{}” of line {} has ended",
                self.values.show(process),
                open.f,
                open.span.begin
            ));
        }
        let (value, new) = self.asked(f, line.value)?;
        let key = self.values.value(line.key);
        let operation = Operation { f, key, value, new, span: Span { begin: at, end: NEVER } };
        self.checker.begin(&operation, &self.values)?;
        self.begun += 1;
        self.open.insert(process, operation);
        Ok(())
    }

    /// What an invoke asks for.
    fn asked(&mut self, f: &str, value: Option<&RawValue>) -> Result<(Value, Value), String> {
        match f {
            "add" | "enqueue" | "append" | "write" if value.is_none() && f != "write" => {
                Err(format!("“{f}” without a value"))
            }
            "add" | "enqueue" | "append" | "write" => Ok((self.values.value(value), Value::NULL)),
            "cas" => match self.values.list(value).as_deref() {
                Ok([old, new]) => Ok((*old, *new)),
                _ => Err(format!("“cas” has {}, not [OLD,NEW]", shown(value))),
            },
            "transfer" => {
                let transfer = value.map(|value| serde_json::from_str::<Transfer>(value.get()));
                let wrong = || format!(r#"“transfer” has {}, not {{"from":A,"to":B,"amount":N}}"#, shown(value));
                transfer.and_then(Result::ok).map(|_| (Value::NULL, Value::NULL)).ok_or_else(wrong)
            }
            _ => Ok((Value::NULL, Value::NULL)),
        }
    }

    fn end(&mut self, at: u32, kind: &str, f: &'static str, line: &Line<'_>) -> Result<(), String> {
        let process = self.values.value(line.process);
        let Some(mut operation) = self.open.remove(&process) else {
            return Err(format!(
                "“{f}” of process {} ends ({kind}), and no invoke of it is there",
                self.values.show(process)
            ));
        };
        let begun = operation.span.begin;
        if operation.f != f {
            return Err(format!("“{f}” ends, and what line {begun} began is “{}”", operation.f));
        }
        let key = self.values.value(line.key);
        if key != operation.key && line.key.is_some() {
            return Err(format!("it has another key than line {begun}, where the operation began"));
        }
        let gives = matches!(f, "read" | "dequeue" | "drain" | "inc");
        if !gives && line.value.is_some() && f != "transfer" {
            let (value, new) = self.asked(f, line.value)?;
            if (value, new) != (operation.value, operation.new) {
                return Err(format!("it has another value than line {begun}, where the operation began"));
            }
        }
        operation.span.end = at;
        let outcome = match kind {
            "ok" => Outcome::Ok,
            "fail" => Outcome::Failed { has_error: line.error.is_some() },
            _ => Outcome::Unknown,
        };
        self.acknowledged += u64::from(outcome == Outcome::Ok);
        let told = |why| format!("“{f}” {why}");
        self.checker.end(&operation, outcome, line.value, &mut self.values).map_err(told)
    }

    /// Ends what is still under way.
    pub(super) fn close(&mut self) {
        let mut open: Vec<Operation> = std::mem::take(&mut self.open).into_values().collect();
        open.sort_unstable_by_key(|operation| operation.span);
        for operation in open {
            if let Err(why) = self.checker.end(&operation, Outcome::Unknown, None, &mut self.values) {
                self.broken.get_or_insert(why);
            }
        }
    }
}

/// A value that stands for nothing but its shape.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only their being there is checked")]
struct Transfer {
    from: serde_json::Value,
    to: serde_json::Value,
    amount: serde_json::Number,
}

/// The members of an operation; null counts as missing.
#[derive(Default)]
struct Line<'a> {
    process: Option<&'a RawValue>,
    kind: Option<&'a RawValue>,
    f: Option<&'a RawValue>,
    key: Option<&'a RawValue>,
    value: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Member {
    Process,
    Type,
    F,
    Key,
    Value,
    Error,
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Line<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Line<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            // Not derived: of two members with the same name the last one counts, as in other readers of the history.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut line = Line::default();
                while let Some(name) = map.next_key()? {
                    let value = map.next_value::<&'de RawValue>()?;
                    let value = (value.get() != "null").then_some(value);
                    match name {
                        Member::Process => line.process = value,
                        Member::Type => line.kind = value,
                        Member::F => line.f = value,
                        Member::Key => line.key = value,
                        Member::Value => line.value = value,
                        Member::Error => line.error = value,
                        Member::Other => {}
                    }
                }
                Ok(line)
            }
        }
        from.deserialize_map(Members)
    }
}

/// A string, without the colon that Jepsen's keywords begin with.
fn word(json: Option<&RawValue>) -> Option<Cow<'_, str>> {
    let json = json?.get();
    if let Ok(plain) = serde_json::from_str::<&str>(json) {
        return Some(plain.trim_start_matches(':').into());
    }
    let escaped = serde_json::from_str::<String>(json).ok()?;
    Some(escaped.trim_start_matches(':').to_owned().into())
}
