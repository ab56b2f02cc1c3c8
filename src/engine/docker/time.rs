//! Times as the engine writes them.
//!
//! RFC 3339 with up to nine decimals and any offset from UTC, to ns since the Unix epoch. No dates before 1970 occur
//! except the zero time 0001-01-01T00:00:00Z, which means never.

/// Parses a time; the zero time and anything else before 1970 give 0. `None` if it is no RFC 3339 time.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (year, month, day) = (number(date, 0, 4)?, number(date, 5, 2)?, number(date, 8, 2)?);
    let (clock, rest) = rest.split_at_checked(9)?;
    let (hour, minute, second) = (number(clock, 1, 2)?, number(clock, 4, 2)?, number(clock, 7, 2)?);
    let separators = [date.as_bytes()[4], date.as_bytes()[7], clock.as_bytes()[3], clock.as_bytes()[6]];
    if separators != *b"--::" || !matches!(clock.as_bytes()[0], b'T' | b't' | b' ') {
        return None;
    }
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !in_range {
        return None;
    }
    let (nanos, zone) = fraction(rest)?;
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset(zone)?;
    let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    Some(i64::try_from(nanos).unwrap_or(0).max(0))
}

/// Formats ns since the epoch the way the engine takes it in `since`: seconds, a dot, nine decimals.
pub(super) fn seconds(nanos: i64) -> String {
    format!("{}.{:09}", nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000))
}

/// The decimals, in ns, and what follows them.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(decimals) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let length = decimals.bytes().take_while(u8::is_ascii_digit).count();
    let (decimals, zone) = decimals.split_at(length);
    if length == 0 {
        return None;
    }
    let kept = &decimals[..length.min(9)];
    let nanos: i64 = format!("{kept:0<9}").parse().ok()?;
    Some((nanos, zone))
}

/// The offset from UTC in seconds.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first()? {
        b'Z' | b'z' => return (zone.len() == 1).then_some(0),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    if zone.len() != 6 || zone.as_bytes()[3] != b':' {
        return None;
    }
    Some(sign * (number(zone, 1, 2)? * 3_600 + number(zone, 4, 2)? * 60))
}

fn number(text: &str, start: usize, length: usize) -> Option<i64> {
    let digits = text.get(start..start + length)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Days from 1970-01-01, in the proleptic Gregorian calendar (years counted from March, eras of 400 years).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_engines_write() {
        assert_eq!(parse("1970-01-01T00:00:01Z"), Some(1_000_000_000));
        assert_eq!(parse("2024-02-29T12:30:15.000000007Z"), Some(1_709_209_815_000_000_007));
        assert_eq!(parse("2024-02-29T14:30:15.5+02:00"), Some(1_709_209_815_500_000_000));
        assert_eq!(parse("2024-02-29T01:00:15-11:30"), Some(1_709_209_815_000_000_000));
        assert_eq!(parse("2000-01-01T00:00:00.123456789999Z"), Some(946_684_800_123_456_789));
    }

    #[test]
    fn the_zero_time_is_never() {
        assert_eq!(parse("0001-01-01T00:00:00Z"), Some(0));
    }

    #[test]
    fn anything_else_is_no_time() {
        for text in ["", "x", "2024-02-29", "2024-02-29T12:30:15", "2024-13-29T12:30:15Z", "2024-02-29T12:30:15.Z"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("2024-02-29T12:30:15Zx"), None);
        assert_eq!(parse("ü024-02-29T12:30:15Z"), None);
    }

    #[test]
    fn seconds_keep_every_nanosecond() {
        assert_eq!(seconds(1_709_209_815_000_000_007), "1709209815.000000007");
    }
}
