//! `${X}` in a text: all forms that Compose has.

/// Longer texts are refused, before variables that stand for each other fill the memory.
const LONGEST: usize = 1 << 20;
/// How deep defaults may stand in defaults.
const DEEPEST: usize = 32;

/// What a text became.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Interpolated {
    pub(super) text: String,
    /// Variables taken as empty, although nothing said so.
    pub(super) unset: Vec<String>,
}

/// Replaces `$X`, `${X}`, `${X:-default}`, `${X-default}`, `${X:?error}`, `${X?error}`, `${X:+value}`, `${X+value}` and `$$`.
/// With a colon, an empty variable counts as unset.
///
/// # Errors
/// A sentence.
pub(super) fn interpolate(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Interpolated, String> {
    let mut out = Interpolated::default();
    Expansion { lookup, unset: &mut out.unset }.expand(text, &mut out.text, 0)?;
    Ok(out)
}

struct Expansion<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    unset: &'a mut Vec<String>,
}

impl Expansion<'_> {
    fn expand(&mut self, text: &str, out: &mut String, depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("more than {DEEPEST} defaults stand in each other"));
        }
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(inner) = rest.strip_prefix('{') {
                let end = closing_brace(inner).ok_or("a '${' has no '}': write '$$' for a dollar sign")?;
                self.braces(&inner[..end], out, depth)?;
                rest = &inner[end + 1..];
            } else {
                let end = name_length(rest);
                if end == 0 {
                    return Err("a '$' has no name after it: write '$$' for a dollar sign".into());
                }
                self.value(&rest[..end], out);
                rest = &rest[end..];
            }
            check_length(out)?;
        }
        out.push_str(rest);
        check_length(out)
    }

    /// What stands between `${` and `}`.
    fn braces(&mut self, inner: &str, out: &mut String, depth: usize) -> Result<(), String> {
        let (name, rest) = inner.split_at(name_length(inner));
        let wrong = || {
            format!(
                "'${{{inner}}}' is not of the form ${{NAME}}, ${{NAME:-DEFAULT}}, ${{NAME:?ERROR}} or ${{NAME:+VALUE}}"
            )
        };
        if name.is_empty() {
            return Err(wrong());
        }
        if rest.is_empty() {
            self.value(name, out);
            return Ok(());
        }
        let (counts_empty, rest) = rest.strip_prefix(':').map_or((false, rest), |rest| (true, rest));
        let value = (self.lookup)(name).filter(|value| !(counts_empty && value.is_empty()));
        let mut rest_chars = rest.chars();
        let operator = rest_chars.next();
        let word = rest_chars.as_str();
        match (operator, value) {
            (Some('-' | '?'), Some(value)) => out.push_str(&value),
            (Some('-'), None) | (Some('+'), Some(_)) => self.expand(word, out, depth + 1)?,
            (Some('+'), None) => {}
            (Some('?'), None) => {
                let mut why = String::new();
                self.expand(word, &mut why, depth + 1)?;
                let why = if why.is_empty() { String::new() } else { format!(": {why}") };
                return Err(format!("the variable {name} must be set{why}"));
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    fn value(&mut self, name: &str, out: &mut String) {
        match (self.lookup)(name) {
            Some(value) => out.push_str(&value),
            None => self.unset.push(name.to_owned()),
        }
    }
}

fn check_length(text: &str) -> Result<(), String> {
    if text.len() > LONGEST {
        Err(format!("it is longer than {} KiB with its variables", LONGEST >> 10))
    } else {
        Ok(())
    }
}

/// The number of bytes of the name that a text begins with.
fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// Where the brace ends that is open already.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 1;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let lookup = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        interpolate(text, &lookup).map(|out| out.text)
    }

    #[test]
    fn all_forms() {
        for (text, wanted) in [
            ("", ""),
            ("plain {x}", "plain {x}"),
            ("$A-${A}_$A.", "a-a_a."),
            ("$$HOME $${A} $$$A", "$HOME ${A} $a"),
            ("${A:-x}${A-x}${EMPTY:-x}${EMPTY-x}${NO:-x}${NO-x}", "aaxxx"),
            ("${A:+x}${A+y}|${EMPTY:+x}${EMPTY+y}|${NO:+x}${NO+y}", "xy|y|"),
            ("${A:?no}${A?no}${EMPTY?no}", "aa"),
            ("${NO:-${A}-${EMPTY:-b}}", "a-b"),
            (r#"${NO:-{"x": {}}}"#, r#"{"x": {}}"#),
            ("${NO:-a:-b}${NO-}", "a:-b"),
            ("$NO.", "."),
            ("é$A$$", "éa$"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn wrong_ones_are_sentences() {
        for (text, part) in [
            ("${X:?no X}", "the variable X must be set: no X"),
            ("${EMPTY:?$A is missing}", "the variable EMPTY must be set: a is missing"),
            ("${X?}", "the variable X must be set"),
            ("$", "write '$$'"),
            ("$(date)", "write '$$'"),
            ("$1", "write '$$'"),
            ("${A", "no '}'"),
            ("${}", "form"),
            ("${A!x}", "form"),
            ("${A:}", "form"),
            ("${-x}", "form"),
            (&format!("{}x{}", "${N:-".repeat(40), "}".repeat(40)), "stand in each other"),
            (&"x".repeat(LONGEST + 1), "longer"),
        ] {
            let error = expanded(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn what_was_unset_is_told() {
        let out = interpolate("$A${B}${C:-x}${D-x}", &|_| None).unwrap();
        assert_eq!(out, Interpolated { text: "xx".into(), unset: vec!["A".into(), "B".into()] });
    }
}
