//! JSON that is kept as it was written: what a test appends is nobody's to change.

use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Longest line that a test may append, in bytes.
pub const LONGEST_LINE: usize = 64 * 1024;

/// A JSON object, as somebody wrote it: order of its keys, digits of its numbers, escapes in its strings.
#[derive(Clone, Debug)]
pub struct Object(Box<RawValue>);

impl Object {
    /// Its text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(from).map(Self)
    }
}

/// The text of an object, without the white space around it; `None` if the line is blank. Else why it is none, as the end
/// of a sentence.
fn checked(line: &[u8]) -> Result<Option<&str>, String> {
    if line.len() > LONGEST_LINE {
        return Err(format!("longer than {LONGEST_LINE} bytes"));
    }
    let line = line.trim_ascii();
    if line.is_empty() {
        return Ok(None);
    }
    let Ok(text) = std::str::from_utf8(line) else {
        return Err("not UTF-8 text".into());
    };
    if !text.starts_with('{') {
        return Err("no JSON object".into());
    }
    // Read as values, which bounds how deep it is nested: who reads the history will do the same.
    serde_json::from_str::<Checked>(text).map_err(|error| {
        let why = error.to_string();
        // There is but one line: its number would only puzzle.
        format!("no JSON object: {}", why.replace(" at line 1 column ", " at column "))
    })?;
    Ok(Some(text))
}

/// Lines of a test's, to be appended next to each other. One piece of memory, however many lines a write has.
#[derive(Debug, Default)]
pub struct Batch(String);

impl Batch {
    /// Adds a line without its newline, if it is not blank.
    ///
    /// # Errors
    /// Why it is no JSON object, as the end of a sentence.
    pub fn push(&mut self, line: &[u8]) -> Result<(), String> {
        if let Some(text) = checked(line)? {
            self.0.push_str("\"test\":");
            for (nth, part) in text.split('\r').enumerate() {
                self.0.push_str(if nth == 0 { "" } else { " " });
                self.0.push_str(part);
            }
            self.0.push_str("}\n");
        }
        Ok(())
    }

    /// What the lines say, each with its newline, as [`super::entry::body`] gives it.
    pub(super) fn bodies(&self) -> impl Iterator<Item = &str> {
        self.0.split_inclusive('\n')
    }

    /// Whether there is nothing to append.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Any value, thrown away.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Self)
    }
}

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = Self;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element_seed(Self)?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry_seed(Self, Self)?.is_some() {}
        Ok(self)
    }
}

/// The members of a JSON object in their order, each value as it was written.
pub(super) struct Members<'a>(pub Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Self::Value = vec![];
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    // The last of a name counts, as for every other reader.
                    members.retain(|(name, _)| *name != key);
                    members.push((key, value));
                }
                Ok(members)
            }
        }
        from.deserialize_map(InOrder).map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(line: &str) -> String {
        let mut batch = Batch::default();
        batch.push(line.as_bytes()).unwrap();
        batch.bodies().map(|body| body.strip_prefix("\"test\":").unwrap().strip_suffix("}\n").unwrap()).collect()
    }

    #[test]
    fn an_object_is_kept_as_it_was() {
        for line in [
            r#"{"op":"write","key":"x","value":1}"#,
            r#"{"z":1,"a":2,"z":3}"#,
            r#"{"big":123456789012345678901234567890,"exact":0.10000000000000000000001,"e":1.0E+2}"#,
            r#"{"escaped":"\u00e9\n\"","plain":"é😀"}"#,
            r#"{ "spaced" : [ 1 , { } ] }"#,
            "{}",
        ] {
            assert_eq!(kept(line), line);
        }
        assert_eq!(kept(" {\"a\":\r1}\r"), "{\"a\": 1}");
        for blank in ["", " ", "\r", "\t "] {
            assert_eq!(kept(blank), "");
        }
    }

    #[test]
    fn what_is_no_object() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(LONGEST_LINE));
        let cases: [(&[u8], &str); 12] = [
            (b"[1]", "no JSON object"),
            (b"\"x\"", "no JSON object"),
            (b"1", "no JSON object"),
            (b"{\"a\":1", "column"),
            (b"{\"a\":1}x", "trailing"),
            (b"{'a':1}", "column"),
            (b"{\"a\":01}", "column"),
            (b"{\"a\":NaN}", "column"),
            (b"{\"a\":\"\x00\"}", "column"),
            (b"{\"a\":\"\xff\"}", "UTF-8"),
            (deep.as_bytes(), "recursion"),
            (long.as_bytes(), "longer"),
        ];
        for (line, word) in cases {
            let why = Batch::default().push(line).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }
}
