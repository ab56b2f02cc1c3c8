//! The output of a container that has a terminal: no frames, only the engine's time before each piece.
//!
//! A piece is a line, or 16 KiB of a longer one. Only a line's end separates it from the next, so after a part of a
//! line the next piece's time stands in its middle.

/// The engine's time before a piece, as Docker writes it: always as long, and in ASCII order.
const TIME: &[u8] = b"0000-00-00T00:00:00.000000000Z ";
/// Most bytes without a line's end or a time that are kept for more to come. Docker gives out 16 KiB.
const MOST: usize = 1 << 20;

/// Whether a container's output is such a one: a frame never begins with a digit.
pub(super) fn is_meant(output: &[u8]) -> bool {
    output.first().is_some_and(u8::is_ascii_digit)
}

/// The length of the first piece, if it has come whole. `ended` is whether no more will come.
pub(super) fn piece(output: &[u8], ended: bool) -> Option<usize> {
    let line = output.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    let rest = &output[..line.unwrap_or(output.len())];
    let next = time_at(rest, 0).and_then(|own| {
        // A program's own time, of before it wrote the piece, is no such one.
        (TIME.len()..rest.len()).find(|at| time_at(rest, *at).is_some_and(|time| time >= own))
    });
    next.or(line).or_else(|| (!output.is_empty() && (ended || output.len() >= MOST)).then_some(output.len()))
}

/// The time that stands there.
fn time_at(output: &[u8], at: usize) -> Option<&[u8]> {
    let time = output.get(at..at + TIME.len())?;
    let fits = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
    time.iter().zip(TIME).all(fits).then_some(time)
}

/// A piece without the carriage return that a terminal puts before each line feed.
pub(super) fn without_return(mut piece: Vec<u8>) -> Vec<u8> {
    if piece.ends_with(b"\r\n") {
        piece.truncate(piece.len() - 2);
        piece.push(b'\n');
    }
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "2026-11-28T19:23:57.100000000Z ";
    const LATER: &str = "2026-11-28T19:23:57.200000000Z ";
    const EARLIER: &str = "2026-11-28T19:23:57.000000000Z ";

    fn pieces(output: &str) -> Vec<&str> {
        let mut rest = output;
        let mut pieces = vec![];
        while let Some(len) = piece(rest.as_bytes(), true) {
            let (first, others) = rest.split_at(len);
            pieces.push(first);
            rest = others;
        }
        pieces
    }

    #[test]
    fn pieces_end_with_lines_and_before_the_time_of_the_next() {
        let long = "x".repeat(16_384);
        let table: &[&[&str]] = &[
            &[],
            &["2plain\n"],
            &["2026-11-28T19:23:57.1Z one\r\n", "two"],
            &[&format!("{FIRST}a\r\n"), &format!("{FIRST}\r\n"), &format!("{LATER}no end")],
            // Two parts of one line, and a line that a run did not end.
            &[&format!("{FIRST}{long}"), &format!("{FIRST}x\r\n"), &format!("{FIRST}$ "), &format!("{LATER}b\r\n")],
            // What a program writes of times is its own.
            &[&format!("{FIRST}{EARLIER}ready\r\n")],
            &[&format!("{FIRST}lease until 2030-01-01T00:00:00Z \r\n")],
        ];
        for expected in table {
            assert_eq!(&pieces(&expected.concat())[..], *expected);
        }
    }

    #[test]
    fn what_has_not_come_whole_is_waited_for_up_to_a_limit() {
        let text = format!("{FIRST}$ {LATER}b");
        let whole = FIRST.len() + 2;
        for end in 0..text.len() {
            let expected = (end >= whole + LATER.len()).then_some(whole);
            assert_eq!(piece(&text.as_bytes()[..end], false), expected, "{end}");
        }
        let endless = format!("{FIRST}{}", "x".repeat(MOST));
        assert_eq!(piece(endless.as_bytes(), false), Some(endless.len()));
    }

    #[test]
    fn only_the_terminals_own_return_is_taken_off() {
        for (piece, expected) in [("a\r\n", "a\n"), ("a\r\r\n", "a\r\n"), ("50%\r", "50%\r"), ("\r\n", "\n"), ("", "")]
        {
            assert_eq!(without_return(piece.into()), expected.as_bytes(), "{piece:?}");
        }
    }
}
