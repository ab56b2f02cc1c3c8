//! Values of impairments, as they are read and written: times, shares, rates.

use std::fmt;
use std::iter::Peekable;
use std::num::NonZeroU64;
use std::str::SplitWhitespace;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{Result, invalid};
use crate::text::shown;

/// Units of time, in microseconds.
const TIMES: [(&str, u64); 3] = [("us", 1), ("ms", 1_000), ("s", 1_000_000)];
/// Longest delay, in microseconds: an hour.
pub(super) const LONGEST: u64 = 3_600_000_000;
/// Units of rates, in bits a second, as tc counts them.
const RATES: [(&str, u64); 4] = [("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000), ("bit", 1)];
/// In bits a second.
pub(super) const SLOWEST: u64 = 1_000;
/// In bits a second.
pub(super) const FASTEST: u64 = 100_000_000_000;

/// How long packets wait. Their order is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Delay {
    /// In whole microseconds; not zero.
    #[serde(rename = "time_us", with = "micros")]
    pub time: Duration,
    /// Each packet waits `time` plus or minus up to this, evenly distributed. At most `time`; whole microseconds.
    #[serde(rename = "jitter_us", with = "micros")]
    pub jitter: Duration,
}

/// A time as a number of microseconds.
mod micros {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> std::result::Result<S::Ok, S::Error> {
        (time.as_micros() as u64).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_micros)
    }
}

/// A share of all packets, in millionths: 1 % is 10,000. The packets are chosen at random.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Share(u32);

impl Share {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self(1_000_000);

    /// That many millionths; `None` if it is more than all.
    pub fn millionths(count: u32) -> Option<Self> {
        (count <= Self::ALL.0).then_some(Self(count))
    }

    /// In millionths.
    pub(crate) fn in_millionths(self) -> u32 {
        self.0
    }

    pub(crate) fn is_none(&self) -> bool {
        self.0 == 0
    }
}

/// The most that passes, in bits a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rate(pub NonZeroU64);

/// The values that follow a word, as its row in the table reads them.
pub(super) struct Values<'a, 'b> {
    pub(crate) word: &'static str,
    /// A value that it takes, for its errors.
    pub(crate) example: &'static str,
    pub(crate) left: &'b mut Peekable<SplitWhitespace<'a>>,
}

impl<'a> Values<'a, '_> {
    fn next(&mut self) -> Result<&'a str> {
        let Self { word, example, left } = self;
        left.next().map_or_else(|| invalid(format!("{word} needs a value, as in {word} {example}")), Ok)
    }

    /// A time and an optional jitter.
    pub(crate) fn delay(&mut self) -> Result<Delay> {
        let time = time(self.next()?)?;
        // A jitter begins with a digit, the next word does not.
        let jitter = self.left.next_if(|word| word.starts_with(|c: char| c.is_ascii_digit() || c == '-'));
        let jitter = match jitter {
            Some(text) if number(text, &TIMES) == Some(0) => 0,
            Some(text) => self::time(text)?,
            None => 0,
        };
        if jitter > time {
            return invalid(
                "the jitter of a delay is at most the delay itself: a packet cannot wait less than nothing",
            );
        }
        Ok(Delay { time: Duration::from_micros(time), jitter: Duration::from_micros(jitter) })
    }

    /// A share above 0%.
    pub(crate) fn share(&mut self) -> Result<Share> {
        let text = self.next()?;
        // A per cent is ten thousand millionths.
        let millionths = text.ends_with('%').then(|| number(text, &[("%", 10_000)])).flatten();
        match millionths.and_then(|count| Share::millionths(u32::try_from(count).ok()?)) {
            Some(share) if !share.is_none() => Ok(share),
            _ => invalid(format!(
                "{0} takes a share above 0% and up to 100%, with at most four decimals, as in {0} {1}, not '{2}'",
                self.word,
                self.example,
                shown(text)
            )),
        }
    }

    pub(crate) fn rate(&mut self) -> Result<Rate> {
        let text = self.next()?;
        match number(text, &RATES).filter(|bits| (SLOWEST..=FASTEST).contains(bits)).and_then(NonZeroU64::new) {
            Some(bits) => Ok(Rate(bits)),
            None => {
                invalid(format!("'{}' is no rate: from 1kbit to 100gbit a second, as in 500kbit or 1mbit", shown(text)))
            }
        }
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

/// The largest unit in which it is a whole number.
fn in_units(value: u64, units: &[(&'static str, u64)]) -> String {
    let fits = units.iter().filter(|(_, factor)| value.is_multiple_of(*factor)).max_by_key(|(_, factor)| *factor);
    let (unit, factor) = fits.copied().unwrap_or(units[0]);
    format!("{}{unit}", value / factor)
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: Duration| in_units(time.as_micros() as u64, &TIMES);
        f.write_str(&time(self.time))?;
        if self.jitter.is_zero() { Ok(()) } else { write!(f, " {}", time(self.jitter)) }
    }
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
