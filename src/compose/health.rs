//! `healthcheck`.

use super::reader::{Keys, Reader, Rule};
use super::tree::{Entry, Value};
use super::values::{DURATION, duration};
use crate::engine::HealthCheck;

const HEALTH_CHECK: &Keys<HealthCheck> = &[
    ("test", Rule::Read(|reader, check, entry| check.test = test(reader, entry))),
    ("interval", Rule::Read(|reader, check, entry| check.interval = time(reader, entry))),
    ("timeout", Rule::Read(|reader, check, entry| check.timeout = time(reader, entry))),
    ("start_period", Rule::Read(|reader, check, entry| check.start_period = time(reader, entry))),
    ("start_interval", Rule::Read(|reader, check, entry| check.start_interval = time(reader, entry))),
    (
        "retries",
        Rule::Read(|reader, check, entry| {
            check.retries = reader.parsed("healthcheck: retries", &entry.node, "a number of tries", |text| {
                text.parse().ok().filter(|retries| *retries >= 0)
            });
        }),
    ),
    (
        "disable",
        Rule::Read(|reader, check, entry| {
            if reader.truth("healthcheck: disable", &entry.node) == Some(true) {
                check.test = Some(vec!["NONE".into()]);
            }
        }),
    ),
];

/// Reads it.
pub(super) fn read(reader: &mut Reader, entry: &Entry) -> HealthCheck {
    let mut check = HealthCheck::default();
    reader.map("a healthcheck", &entry.node, HEALTH_CHECK, &mut check);
    check
}

fn time(reader: &mut Reader, entry: &Entry) -> Option<std::time::Duration> {
    reader.parsed(&format!("healthcheck: {}", entry.key), &entry.node, DURATION, duration)
}

fn test(reader: &mut Reader, entry: &Entry) -> Option<Vec<String>> {
    let words = reader.texts("healthcheck: test", &entry.node);
    if !matches!(entry.node.value, Value::List(_)) {
        return words.into_iter().next().map(|line| vec!["CMD-SHELL".into(), line]);
    }
    let is_good = match words.first().map(String::as_str) {
        Some("NONE") => words.len() == 1,
        Some("CMD") => words.len() > 1,
        Some("CMD-SHELL") => words.len() == 2,
        _ => false,
    };
    if !is_good {
        let text = "healthcheck: a test is [CMD, PROGRAM, ...], [CMD-SHELL, LINE], [NONE] or a line for the shell";
        reader.refuse(&entry.node.mark, text);
        return None;
    }
    Some(words)
}
