//! Lines of a history as EDN, one map a line, for Jepsen and the tools that read its histories.
//!
//! Works on the members as they were written, not on [`super::HistoryLine`]: kinds of other versions are printed too.

use std::fmt::Write;

use serde::de::Error;
use serde_json::value::RawValue;

use super::json::{DEEPEST_LINE, Members, depth};

type Result<T> = serde_json::Result<T>;

/// Turns lines of a history into EDN, one after the other.
#[derive(Debug, Default)]
pub struct Writer {
    index: u64,
    /// `mono_ns` of the first line.
    began: Option<u64>,
}

impl Writer {
    /// The EDN map of one line, without a newline. `:index` counts from 0, `:time` is in ns since the first line.
    ///
    /// # Errors
    /// What is wrong with the line, as serde says it.
    pub fn line(&mut self, line: &str) -> Result<String> {
        // `value` parses each level again and calls itself.
        if depth(line.as_bytes()) > DEEPEST_LINE {
            return Err(Error::custom(format_args!("nested more than {DEEPEST_LINE} deep")));
        }
        let members: Members<'_> = serde_json::from_str(line)?;
        let mono_ns: u64 = members.get("mono_ns")?.ok_or_else(|| Error::missing_field("mono_ns"))?;
        let is_kind = |name: &str| !matches!(name, "seq" | "time" | "mono_ns");
        let kind = members.0.iter().find(|(name, _)| is_kind(name));
        let (kind, content) = kind.ok_or_else(|| Error::custom("a line that says nothing"))?;
        let began = *self.began.get_or_insert(mono_ns);
        // An earlier boot's clock may have been ahead.
        let time = i128::from(mono_ns) - i128::from(began);
        let mut out = format!("{{:index {}, :time {time}, ", self.index);
        if kind == "test" {
            test(&mut out, content)?;
        } else {
            nemesis(&mut out, kind, content)?;
        }
        out.push('}');
        self.index += 1;
        Ok(out)
    }
}

/// A line of cthulhu's own. Jepsen calls what makes failures the nemesis.
fn nemesis(out: &mut String, kind: &str, content: &RawValue) -> Result<()> {
    let members: Members<'_> = serde_json::from_str(content.get())?;
    let verb: Option<String> = if kind == "command" { members.get("verb")? } else { None };
    out.push_str(":type :info, :process :nemesis, :f ");
    keyword(out, verb.as_deref().unwrap_or(kind));
    out.push_str(", :value ");
    value(out, content)
}

/// A test's own object. Keys that mean something to Jepsen keep that meaning if the value's type allows it.
fn test(out: &mut String, content: &RawValue) -> Result<()> {
    let members: Members<'_> = serde_json::from_str(content.get())?;
    for (name, otherwise) in [("type", ":info"), ("process", ":test"), ("f", ":test"), ("value", "nil")] {
        let given = members.0.iter().find(|(key, _)| key == name).map(|(_, given)| *given);
        let _ = write!(out, ":{name} ");
        match given {
            None => out.push_str(otherwise),
            Some(given) if name != "value" && given.get().starts_with('"') => {
                keyword(out, &serde_json::from_str::<String>(given.get())?);
            }
            Some(given) => value(out, given)?,
        }
        out.push_str(", ");
    }
    for (key, given) in &members.0 {
        match key.as_str() {
            "type" | "process" | "f" | "value" => continue,
            // The map has these already.
            "index" | "time" => {
                let _ = write!(out, ":test/{key}");
            }
            _ => keyword(out, key),
        }
        out.push(' ');
        value(out, given)?;
        out.push_str(", ");
    }
    out.truncate(out.len() - 2);
    Ok(())
}

fn value(out: &mut String, json: &RawValue) -> Result<()> {
    let text = json.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            let members: Members<'_> = serde_json::from_str(text)?;
            out.push('{');
            for (nth, (key, json)) in members.0.iter().enumerate() {
                out.push_str(if nth == 0 { "" } else { ", " });
                keyword(out, key);
                out.push(' ');
                value(out, json)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            out.push('[');
            for (nth, json) in serde_json::from_str::<Vec<&RawValue>>(text)?.into_iter().enumerate() {
                out.push_str(if nth == 0 { "" } else { " " });
                value(out, json)?;
            }
            out.push(']');
        }
        Some(b'"') => string(out, &serde_json::from_str::<String>(text)?),
        Some(b'n') => out.push_str("nil"),
        Some(b't' | b'f') => out.push_str(text),
        _ => number(out, text),
    }
    Ok(())
}

