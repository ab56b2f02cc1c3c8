//! JSON kept as it was written: what a test appends is never changed.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::HistoryEvent;

/// Longest line that a test may append, in bytes.
pub(crate) const LONGEST_LINE: usize = 64 * 1024;

/// How deep a line of the history may be nested, in objects and lists. Below what readers take: serde_json 127, jq 256 and
/// more.
pub(super) const DEEPEST_LINE: usize = DEEPEST + 1;
/// The same for an object that a test appends, which becomes a member of a line.
const DEEPEST: usize = 120;

/// How deep a JSON text is nested.
pub(super) fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// A JSON object that can be read as values, and keeps its text: order of its keys, digits of its numbers, escapes in
/// its strings.
#[derive(Clone, Debug)]
pub struct Object(Box<RawValue>);

impl Object {
    /// From brace to brace.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The members as values. Of two with the same name, the last one.
    pub(crate) fn values(&self) -> serde_json::Map<String, serde_json::Value> {
        // Cannot fail: `Deserialize` has checked it.
        serde_json::from_str(self.as_str()).unwrap_or_default()
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
        let object = Box::<RawValue>::deserialize(from)?;
        check(object.get()).map_err(D::Error::custom)?;
        Ok(Self(object))
    }
}

/// The text of an object, without the white space around it; `None` if the line is blank. The error is the end of a
/// sentence: why it is no object.
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
    check(text)?;
    Ok(Some(text))
}

/// Checks that a text is an object that every reader of a history can read. The error is the end of a sentence.
fn check(text: &str) -> Result<(), String> {
    if !text.starts_with('{') {
        return Err("no JSON object".into());
    }
    if depth(text.as_bytes()) > DEEPEST {
        return Err(format!("nested more than {DEEPEST} deep"));
    }
    // As values, as a reader would: numbers and escapes must be valid.
    serde_json::from_str::<Checked>(text).map(drop).map_err(|error| {
        let why = error.to_string();
        // The user's line has another number than 1.
        format!("no JSON object: {}", why.replace(" at line 1 column ", " at column "))
    })
}

/// Lines that a test appends with one write, in one piece of memory.
#[derive(Debug, Default)]
pub struct Batch(String);

impl Batch {
    /// Adds a line without its newline, if it is not blank.
    ///
    /// # Errors
    /// Why it is no JSON object, as the end of a sentence.
    pub fn push(&mut self, line: &[u8]) -> Result<(), String> {
        let Some(text) = checked(line)? else { return Ok(()) };
        if let Some(event) = HistoryEvent::appended(text) {
            self.0.push_str(&event.body());
        } else {
            self.0.push_str("\"test\":");
            for (nth, part) in text.split('\r').enumerate() {
                self.0.push_str(if nth == 0 { "" } else { " " });
                self.0.push_str(part);
            }
            self.0.push_str("}\n");
        }
        Ok(())
    }

    /// The lines without number and times, each with its newline, as from [`super::HistoryEvent::body`].
    pub(super) fn bodies(&self) -> impl Iterator<Item = &str> {
        self.0.split_inclusive('\n')
    }

    /// Whether all lines were blank.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A valid value, which is not kept.
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
pub(super) struct Members<'a>(pub(crate) Vec<(String, &'a RawValue)>);

impl Members<'_> {
    /// The value of a member; `None` if there is no such member.
    pub(crate) fn get<T: DeserializeOwned>(&self, name: &str) -> serde_json::Result<Option<T>> {
        let member = self.0.iter().find(|(key, _)| key == name);
        member.map(|(_, json)| serde_json::from_str(json.get())).transpose()
    }
}

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
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                // Of two members with the same name the last one counts, as in other JSON readers.
                let mut seen = HashSet::new();
                let mut last: Vec<_> = members.iter().rev().map(|(name, _)| seen.insert(name.clone())).collect();
                members.retain(|_| last.pop().unwrap_or(true));
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
    fn what_a_nemesis_or_a_checker_appends_is_a_line_of_its_kind() {
        let body = |line: &str| {
            let mut batch = Batch::default();
            batch.push(line.as_bytes()).unwrap();
            batch.bodies().collect::<String>()
        };
        let healed = r#"{"nemesis":{"phase":"healed"}}"#;
        assert_eq!(body(healed), format!("{}\n", &healed[1..]));
        let verdict = r#"{"verdict":{"model":"set","result":"good","text":"all is there","operations":3}}"#;
        assert_eq!(body(verdict), format!("{}\n", &verdict[1..]));
        for own in [
            r#"{"nemesis":{"phase":"asleep"}}"#,
            r#"{"nemesis":"x"}"#,
            r#"{"verdict":{"model":"set"}}"#,
            r#"{"nemesis":{"phase":"healed"},"n":1}"#,
            r#"{"role":{"name":"leader","nodes":[]}}"#,
        ] {
            assert_eq!(kept(own), own);
        }
    }

    #[test]
    fn what_is_appended_can_be_read_with_the_rest_of_its_line() {
        let deep = format!("{{\"a[\\\"[\":{}{}}}", "[".repeat(DEEPEST - 1), "]".repeat(DEEPEST - 1));
        assert_eq!(kept(&deep), deep);
        let line = format!("{{\"seq\":1,\"test\":{deep}}}");
        assert_eq!(depth(line.as_bytes()), DEEPEST_LINE);
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }

    #[test]
    fn what_is_no_object() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(DEEPEST), "]".repeat(DEEPEST));
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
            (deep.as_bytes(), "nested more than 120 deep"),
            (long.as_bytes(), "longer"),
        ];
        for (line, word) in cases {
            let why = Batch::default().push(line).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }
}
