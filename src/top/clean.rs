//! Makes what a node writes fit for a terminal.

/// Longer lines are cut.
const LONGEST: usize = 500;

/// A line without escape sequences and control characters.
pub(crate) fn line(bytes: &[u8]) -> String {
    // More than enough for this number of characters, whatever is removed.
    let bytes = &bytes[..bytes.len().min(64 * 1024)];
    let text = String::from_utf8_lossy(bytes);
    let mut clean = String::new();
    let mut chars = text.chars().peekable();
    let mut length = 0;
    while let Some(c) = chars.next() {
        if length == LONGEST {
            clean.push('…');
            break;
        }
        let kept = match c {
            '\u{1b}' => {
                skip_sequence(&mut chars);
                continue;
            }
            '\t' | '\r' => ' ',
            c if c.is_control() => continue,
            // Those that turn the direction of what follows, or are not seen.
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => continue,
            c => c,
        };
        clean.push(kept);
        length += 1;
    }
    clean.trim_end().to_owned()
}

/// What follows an ESC: a control sequence up to its final byte, a string up to its end, or one character.
fn skip_sequence(chars: &mut std::iter::Peekable<std::str::Chars>) {
    match chars.next() {
        Some('[') => {
            while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
            chars.next_if(|c| matches!(c, '@'..='~'));
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = chars.next() {
                if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        _ => {}
    }
}

/// The last lines of a piece of a log, at most `most`, without blank ones. With `torn`, the piece begins in the middle of
/// a line, which is left out unless it is the only one.
pub(crate) fn last_lines(bytes: &[u8], most: usize, torn: bool) -> Vec<String> {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    if torn && lines.iter().filter(|line| !line.is_empty()).count() > 1 {
        lines.remove(0);
    }
    let mut clean: Vec<String> =
        lines.iter().rev().map(|bytes| line(bytes)).filter(|line| !line.trim().is_empty()).take(most).collect();
    clean.reverse();
    clean
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_go_whole() {
        assert_eq!(line(b"\x1b[31;1mred\x1b[0m\tand \x1b]0;title\x07on\x1b(B"), "red and onB");
        assert_eq!(line(b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ \x1b[2J\x1b[H!"), "link !");
        assert_eq!(line("10%\r20%\u{202e}\u{9b}2J".as_bytes()), "10% 20%2J");
        assert_eq!(line(b"\xff\x00bin"), "\u{fffd}bin");
        assert_eq!(line(&[b'x'; 9000]).chars().count(), LONGEST + 1);
    }

    #[test]
    fn the_last_lines_are_whole_ones() {
        assert_eq!(last_lines(b"orn\none\n\n \ntwo\n", 9, true), ["one", "two"]);
        assert_eq!(last_lines(b"one\ntwo\nthree", 2, false), ["two", "three"]);
        assert_eq!(last_lines(b"orn\n", 2, true), ["orn"]);
        assert!(last_lines(b"\n", 2, false).is_empty());
    }

    proptest! {
        #[test]
        fn no_control_character_comes_through(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0x1b)], 0..200)) {
            let clean = line(&bytes);
            prop_assert!(!clean.chars().any(char::is_control), "{:?}", clean);
        }
    }
}
