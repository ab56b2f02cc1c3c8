//! What befalls a link, in words: `delay 100ms 20ms loss 5%`.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use super::effects::{Cut, Delay, Effects, Rate, Share};
use super::error::{Result, invalid};
use crate::cluster::shown;

const WORDS: &str = "drop, reject, delay, loss, duplicate, corrupt, reorder, rate, none";
/// Units of time, in microseconds.
const TIMES: [(&str, u64); 3] = [("us", 1), ("ms", 1_000), ("s", 1_000_000)];
/// An hour, in microseconds.
const LONGEST: u64 = 3_600_000_000;
/// Units of rates, in bits a second, as tc counts them.
const RATES: [(&str, u64); 4] = [("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000), ("bit", 1)];
const SLOWEST: u64 = 1_000;
const FASTEST: u64 = 100_000_000_000;

impl Effects {
    /// Reads words. `none` stands for no effect; no word at all is an error.
    ///
    /// # Errors
    /// A sentence on the first word that is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace().peekable();
        let mut effects = Self::default();
        let mut seen: Vec<&str> = vec![];
        while let Some(word) = words.next() {
            if seen.contains(&word) {
                return invalid(format!("'{word}' is there twice: say it once"));
            }
            let mut value = |example: &str| match words.next() {
                Some(value) => Ok(value),
                None => invalid(format!("{word} needs a value, as in {word} {example}")),
            };
            match word {
                "none" => {}
                "drop" => effects.cut = Some(Cut::Drop),
                "reject" => effects.cut = Some(Cut::Reject),
                "delay" => {
                    let time = time(value("100ms")?)?;
                    // A jitter is told from the next word by its digit.
                    let jitter = words.next_if(|word| word.starts_with(|c: char| c.is_ascii_digit() || c == '-'));
                    effects.delay = Some(delay(time, jitter)?);
                }
                "loss" => effects.loss = share(word, value("5%")?)?,
                "duplicate" => effects.duplicate = share(word, value("5%")?)?,
                "corrupt" => effects.corrupt = share(word, value("5%")?)?,
                "reorder" => effects.reorder = share(word, value("5%")?)?,
                "rate" => effects.rate = Some(rate(value("1mbit")?)?),
                other => return invalid(format!("'{}' is no effect; there are {WORDS}", shown(other))),
            }
            seen.push(word);
        }
        if seen.is_empty() {
            return invalid(format!("no effect is named; there are {WORDS}"));
        }
        if let Some(alone) = seen.iter().find(|word| matches!(**word, "none" | "drop" | "reject"))
            && seen.len() > 1
        {
            return invalid(format!("{alone} goes with no other effect: choose one"));
        }
        if !effects.reorder.is_none() && effects.delay.is_none() {
            return invalid("reorder needs a delay: packets overtake those that wait, as in delay 10ms reorder 5%");
        }
        Ok(effects)
    }
}

/// Reads a decimal number with one of `units`, as a whole number of the smallest. `None` if it is none, or not whole.
fn number(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (digits, unit) = units.iter().find_map(|(unit, factor)| Some((lower.strip_suffix(unit)?, *factor)))?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // Longer ones are out of every range.
    if whole.is_empty() || digits.ends_with('.') || !is_number(whole) || !is_number(fraction) || digits.len() > 18 {
        return None;
    }
    let mut total = whole.parse::<u128>().ok()? * u128::from(unit);
    if !fraction.is_empty() {
        let part = fraction.parse::<u128>().ok()? * u128::from(unit);
        let places = 10u128.pow(fraction.len() as u32);
        if part % places != 0 {
            return None;
        }
        total += part / places;
    }
    u64::try_from(total).ok()
}

fn time(text: &str) -> Result<u64> {
    match number(text, &TIMES) {
        Some(micros @ 1..=LONGEST) => Ok(micros),
        _ => invalid(format!(
            "'{}' is no time: a number above 0 with us, ms or s, in whole microseconds and up to an hour, as in 100ms",
            shown(text)
        )),
    }
}

fn delay(time: u64, jitter: Option<&str>) -> Result<Delay> {
    let jitter = match jitter {
        Some(text) if number(text, &TIMES) == Some(0) => 0,
        Some(text) => self::time(text)?,
        None => 0,
    };
    if jitter > time {
        return invalid("the jitter of a delay is at most the delay itself: a packet cannot wait less than nothing");
    }
    Ok(Delay { time: Duration::from_micros(time), jitter: Duration::from_micros(jitter) })
}

fn share(word: &str, text: &str) -> Result<Share> {
    // A per cent is ten thousand millionths.
    let millionths = text.ends_with('%').then(|| number(text, &[("%", 10_000)])).flatten();
    match millionths.and_then(|count| Share::millionths(u32::try_from(count).ok()?)) {
        Some(share) if !share.is_none() => Ok(share),
        _ => invalid(format!(
            "{word} takes a share above 0% and up to 100%, with at most four decimals, as in {word} 5%, not '{}'",
            shown(text)
        )),
    }
}

fn rate(text: &str) -> Result<Rate> {
    match number(text, &RATES) {
        Some(bits @ SLOWEST..=FASTEST) => Ok(Rate(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))),
        _ => invalid(format!("'{}' is no rate: from 1kbit to 100gbit a second, as in 500kbit or 1mbit", shown(text))),
    }
}

