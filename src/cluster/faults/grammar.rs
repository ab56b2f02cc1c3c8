//! The impairments of a link in words: `delay 100ms 20ms loss 5%`.

use std::fmt;

use super::error::{Result, invalid};
use super::impairments::{Impairments, WORDS, Word};
use super::values::Values;
use crate::text::shown;

/// Stands for no impairment.
const NONE: &str = "none";

impl Impairments {
    /// Reads words. `none` stands for no impairment; no word at all is an error.
    ///
    /// # Errors
    /// A sentence on the first word that is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut left = text.split_whitespace().peekable();
        let mut impairments = Self::default();
        let mut seen: Vec<&str> = vec![];
        while let Some(text) = left.next() {
            if seen.contains(&text) {
                return invalid(format!("'{text}' is there twice: say it once"));
            }
            match WORDS.iter().find(|word| word.name == text) {
                Some(Word { name, example, read, .. }) => {
                    read(&mut impairments, &mut Values { word: name, example, left: &mut left })?;
                }
                None if text == NONE => {}
                None => return invalid(format!("'{}' is not an effect; there are {}", shown(text), all_words())),
            }
            seen.push(text);
        }
        if seen.is_empty() {
            return invalid(format!("no effect is named; there are {}", all_words()));
        }
        let is_alone = |text: &&&str| **text == NONE || WORDS.iter().any(|word| word.name == **text && word.is_alone);
        if let Some(alone) = seen.iter().find(is_alone)
            && seen.len() > 1
        {
            return invalid(format!("{alone} goes with no other effect: choose one"));
        }
        if !impairments.reorder.is_none() && impairments.delay.is_none() {
            return invalid("reorder needs a delay: packets overtake those that wait, as in delay 10ms reorder 5%");
        }
        Ok(impairments)
    }
}

fn all_words() -> String {
    WORDS.iter().map(|word| word.name).chain([NONE]).collect::<Vec<_>>().join(", ")
}

/// The shortest words that parse to the same; `none` for no impairment.
impl fmt::Display for Impairments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for word in &WORDS {
            let Some(values) = (word.write)(self) else { continue };
            write!(f, "{separator}{}", word.name)?;
            if !values.is_empty() {
                write!(f, " {values}")?;
            }
            separator = " ";
        }
        if separator.is_empty() { f.write_str(NONE) } else { Ok(()) }
    }
}

#[cfg(test)]
pub(in crate::cluster) mod tests {
    use std::num::NonZeroU64;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::impairments::Cut;
    use super::super::values::{Delay, FASTEST, LONGEST, Rate, SLOWEST, Share};
    use super::*;

    fn shares() -> impl Strategy<Value = Share> {
        prop_oneof![Just(0), (1u32..=100).prop_map(|p| p * 10_000), 1u32..=1_000_000]
            .prop_map(|count| Share::millionths(count).unwrap())
    }

    /// Any impairments that can be written, except none.
    pub(crate) fn impairments() -> impl Strategy<Value = Impairments> {
        let cut = prop_oneof![Just(Cut::Drop), Just(Cut::Reject)];
        let cut = cut.prop_map(|cut| Impairments { cut: Some(cut), ..Impairments::default() });
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
                Impairments { cut: None, delay, loss, duplicate, corrupt, reorder, rate }
            },
        );
        prop_oneof![1 => cut, 3 => other].prop_filter("some effect", |impairments| !impairments.is_none())
    }

    fn same(text: &str) -> String {
        Impairments::parse(text).unwrap().to_string()
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
            ("slow", "'slow' is not an effect; there are drop"),
            ("delay 99999999999999999999s", "is no time"),
            ("delay .5s", "is no time"),
            ("delay 5.ms", "is no time"),
        ] {
            let error = Impairments::parse(text).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(impairments in impairments()) {
            prop_assert_eq!(Impairments::parse(&impairments.to_string()).unwrap(), impairments);
        }

        #[test]
        fn anything_is_answered(text in "\\PC{0,60}", words in prop::collection::vec("delay|loss|rate|drop|[0-9.%msubit-]{1,8}", 0..6)) {
            let _ = Impairments::parse(&text);
            let _ = Impairments::parse(&words.join(" "));
        }
    }
}
