//! An operation: as a client is asked for it, and what it may answer.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::check::Model;
use crate::text::plain;

/// What a client is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operation {
    /// Its name, as in [`Model::operations`] or [`INIT`].
    pub(super) f: &'static str,
    /// Of which register, set, …
    pub(super) key: String,
    pub(super) value: Option<Value>,
    result: Shape,
}

/// Makes the accounts of a bank. No operation of the model: it comes before all of them.
pub(super) const INIT: &str = "init";

/// What comes back from an operation that has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Nothing,
    Number,
    NumberOrNull,
    Numbers,
    Balances,
}

impl Shape {
    fn of(model: Model, f: &str) -> Self {
        match (f, model) {
            ("read", Model::Register) | ("dequeue", _) => Self::NumberOrNull,
            ("read", Model::Monotonic) | ("inc", _) => Self::Number,
            ("read", Model::Bank) => Self::Balances,
            ("read" | "drain", _) => Self::Numbers,
            _ => Self::Nothing,
        }
    }

    fn fits(self, value: Option<&Value>) -> bool {
        let number = |value: &Value| value.is_i64() || value.is_u64();
        match (self, value) {
            (Self::Nothing, _) => true,
            (Self::Number, Some(value)) => number(value),
            (Self::NumberOrNull, Some(value)) => value.is_null() || number(value),
            (Self::Numbers, Some(Value::Array(values))) => values.iter().all(number),
            (Self::Balances, Some(Value::Object(balances))) => balances.values().all(number),
            _ => false,
        }
    }

    /// An answer with such a value, for people.
    fn example(self) -> &'static str {
        match self {
            Self::Nothing => r#"{"type":"ok"}"#,
            Self::Number => r#"{"type":"ok","value":7}"#,
            Self::NumberOrNull => r#"{"type":"ok","value":7} or, if nothing is there, {"type":"ok","value":null}"#,
            Self::Numbers => r#"{"type":"ok","value":[1,2]}"#,
            Self::Balances => r#"{"type":"ok","value":{"a1":12,"a2":8}}"#,
        }
    }
}

/// How an operation has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// It has happened.
    Ok,
    /// It has not happened.
    Fail,
    /// Nobody knows.
    Info,
}

/// The end of an operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) kind: Kind,
    /// What came back, if something does.
    pub(super) value: Option<Value>,
    pub(super) error: Option<String>,
}

impl Outcome {
    /// Nobody knows whether it has happened, and why.
    pub(super) fn unknown(why: impl Into<String>) -> Self {
        Self { kind: Kind::Info, value: None, error: Some(why.into()) }
    }
}

#[derive(Serialize)]
struct Request<'a> {
    op: &'a str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a Value>,
}

impl Operation {
    pub(super) fn new(model: Model, f: &'static str, key: String, value: Option<Value>) -> Self {
        Self { f, key, value, result: Shape::of(model, f) }
    }

    /// The line that a client reads, with its newline.
    pub(super) fn request(&self) -> String {
        let request = Request { op: self.f, key: &self.key, value: self.value.as_ref() };
        // Nothing in it can fail to be written.
        serde_json::to_string(&request).unwrap_or_default() + "\n"
    }

    /// What a client's line says about it.
    ///
    /// # Errors
    /// A sentence on a line that is no answer to it.
    pub(super) fn outcome(&self, line: &[u8]) -> Result<Outcome, String> {
        let quoted = || plain(String::from_utf8_lossy(line.trim_ascii_end()).as_ref());
        let Ok(answer) = serde_json::from_slice::<Map<String, Value>>(line) else {
            return Err(format!("answered {} with “{}”, which is no JSON object", self.f, quoted()));
        };
        let kind = match answer.get("type").and_then(Value::as_str) {
            Some("ok") => Kind::Ok,
            Some("fail") => Kind::Fail,
            Some("info") => Kind::Info,
            _ => return Err(format!("answered {} with “{}”, whose type is not ok, fail or info", self.f, quoted())),
        };
        let value = answer.get("value");
        if kind == Kind::Ok && !self.result.fits(value) {
            return Err(format!("answered {} with “{}”, and not as {}", self.f, quoted(), self.result.example()));
        }
        let value = value.filter(|_| kind == Kind::Ok && self.result != Shape::Nothing).cloned();
        let error = answer.get("error").map(|error| error.as_str().map_or_else(|| error.to_string(), str::to_owned));
        Ok(Outcome { kind, value, error: error.filter(|_| kind != Kind::Ok) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn operation(model: Model, f: &'static str, value: Option<Value>) -> Operation {
        Operation::new(model, f, "k1".into(), value)
    }

    #[test]
    fn a_client_reads_only_what_matters() {
        let add = operation(Model::Set, "add", Some(json!(7)));
        assert_eq!(add.request(), "{\"op\":\"add\",\"key\":\"k1\",\"value\":7}\n");
        assert_eq!(operation(Model::Set, "read", None).request(), "{\"op\":\"read\",\"key\":\"k1\"}\n");
    }

    #[test]
    fn answers_are_held_against_the_operation() {
        let outcome = |model, f, line: &str| operation(model, f, None).outcome(line.as_bytes());
        let ok = |value: Value| Outcome { kind: Kind::Ok, value: Some(value), error: None };
        assert_eq!(outcome(Model::Set, "read", r#"{"type":"ok","value":[1,2]}"#), Ok(ok(json!([1, 2]))));
        assert_eq!(outcome(Model::Register, "read", r#"{"type":"ok","value":null}"#), Ok(ok(Value::Null)));
        assert_eq!(outcome(Model::Bank, "read", r#"{"type":"ok","value":{"a1":-3}}"#), Ok(ok(json!({"a1": -3}))));
        let nothing = Outcome { kind: Kind::Ok, value: None, error: None };
        assert_eq!(outcome(Model::Set, "add", "{\"type\":\"ok\",\"value\":\"OK\"}\r"), Ok(nothing));
        let failed = Outcome { kind: Kind::Fail, value: None, error: Some("no leader".into()) };
        assert_eq!(outcome(Model::Set, "add", r#"{"type":"fail","error":"no leader"}"#), Ok(failed));
        assert_eq!(outcome(Model::Set, "read", r#"{"type":"info"}"#).unwrap().kind, Kind::Info);
        for (model, f, line, part) in [
            (Model::Set, "add", "ok", "“ok”, which is no JSON object"),
            (Model::Set, "add", "", "“”, which is no JSON object"),
            (Model::Set, "add", "[1]", "no JSON object"),
            (Model::Set, "add", r#"{"type":"okay"}"#, "whose type is not ok, fail or info"),
            (Model::Set, "add", r#"{"ok":true}"#, "whose type is not"),
            (Model::Set, "read", r#"{"type":"ok"}"#, r#"and not as {"type":"ok","value":[1,2]}"#),
            (Model::Set, "read", r#"{"type":"ok","value":["1"]}"#, "and not as"),
            (Model::Register, "read", r#"{"type":"ok"}"#, "null"),
            (Model::Monotonic, "inc", r#"{"type":"ok","value":null}"#, "and not as"),
            (Model::Monotonic, "read", r#"{"type":"ok","value":1.5}"#, "and not as"),
            (Model::Bank, "read", r#"{"type":"ok","value":[1]}"#, "and not as"),
        ] {
            let why = outcome(model, f, line).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
        let long = format!("{}\u{1b}[2J", "x".repeat(1000));
        let why = outcome(Model::Set, "add", &long).unwrap_err();
        assert!(why.len() < 500 && !why.contains('\u{1b}'), "{why}");
    }
}