/// A number keeps its digits: an integer beyond 64 bits gets EDN's suffix N, for any precision.
fn number(out: &mut String, text: &str) {
    out.push_str(text);
    if !text.contains(['.', 'e', 'E']) && text.parse::<i64>().is_err() {
        out.push('N');
    }
}

/// A keyword if the text can be one, else a string.
fn keyword(out: &mut String, text: &str) {
    let begins = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '*' | '!' | '?');
    let goes_on = |c: char| begins(c) || c.is_ascii_digit() || matches!(c, '-' | '.' | '+' | '<' | '>' | '=');
    if text.starts_with(begins) && text.chars().all(goes_on) {
        out.push(':');
        out.push_str(text);
    } else {
        string(out, text);
    }
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edn(kind: &str) -> String {
        let line = |mono: u64| format!(r#"{{"seq":9,"time":"t","mono_ns":{mono},{kind}}}"#);
        let mut writer = Writer::default();
        writer.line(&line(100)).unwrap();
        writer.line(&line(117)).unwrap().strip_prefix("{:index 1, :time 17, ").unwrap().to_owned()
    }

    #[test]
    fn operations_of_a_test() {
        let whole =
            r#""test":{"type":"invoke","process":0,"f":"write","value":[1,null,"a"],"key":"x y","extra":{"a":1}}"#;
        assert_eq!(
            edn(whole),
            r#":type :invoke, :process 0, :f :write, :value [1 nil "a"], :key "x y", :extra {:a 1}}"#
        );
        assert_eq!(
            edn(r#""test":{"op":"write","time":5,"a b":1,"1st":true,"process":"p 1"}"#),
            r#":type :info, :process "p 1", :f :test, :value nil, :op "write", :test/time 5, "a b" 1, "1st" true}"#
        );
        assert_eq!(edn(r#""test":{}"#), ":type :info, :process :test, :f :test, :value nil}");
    }

    #[test]
    fn what_cthulhu_tells_is_the_nemesis() {
        assert_eq!(
            edn(r#""command":{"id":1,"phase":"invoke","line":"stop \"","verb":"stop","nodes":["i001"]}"#),
            r#":type :info, :process :nemesis, :f :stop, :value {:id 1, :phase "invoke", :line "stop \"", :verb "stop", :nodes ["i001"]}}"#
        );
        assert_eq!(edn(r#""fault":{"links":[]}"#), ":type :info, :process :nemesis, :f :fault, :value {:links []}}");
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_at_once() {
        let line = |depth: usize| {
            format!(r#"{{"mono_ns":1,"test":{{"v":{}{}}}}}"#, "[".repeat(depth - 2), "]".repeat(depth - 2))
        };
        assert!(Writer::default().line(&line(DEEPEST_LINE)).unwrap().contains(&"[".repeat(DEEPEST_LINE - 2)));
        for too_deep in [DEEPEST_LINE + 1, 1_000_000] {
            let error = Writer::default().line(&line(too_deep)).unwrap_err().to_string();
            assert_eq!(error, "nested more than 121 deep");
        }
    }

    #[test]
    fn very_many_members_are_written_as_they_were_read() {
        let members: Vec<_> = (0..200_000).map(|nth| format!(r#""k{nth}":{nth}"#)).collect();
        let line = format!(r#"{{"mono_ns":1,"test":{{{}}}}}"#, members.join(","));
        assert!(Writer::default().line(&line).unwrap().ends_with(", :k199999 199999}"));
    }

    #[test]
    fn numbers_and_strings_keep_what_they_are() {
        let value = |json: &str| {
            let mut out = String::new();
            super::value(&mut out, serde_json::from_str(json).unwrap()).unwrap();
            out
        };
        assert_eq!(value("123456789012345678901234567890"), "123456789012345678901234567890N");
        assert_eq!(value("18446744073709551615"), "18446744073709551615N");
        assert_eq!(value("-9223372036854775808"), "-9223372036854775808");
        assert_eq!(value("0.10"), "0.10");
        assert_eq!(value("1E+2"), "1E+2");
        assert_eq!(value(r#""a\"\\\n\u0001é\u2028""#), "\"a\\\"\\\\\\n\\u0001é\u{2028}\"");
        assert_eq!(value(r#"{"a":1,"a":2}"#), "{:a 2}");
    }
}