/// The largest unit in which it is a whole number.
fn in_units(value: u64, units: &[(&'static str, u64)]) -> String {
    let fits = units.iter().filter(|(_, factor)| value.is_multiple_of(*factor)).max_by_key(|(_, factor)| *factor);
    let (unit, factor) = fits.copied().unwrap_or(units[0]);
    format!("{}{unit}", value / factor)
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.in_millionths() / 10_000, self.in_millionths() % 10_000);
        if rest == 0 {
            return write!(f, "{whole}%");
        }
        let decimals = format!("{rest:04}");
        write!(f, "{whole}.{}%", decimals.trim_end_matches('0'))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_units(self.0.get(), &RATES))
    }
}

/// Shortest words that are read as the same; `none` for no effect.
impl fmt::Display for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: Duration| in_units(time.as_micros() as u64, &TIMES);
        let mut words = vec![];
        match self.cut {
            Some(Cut::Drop) => words.push("drop".into()),
            Some(Cut::Reject) => words.push("reject".into()),
            None => {}
        }
        if let Some(delay) = self.delay {
            let jitter = if delay.jitter.is_zero() { String::new() } else { format!(" {}", time(delay.jitter)) };
            words.push(format!("delay {}{jitter}", time(delay.time)));
        }
        let shares =
            [("loss", self.loss), ("duplicate", self.duplicate), ("corrupt", self.corrupt), ("reorder", self.reorder)];
        words
            .extend(shares.iter().filter(|(_, share)| !share.is_none()).map(|(word, share)| format!("{word} {share}")));
        words.extend(self.rate.map(|rate| format!("rate {rate}")));
        if words.is_empty() { f.write_str("none") } else { f.write_str(&words.join(" ")) }
    }
}

