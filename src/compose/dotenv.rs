//! Files of variables: `.env` and those that `env_file` names.

use std::collections::HashMap;

use super::interpolate::{Interpolated, interpolate};

/// What editors on Windows begin a text with.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A line that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    /// From 1.
    pub(super) line: u32,
    /// A sentence.
    pub(super) why: String,
}

/// Reads `NAME=VALUE` lines. A value may stand in single quotes, where nothing is replaced, or in double quotes, with `\n` and the
/// like; both may go over several lines. Elsewhere ` #` begins a comment. `$X` is replaced from the lines above and `lookup`. A
/// name alone takes its value from `lookup`; without one there, it is left out.
///
/// # Errors
/// The first line that is wrong.
pub(super) fn variables(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>, BadLine> {
    let (mut found, mut above) = (vec![], HashMap::<String, String>::new());
    let mut lines = Lines { rest: text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text), line: 0 };
    while let Some(line) = lines.next() {
        let at = lines.line;
        let wrong = |why: String| BadLine { line: at, why };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let Some((name, value)) = line.split_once(['=', ':']) else {
            let name = line.split_once(" #").map_or(line, |(name, _)| name).trim_end();
            check_name(name).map_err(wrong)?;
            found.extend(lookup(name).map(|value| (name.to_owned(), value)));
            continue;
        };
        let name = name.trim_end();
        check_name(name).map_err(wrong)?;
        let known = |name: &str| lookup(name).or_else(|| above.get(name).cloned());
        let value = lines.value(value.trim_start(), &known).map_err(wrong)?;
        above.insert(name.to_owned(), value.clone());
        found.push((name.to_owned(), value));
    }
    Ok(found)
}

/// Reads `NAME=VALUE` lines as `docker run --env-file` does: the value is all that follows, as it is.
///
/// # Errors
/// The first line that is wrong.
pub(super) fn raw_variables(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, BadLine> {
    let mut found = vec![];
    for (line, at) in text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).lines().zip(1..) {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) =
            line.split_once('=').map_or((line, lookup(line)), |(name, value)| (name, Some(value.to_owned())));
        check_name(name).map_err(|why| BadLine { line: at, why })?;
        found.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(found)
}

fn check_name(name: &str) -> Result<(), String> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '$' | '=');
    if name.is_empty() || name.contains(bad) {
        return Err(format!("'{}' is not of the form NAME=VALUE", crate::text::shown(name)));
    }
    Ok(())
}

struct Lines<'a> {
    rest: &'a str,
    /// Of the line that was taken last.
    line: u32,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.line += 1;
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    /// The value that begins with what is left of a line.
    fn value(&mut self, start: &'a str, known: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
        let expand = |text: &str| interpolate(text, known).map(|Interpolated { text, .. }| text);
        match start.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let (text, behind) = self.quoted(&start[1..], quote).ok_or("a quote has no other half")?;
                let behind = behind.trim_start();
                if !behind.is_empty() && !behind.starts_with('#') {
                    return Err("something stands behind the closing quote".into());
                }
                if quote == '"' { expand(&unescaped(&text)) } else { Ok(text) }
            }
            _ => {
                let end = start.find(" #").or_else(|| start.find("\t#")).unwrap_or(start.len());
                expand(start[..end].trim_end())
            }
        }
    }

    /// What stands up to the quote, over several lines perhaps, and what is behind it.
    fn quoted(&mut self, start: &'a str, quote: char) -> Option<(String, &'a str)> {
        let (mut text, mut line) = (String::new(), start);
        loop {
            let mut is_escaped = false;
            for (at, c) in line.char_indices() {
                if c == quote && !is_escaped {
                    text.push_str(&line[..at]);
                    return Some((text, &line[at + 1..]));
                }
                is_escaped = c == '\\' && !is_escaped;
            }
            text.push_str(line);
            text.push('\n');
            line = self.next()?;
        }
    }
}

/// Double quotes: `\n`, `\r`, `\t`, and a backslash before anything else gives that. `\$` is left to the interpolation as `$$`.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('r')) => out.push('\r'),
            ('\\', Some('t')) => out.push('\t'),
            ('\\', Some('$')) => out.push_str("$$"),
            ('\\', Some(c)) => out.push(c),
            (c, _) => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    #[test]
    fn lines_of_all_kinds() {
        for (text, wanted) in [
            ("\u{feff}A=1\r\nB = 2 # two\n\n# no\nexport C=x#y", "A=1;B=2;C=x#y"),
            ("A=1\nB=$A-${HOME}-${X:-d}\nC='$A'\nD=\"$A\\n\\$A\"", "A=1;B=1-/root-d;C=$A;D=1\n$A"),
            ("A='one\ntwo' # more\nB=\"a\nb\"\nC=c", "A=one\ntwo;B=a\nb;C=c"),
            ("A=\nB=''\nHOME\nNONE\nC: yaml", "A=;B=;HOME=/root;C=yaml"),
            ("", ""),
        ] {
            let found = variables(text, &lookup).unwrap();
            let found: Vec<_> = found.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(found.join(";"), wanted, "{text}");
        }
        let raw = raw_variables("A='x' # y\nHOME\nNONE\n#\nB=$A=", &lookup).unwrap();
        let wanted = [("A", "'x' # y"), ("HOME", "/root"), ("B", "$A=")];
        assert_eq!(raw, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, line, part) in [
            ("A=1\nB B=2", 2, "form"),
            ("=1", 1, "form"),
            ("\nA='x", 2, "other half"),
            ("A=\"x\" y", 1, "behind"),
            ("A=${X:?no}", 1, "must be set: no"),
        ] {
            let error = variables(text, &lookup).unwrap_err();
            assert!(error.line == line && error.why.contains(part), "{text}: {error:?}");
        }
    }
}
