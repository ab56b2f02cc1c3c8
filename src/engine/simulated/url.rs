//! The address of a simulated engine: `simulated:` and its options.

use std::path::PathBuf;
use std::time::Duration;

use super::hang::Hang;
use super::{Op, SimulatedEngine};
use crate::engine::{EngineError, Labels, Result};

/// What an address says.
#[derive(Default)]
pub(super) struct Address {
    pub(crate) url: String,
    /// How long calls take.
    pub(crate) delays: Vec<(Op, Duration)>,
    pub(crate) hang: Hang,
    pub(crate) labels: Labels,
    /// How far its clock is ahead of ours, in ns.
    pub(crate) clock: i64,
    /// Whether it shares a swarm with others.
    pub(crate) in_swarm: bool,
}

impl SimulatedEngine {
    /// The engine that `simulated:` or for example `simulated:?start=50ms&stop=10ms` stands for. Options are
    ///
    /// - the name of a call and how long it takes, in `us`, `ms` or `s`;
    /// - `hang=/FILE`: while that file exists, the engine answers nothing and passes nothing on, as if it were frozen;
    /// - `label=KEY=VALUE`: a label of the engine, as often as you like;
    /// - `clock=2s` or `clock=-2s`: its clock is that far ahead or behind;
    /// - `swarm=none`: it shares no swarm with others, see [`engines`](super::engines).
    ///
    /// # Errors
    /// [`EngineError::Refused`], saying which part cannot be understood.
    pub fn from_url(url: &str) -> Result<Self> {
        Ok(Self::made("simulated".into(), &Address::parse(url)?, None))
    }
}

impl Address {
    /// Reads an address.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let refused = |why: String| EngineError::Refused(format!("address {url:?}: {why}"));
        let options = match url.strip_prefix("simulated:") {
            Some("") => "",
            Some(rest) => rest.strip_prefix('?').ok_or_else(|| {
                refused("after \"simulated:\" only options can follow, as in simulated:?start=50ms".into())
            })?,
            None => return Err(refused("does not begin with \"simulated:\"".into())),
        };
        let mut address = Self { url: url.to_owned(), in_swarm: true, ..Self::default() };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option
                .split_once('=')
                .ok_or_else(|| refused(format!("option {option:?} has no value; write for example start=50ms")))?;
            address.set(key, value).map_err(refused)?;
        }
        address.labels.sort();
        Ok(address)
    }

    /// Takes one option; the error says what is wrong with it.
    fn set(&mut self, key: &str, value: &str) -> std::result::Result<(), String> {
        let wrong = |what: &str| format!("{key}={value}: {value:?} is not {what}");
        match key {
            "hang" => {
                let file = PathBuf::from(value);
                let file =
                    Some(file).filter(|file| file.is_absolute()).ok_or_else(|| wrong("a path that begins with /"))?;
                self.hang = Hang(Some(file.into()));
            }
            "label" => {
                let (key, value) = value.split_once('=').ok_or_else(|| wrong("a label such as rack=r1"))?;
                self.labels.push((key.to_owned(), value.to_owned()));
            }
            "clock" => {
                let (sign, length) = value.strip_prefix('-').map_or((1, value), |length| (-1, length));
                let length = duration(length).and_then(|length| i64::try_from(length.as_nanos()).ok());
                self.clock = sign * length.ok_or_else(|| wrong("a duration such as 2s or -50ms"))?;
            }
            "swarm" if value == "none" => self.in_swarm = false,
            "swarm" => return Err(wrong("\"none\"")),
            _ => {
                let op = Op::ALL.into_iter().find(|op| op.name() == key).ok_or_else(|| {
                    let known = Op::ALL.map(Op::name).join(", ");
                    format!("there is no option {key:?}; there are: clock, hang, label, swarm, {known}")
                })?;
                let delay = duration(value).ok_or_else(|| wrong("a duration such as 50ms or 2s"))?;
                self.delays.push((op, delay));
            }
        }
        Ok(())
    }
}

/// Reads `50ms`, `2s`, `100us`.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let number = number.parse().ok()?;
    match unit {
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        _ => None,
    }
}
