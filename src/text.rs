//! What users, nodes and engines say, made fit for our sentences and for terminals.
//!
//! Pure; it uses no other module.

use std::time::Duration;

/// Most that [`time`] takes, in seconds: a day.
const LONGEST_TIME: f64 = 86_400.0;

/// A time of up to a day as users write it: seconds, or with a unit, as in `500ms`, `30s`, `2m`, `0.5h`.
pub(crate) fn time(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let with_unit = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = with_unit.unwrap_or((text, 1.0));
    let value = number.parse::<f64>().ok()? * factor;
    (0.0..=LONGEST_TIME).contains(&value).then(|| Duration::from_secs_f64(value))
}

/// A word of the user's as a sentence can hold it: escaped and not too long.
pub(crate) fn shown(word: &str) -> String {
    const LONGEST: usize = 64;
    let escaped: String = word.escape_debug().take(LONGEST + 1).collect();
    if escaped.chars().count() > LONGEST { escaped.chars().take(LONGEST).chain(['…']).collect() } else { escaped }
}

/// Longer lines of a node's are cut.
const WIDTH: usize = 300;

/// A line that a node has written: [`harmless`], and not too long.
pub(crate) fn plain(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => harmless(&line[..end]) + "…",
        None => harmless(line),
    }
}

/// A line from any source. It could move the cursor, change colours or worse: no control character reaches a terminal
/// from here, no end of line either.
pub(crate) fn harmless(line: &str) -> String {
    let mut plain = String::new();
    for c in line.chars() {
        if does_harm(c) { plain.extend(c.escape_default()) } else { plain.push(c) }
    }
    plain
}

/// The same for JSON, pretty-printed, which means what it meant: serde_json lets some control characters through.
pub(crate) fn harmless_json(json: &str) -> String {
    let mut plain = String::new();
    for c in json.chars() {
        if c != '\n' && does_harm(c) { plain.push_str(&format!("\\u{:04x}", u32::from(c))) } else { plain.push(c) }
    }
    plain
}

fn does_harm(c: char) -> bool {
    match c {
        '\t' => false,
        // Those that turn the direction of what follows.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        // Some terminals take these for the end of a line.
        '\u{2028}' | '\u{2029}' => true,
        c => c.is_control(),
    }
}

/// An error and its causes (what `{:#}` shows) in one line, without the numbers of errno.
pub fn sentence(error: &impl std::fmt::Display) -> String {
    let text = format!("{error:#}");
    let mut parts = text.split(" (os error ");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
    }
    harmless(&plain.replace('\n', " "))
}

/// The first lines of what a program in a node has written, at most `most`, without blank ones, each [`plain`].
pub(crate) fn first_lines(output: &[u8], most: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    text.lines().filter(|line| !line.trim().is_empty()).take(most).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_have_no_numbers() {
        let error = anyhow::Error::from(std::io::Error::from_raw_os_error(2)).context("cannot read x");
        assert_eq!(sentence(&error), "cannot read x: No such file or directory");
        let error = anyhow::anyhow!("the container \x1b[8mx\u{9b}2J\nsaid so");
        assert_eq!(sentence(&error), "the container \\u{1b}[8mx\\u{9b}2J said so");
    }

    #[test]
    fn nothing_harmful_comes_through() {
        assert_eq!(first_lines(b"\x1b[31mred\x07\tx\r\n\n \n\xff\nmore", 2), ["\\u{1b}[31mred\\u{7}\tx", "\u{fffd}"]);
        assert_eq!(first_lines("a\u{202e}b\u{9b}c".as_bytes(), 1), ["a\\u{202e}b\\u{9b}c"]);
        let json = serde_json::to_string_pretty(&["a\u{1b}\u{9b}\u{202e}\u{7f}\tü\n"]).unwrap();
        let shown = harmless_json(&json);
        assert!(!shown.chars().any(|c| c != '\n' && does_harm(c)), "{shown}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&shown).unwrap(), ["a\u{1b}\u{9b}\u{202e}\u{7f}\tü\n"]);
        assert_eq!(plain(&"ü".repeat(1000)).chars().count(), WIDTH + 1);
        assert!(first_lines(b"\n\n", 5).is_empty());
        let long = "/a\n".repeat(1000);
        assert_eq!(harmless(&long), "/a\\n".repeat(1000), "no line is hidden, and nothing is cut");
    }
}
