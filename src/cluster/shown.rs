//! What users and nodes say, in our sentences and on terminals.

/// A word of the user's as a sentence can hold it: escaped and not too long.
pub fn shown(word: &str) -> String {
    const LONGEST: usize = 64;
    let escaped: String = word.escape_debug().take(LONGEST + 1).collect();
    if escaped.chars().count() > LONGEST { escaped.chars().take(LONGEST).chain(['…']).collect() } else { escaped }
}

/// Longer lines of a node's are cut.
const WIDTH: usize = 300;

/// A line that a node has written. It could move the cursor, change colours or worse: no control character reaches a
/// terminal from here.
pub fn plain(line: &str) -> String {
    let mut plain = String::new();
    for (at, c) in line.trim_end_matches('\r').chars().enumerate() {
        if at == WIDTH {
            plain.push('…');
            break;
        }
        match c {
            '\t' => plain.push(c),
            c if c.is_control() => plain.extend(c.escape_default()),
            // Those that turn the direction of what follows.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                plain.extend(c.escape_unicode())
            }
            c => plain.push(c),
        }
    }
    plain
}

/// The first lines of what a program in a node has written, at most `most`, without blank ones, each [`plain`].
pub fn first_lines(output: &[u8], most: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    text.lines().filter(|line| !line.trim().is_empty()).take(most).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_harmful_comes_through() {
        assert_eq!(first_lines(b"\x1b[31mred\x07\tx\r\n\n \n\xff\nmore", 2), ["\\u{1b}[31mred\\u{7}\tx", "\u{fffd}"]);
        assert_eq!(first_lines("a\u{202e}b\u{9b}c".as_bytes(), 1), ["a\\u{202e}b\\u{9b}c"]);
        assert_eq!(plain(&"ü".repeat(1000)).chars().count(), WIDTH + 1);
        assert!(first_lines(b"\n\n", 5).is_empty());
    }
}
