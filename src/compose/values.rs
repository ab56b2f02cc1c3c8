//! Values as Compose writes them: times, sizes, modes.

use std::time::Duration;

use super::tree::{Node, Value};

/// What [`duration`] takes, for a sentence.
pub(super) const DURATION: &str = "a time, such as 1m30s or 500ms";
/// What [`bytes`] takes, for a sentence.
pub(super) const BYTES: &str = "a size, such as 64m or 1gb";
/// What [`nano_cpus`] takes, for a sentence.
pub(super) const CPUS: &str = "a number of CPUs, such as 0.5";
/// What [`mode`] takes, for a sentence.
pub(super) const MODE: &str = "a file mode, such as 0440";

/// A time: numbers with units, such as `1h2m3.5s`. At most 100 years.
pub(super) fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 10] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("μs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
        ("d", 86_400.0),
        ("w", 604_800.0),
    ];
    const LONGEST: f64 = 100.0 * 365.0 * 86_400.0;
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number * UNITS.iter().find(|(unit, _)| *unit == &rest[..letters])?.1;
        rest = &rest[letters..];
    }
    // Rounded, so that 0.1s is no nanosecond off.
    (!text.is_empty() && seconds <= LONGEST).then(|| Duration::from_secs_f64((seconds * 1e9).round() / 1e9))
}

/// A size in bytes: a number, and perhaps b, k, m, g, t or p, each also as kb or kib. Powers of 1024.
pub(super) fn bytes(text: &str) -> Option<i64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let shift = match lower[digits..].trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    if let Ok(whole) = lower[..digits].parse::<i64>() {
        return whole.checked_mul(1 << shift);
    }
    let number = lower[..digits].parse::<f64>().ok()? * 2f64.powi(shift);
    whole_number(number)
}

/// Billionths of a CPU; 0 for no limit.
pub(super) fn nano_cpus(text: &str) -> Option<i64> {
    let cpus: f64 = text.trim().parse().ok()?;
    (0.0..=4096.0).contains(&cpus).then(|| whole_number(cpus * 1e9)).flatten()
}

/// The whole number before the point.
fn whole_number(number: f64) -> Option<i64> {
    // Below 2^63, so nothing is lost.
    let fits = number.is_finite() && (0.0..9.2e18).contains(&number);
    fits.then(|| format!("{:.0}", number.trunc()).parse().ok()).flatten()
}

/// Permission bits. A text is octal; YAML has read a number with a leading 0 as octal already.
pub(super) fn mode(node: &Node) -> Option<u32> {
    let mode = match &node.value {
        Value::Number(text) => text.parse().ok(),
        Value::Text(text) => u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8).ok(),
        _ => None,
    };
    mode.filter(|mode| *mode <= 0o7777)
}

/// What a MAC address looks like.
pub(super) const MAC: &str = "a MAC address, such as 02:42:ac:11:00:02";

/// A MAC address, as it is written.
pub(super) fn mac(text: &str) -> Option<String> {
    let is_octet = |part: &str| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
    let parts: Vec<_> = text.split([':', '-']).collect();
    (parts.len() == 6 && parts.iter().all(|part| is_octet(part))).then(|| text.to_owned())
}

/// What a name looks like.
pub(super) const NAME: &str = "a name of letters, digits, '.', '_' and '-'";

/// A name of a service, network, volume, config or secret.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        && name.len() <= 200
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, millis) in [
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("1h5m30s20ms", 3_930_020),
            ("2000us", 2),
            ("2000µs", 2),
            ("0", 0),
            ("0s", 0),
            ("1.5s", 1_500),
            ("1d", 86_400_000),
            ("1w", 604_800_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(duration("0.1s"), Some(Duration::from_nanos(100_000_000)));
        for wrong in ["", "10", "s", "1x", "-1s", "1 s", "1s2", "1..5s", "9999999w", "NaNs", "infs"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        for (text, wanted) in [
            ("1024", 1024),
            ("2b", 2),
            ("64m", 64 << 20),
            ("1GB", 1 << 30),
            ("1.5g", 3 << 29),
            ("512 KiB", 512 << 10),
            ("1t", 1 << 40),
            ("0", 0),
        ] {
            assert_eq!(bytes(text), Some(wanted), "{text}");
        }
        for wrong in ["", "m", "-1", "1x", "1mm", "99999999p", "1e3", "NaN", "1.2.3g"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
        assert_eq!(nano_cpus("0.5"), Some(500_000_000));
        assert_eq!(nano_cpus("2"), Some(2_000_000_000));
        assert_eq!(nano_cpus("0"), Some(0));
        for wrong in ["-1", "x", "NaN", "inf", "5000"] {
            assert_eq!(nano_cpus(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names() {
        for good in ["a", "n1", "my-kv_2.x", "1"] {
            assert!(is_name(good), "{good}");
        }
        for wrong in ["", "-a", ".a", "a b", "ä", "a/b", &"a".repeat(201)] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