#[cfg(test)]
pub(in crate::cluster) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares() -> impl Strategy<Value = Share> {
        prop_oneof![Just(0), (1u32..=100).prop_map(|p| p * 10_000), 1u32..=1_000_000]
            .prop_map(|count| Share::millionths(count).unwrap())
    }

    /// Any effects that can be written, but none.
    pub fn effects() -> impl Strategy<Value = Effects> {
        let cut = prop_oneof![Just(Cut::Drop), Just(Cut::Reject)];
        let cut = cut.prop_map(|cut| Effects { cut: Some(cut), ..Effects::default() });
        let delay = prop_oneof![1u64..=5, (1u64..=3600).prop_map(|s| s * 1_000_000), 1u64..=LONGEST]
            .prop_flat_map(|time| (Just(time), 0..=time))
            .prop_map(|(time, jitter)| Delay {
                time: Duration::from_micros(time),
                jitter: Duration::from_micros(jitter),
            });
        let rate = prop_oneof![(1u64..=100).prop_map(|g| g * 1_000_000), SLOWEST..=FASTEST];
        let rate = rate.prop_map(|bits| Rate(NonZeroU64::new(bits).unwrap()));
        let other = (prop::option::of(delay), shares(), shares(), shares(), shares(), prop::option::of(rate)).prop_map(
            |(delay, loss, duplicate, corrupt, reorder, rate)| {
                let reorder = if delay.is_some() { reorder } else { Share::NONE };
                Effects { cut: None, delay, loss, duplicate, corrupt, reorder, rate }
            },
        );
        prop_oneof![1 => cut, 3 => other].prop_filter("some effect", |effects| !effects.is_none())
    }

    fn same(text: &str) -> String {
        Effects::parse(text).unwrap().to_string()
    }

    #[test]
    fn words_are_read_and_written_as_short_as_can_be() {
        assert_eq!(same("drop"), "drop");
        assert_eq!(same("  delay 0.1s   20000us loss 5.0% "), "delay 100ms 20ms loss 5%");
        assert_eq!(same("delay 1.5ms 0ms"), "delay 1500us");
        assert_eq!(same("rate 0.5mbit"), "rate 500kbit");
        assert_eq!(same("rate 1000000bit"), "rate 1mbit");
        assert_eq!(same("rate 1GBIT delay 2s"), "delay 2s rate 1gbit");
        assert_eq!(same("loss 0.0001% delay 10ms reorder 12.34%"), "delay 10ms loss 0.0001% reorder 12.34%");
        assert_eq!(same("none"), "none");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("", "no effect is named"),
            ("loss", "loss needs a value, as in loss 5%"),
            ("loss 101%", "not '101%'"),
            ("loss 0%", "above 0%"),
            ("loss 5", "not '5'"),
            ("loss -1%", "not '-1%'"),
            ("loss 0.00001%", "four decimals"),
            ("loss 5% loss 6%", "'loss' is there twice"),
            ("delay -1ms", "'-1ms' is no time"),
            ("delay 5", "'5' is no time"),
            ("delay 0ms", "is no time"),
            ("delay 2h", "is no time"),
            ("delay 3601s", "up to an hour"),
            ("delay 0.5us", "whole microseconds"),
            ("delay 10ms 20ms", "at most the delay itself"),
            ("delay 10ms -5ms", "'-5ms' is no time"),
            ("delay", "delay needs a value"),
            ("rate 0", "'0' is no rate"),
            ("rate 0mbit", "is no rate"),
            ("rate 999bit", "from 1kbit"),
            ("rate 101gbit", "to 100gbit"),
            ("rate 1mb", "is no rate"),
            ("drop reject", "drop goes with no other effect"),
            ("delay 5ms drop", "drop goes with no other effect"),
            ("none loss 5%", "none goes with no other effect"),
            ("reorder 5%", "reorder needs a delay"),
            ("slow", "'slow' is no effect; there are drop"),
            ("delay 99999999999999999999s", "is no time"),
            ("delay .5s", "is no time"),
            ("delay 5.ms", "is no time"),
        ] {
            let error = Effects::parse(text).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(effects in effects()) {
            prop_assert_eq!(Effects::parse(&effects.to_string()).unwrap(), effects);
        }

        #[test]
        fn anything_is_answered(text in "\\PC{0,60}", words in prop::collection::vec("delay|loss|rate|drop|[0-9.%msubit-]{1,8}", 0..6)) {
            let _ = Effects::parse(&text);
            let _ = Effects::parse(&words.join(" "));
        }
    }
}
