//! What operations are about: JSON values, each in eight bytes, and equal if they mean the same.

use indexmap::IndexSet;
use serde_json::value::RawValue;

/// Most characters of a value in a sentence.
const SHOWN: usize = 60;
/// Integers up to this are themselves as doubles, in bytes and in JSON of other languages.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A value: an integer (its low bit is set), or the number of a text in [`Values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Value(i64);

impl Value {
    /// JSON's null, and a member that is missing.
    pub(super) const NULL: Self = Self(0);
}

/// The texts of all values that are not small integers.
#[derive(Debug)]
pub(super) struct Values(IndexSet<Box<str>>);

impl Values {
    pub(super) fn new() -> Self {
        Self(IndexSet::from(["null".into()]))
    }

    /// A value as it was written; null if it is missing.
    pub(super) fn value(&mut self, json: Option<&RawValue>) -> Value {
        let Some(json) = json.map(RawValue::get) else { return Value::NULL };
        if let Ok(number) = json.parse::<i64>() {
            return self.integer(number);
        }
        // What two clients write differently and mean the same is written in one way: escapes, order of keys, 1 and 1.0.
        let text = match serde_json::from_str(json) {
            // More digits than a double has.
            Ok(serde_json::Value::Number(_)) if json.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => {
                json.to_owned()
            }
            Ok(value) => match normal(value) {
                serde_json::Value::Number(number) if number.is_i64() => {
                    return self.integer(number.as_i64().unwrap_or_default());
                }
                value => value.to_string(),
            },
            Err(_) => json.to_owned(),
        };
        self.text_of(text)
    }

    fn integer(&mut self, number: i64) -> Value {
        match number.checked_mul(2) {
            Some(twice) => Value(twice | 1),
            None => self.text_of(number.to_string()),
        }
    }

    fn text_of(&mut self, text: String) -> Value {
        let index = self.0.insert_full(text.into()).0;
        Value(i64::try_from(index).unwrap_or_default() * 2)
    }

    /// The values in a list.
    ///
    /// # Errors
    /// It is no list; as the end of a sentence.
    pub(super) fn list(&mut self, json: Option<&RawValue>) -> Result<Vec<Value>, String> {
        match json.map(|json| serde_json::from_str::<Vec<&RawValue>>(json.get())) {
            Some(Ok(items)) => Ok(items.into_iter().map(|item| self.value(Some(item))).collect()),
            _ => Err(format!("{}, which is no list", shown(json))),
        }
    }

    /// As JSON.
    pub(super) fn json(&self, value: Value) -> String {
        if value.0 & 1 == 1 {
            return (value.0 >> 1).to_string();
        }
        let index = usize::try_from(value.0 / 2).unwrap_or_default();
        self.0.get_index(index).map(ToString::to_string).unwrap_or_default()
    }

    /// For a sentence: not too long.
    pub(super) fn show(&self, value: Value) -> String {
        cut(&self.json(value), SHOWN)
    }

    /// The key as a sentence about it begins, if there is one.
    pub(super) fn of_key(&self, key: Value) -> String {
        if key == Value::NULL { String::new() } else { format!("{}: ", self.show(key)) }
    }
}

/// With whole numbers as integers, at any depth.
fn normal(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole, and small enough")]
        Value::Number(number) => match number.as_f64() {
            Some(whole) if number.is_f64() && whole.fract() == 0.0 && whole.abs() <= EXACT => (whole as i64).into(),
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(normal).collect(),
        Value::Object(members) => members.into_iter().map(|(name, value)| (name, normal(value))).collect(),
        other => other,
    }
}

/// What a line has as a value, for a sentence.
pub(super) fn shown(json: Option<&RawValue>) -> String {
    cut(json.map_or("null", RawValue::get), SHOWN)
}

/// The first `most` characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// An integer.
///
/// # Errors
/// It is none; as the end of a sentence.
pub(super) fn integer(json: Option<&RawValue>) -> Result<i64, String> {
    let number = json.and_then(|json| serde_json::from_str(json.get()).ok());
    number.ok_or_else(|| format!("{}, which is no whole number (of 64 bits)", shown(json)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_equal_if_they_mean_the_same() {
        let mut values = Values::new();
        let mut value = |json: &str| values.value(Some(&RawValue::from_string(json.into()).unwrap()));
        for (a, b) in [
            ("1", "1.0"),
            ("-3", "-3e0"),
            ("\"é\"", "\"\\u00e9\""),
            ("{\"a\":1,\"b\":[2]}", "{ \"b\" : [2.0], \"a\":1 }"),
            ("null", "null"),
            ("5000000000000000000", "5000000000000000000"),
        ] {
            assert_eq!(value(a), value(b), "{a}");
        }
        for (a, b) in [
            ("1", "2"),
            ("1", "\"1\""),
            ("0", "null"),
            ("9223372036854775807", "9223372036854775806"),
            ("123456789012345678901234567890", "123456789012345678901234567891"),
            ("0.1", "0.2"),
            ("[1]", "[2]"),
        ] {
            assert_ne!(value(a), value(b), "{a}");
        }
        assert_eq!(value("null"), Value::NULL);
        for json in ["-4611686018427387904", "4611686018427387903", "9223372036854775807", "\"x\"", "null", "-7", "0.5"]
        {
            let value = values.value(Some(&RawValue::from_string(json.into()).unwrap()));
            assert_eq!(values.json(value), json);
        }
    }
}
