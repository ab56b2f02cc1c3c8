//! The address of a simulated engine: `simulated:` and its options.

use std::time::Duration;

use super::{Op, SimulatedEngine};
use crate::engine::{EngineError, Result};

impl SimulatedEngine {
    /// The engine that `simulated:` or for example `simulated:?start=50ms&stop=10ms` stands for. An option is the name
    /// of a call and how long it takes, in `us`, `ms` or `s`.
    pub fn from_url(url: &str) -> Result<Self> {
        let refused = |why: String| EngineError::Refused(format!("address {url:?}: {why}"));
        let options = match url.strip_prefix("simulated:") {
            Some("") => "",
            Some(rest) => rest.strip_prefix('?').ok_or_else(|| {
                refused("after \"simulated:\" only options can follow, as in simulated:?start=50ms".into())
            })?,
            None => return Err(refused("does not begin with \"simulated:\"".into())),
        };
        let engine = Self::at(url);
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option
                .split_once('=')
                .ok_or_else(|| refused(format!("option {option:?} has no value; write for example start=50ms")))?;
            let op = Op::ALL.into_iter().find(|op| op.name() == key);
            let op = op.ok_or_else(|| {
                let known = Op::ALL.map(Op::name).join(", ");
                refused(format!("there is no option {key:?}; there are: {known}"))
            })?;
            let delay = duration(value)
                .ok_or_else(|| refused(format!("{key}={value}: {value:?} is not a duration such as 50ms or 2s")))?;
            engine.delay(op, delay);
        }
        Ok(engine)
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
