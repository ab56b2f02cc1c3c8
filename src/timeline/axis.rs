//! Times: where the ticks of an axis go, and how a time is written.

/// Nanoseconds in a second.
pub(crate) const SECOND: i64 = 1_000_000_000;
/// No history is longer (30 years, in ns); sums of such times cannot overflow.
const LONGEST: u64 = 1_000_000_000_000_000_000;

/// The time since the first line of a mount.
#[derive(Default)]
pub(crate) struct Elapsed {
    /// `mono_ns` of the first line.
    first_ns: Option<u64>,
    /// From the first line to the one that was taken last, in ns.
    pub(crate) ns: i64,
}

impl Elapsed {
    /// ns from the first line to one with this `mono_ns`. A time that is missing, or steps back, counts as that of the line
    /// before.
    pub(crate) fn at(&mut self, mono_ns: u64) -> i64 {
        if mono_ns > 0 {
            let since = mono_ns.saturating_sub(*self.first_ns.get_or_insert(mono_ns)).min(LONGEST);
            self.ns = self.ns.max(since.cast_signed());
        }
        self.ns
    }
}

/// Distances between ticks that people read easily, in ns: 1, 2, 5 of each power of ten up to 50 s, then those of clocks.
fn steps() -> impl Iterator<Item = i64> {
    let decimal = (0..11).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_i64.pow(power)));
    let clock = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200];
    let days = (0..5).flat_map(|power| [1, 2, 5].map(|digit| digit * 86_400 * 10_i64.pow(power)));
    decimal.take_while(|step| *step <= 50 * SECOND).chain(clock.into_iter().chain(days).map(|s| s * SECOND))
}

/// The smallest readable distance that gives at most `most` ticks in `duration` ns.
pub(crate) fn step(duration: i64, most: i64) -> i64 {
    let wanted = duration / most.max(1);
    steps().find(|step| *step >= wanted.max(1)).unwrap_or(i64::MAX)
}

/// Ticks from 0 to `duration` ns, `step` apart, with their labels.
pub(crate) fn ticks(duration: i64, step: i64) -> impl Iterator<Item = (i64, String)> {
    let count = duration / step.max(1);
    (0..=count).map(move |n| (n * step, label(n * step, step, duration)))
}

/// A tick's label, as exact as the distance between ticks demands.
fn label(at: i64, step: i64, duration: i64) -> String {
    if at == 0 {
        return "0".into();
    }
    match step {
        ..1_000_000 if duration >= 1_000_000 => {
            let digits = if step < 1_000 {
                6
            } else if step < 10_000 {
                3
            } else if step < 100_000 {
                2
            } else {
                1
            };
            format!("{:.digits$} ms", at as f64 / 1e6)
        }
        ..1_000 => format!("{at} ns"),
        1_000..1_000_000 => format!("{} µs", at / 1_000),
        1_000_000..SECOND if duration < SECOND => format!("{} ms", at / 1_000_000),
        1_000_000..SECOND => {
            let digits = if step < 10_000_000 {
                3
            } else if step < 100_000_000 {
                2
            } else {
                1
            };
            format!("{:.digits$} s", at as f64 / 1e9)
        }
        _ if at < 60 * SECOND => format!("{} s", at / SECOND),
        _ => clock(at / SECOND),
    }
}

/// Seconds as `1:05` or `2:00:00`.
fn clock(seconds: i64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// A moment or a duration in ns, to the millisecond where that says enough.
pub(crate) fn time(at: i64) -> String {
    match at {
        ..1_000_000 => format!("{} µs", at / 1_000),
        1_000_000..SECOND => format!("{} ms", at / 1_000_000),
        SECOND..60_000_000_000 => format!("{:.3} s", at as f64 / 1e9),
        _ => format!("{}.{:03}", clock(at / SECOND), at % SECOND / 1_000_000),
    }
}

/// A moment in ns within a history of `duration` ns: all in one unit, so that they can be compared.
pub(crate) fn moment(at: i64, duration: i64) -> String {
    match duration {
        ..10_000_000 => format!("{:.3} ms", at as f64 / 1e6),
        10_000_000..60_000_000_000 => format!("{:.3} s", at as f64 / 1e9),
        _ => format!("{}.{:03}", clock(at / SECOND), at % SECOND / 1_000_000),
    }
}

/// A duration in ns for a sentence: three digits are enough.
pub(crate) fn rough(duration: i64) -> String {
    let seconds = duration as f64 / 1e9;
    match duration {
        ..1_000_000 => format!("{} µs", duration / 1_000),
        1_000_000..SECOND => format!("{} ms", duration / 1_000_000),
        SECOND..10_000_000_000 => format!("{seconds:.2} s"),
        10_000_000_000..60_000_000_000 => format!("{seconds:.1} s"),
        60_000_000_000..3_600_000_000_000 => format!("{} min {} s", duration / SECOND / 60, duration / SECOND % 60),
        _ => format!("{} h {} min", duration / SECOND / 3600, duration / SECOND / 60 % 60),
    }
}

/// A count with its thousands apart.
pub(crate) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(duration: i64) -> Vec<String> {
        ticks(duration, step(duration, 6)).map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_few_and_round() {
        assert_eq!(labels(2_000_000), ["0", "0.5 ms", "1.0 ms", "1.5 ms", "2.0 ms"]);
        assert_eq!(labels(300_000_000), ["0", "50 ms", "100 ms", "150 ms", "200 ms", "250 ms", "300 ms"]);
        assert_eq!(labels(1_250_000_000), ["0", "0.5 s", "1.0 s"]);
        assert_eq!(labels(60 * SECOND), ["0", "10 s", "20 s", "30 s", "40 s", "50 s", "1:00"]);
        assert_eq!(labels(3 * 3600 * SECOND), ["0", "30:00", "1:00:00", "1:30:00", "2:00:00", "2:30:00", "3:00:00"]);
        for duration in [1, 999, 12_345_678, 987 * SECOND, 400 * 86_400 * SECOND, i64::MAX] {
            assert!((1..=8).contains(&labels(duration).len()), "{duration}");
        }
    }

    #[test]
    fn times_say_enough() {
        assert_eq!(time(1_500), "1 µs");
        assert_eq!(time(12_345_678_901), "12.346 s");
        assert_eq!(time(3_725_042_000_000), "1:02:05.042");
        assert_eq!(moment(1_500_000, 2_000_000), "1.500 ms");
        assert_eq!(rough(65 * SECOND), "1 min 5 s");
        assert_eq!((count(0), count(1_234_567)), ("0".into(), "1,234,567".into()));
    }
}
