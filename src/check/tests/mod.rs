//! Histories written down in short: `0 + add 7` is the invoke of process 0, `0 ok add 7`, `0 fail …` and `0 ? …` (info) its
//! completions, `read@x` an operation on key "x". What begins with a brace is a line of another kind.

mod bad_input;
mod linear;
mod made_up;
mod models;

use super::{Model, Options, verdict};
use crate::history::{HistoryLine, VerdictEvent, VerdictResult};

/// The lines of a history, numbered from 1.
pub(super) fn lines(short: &str) -> Vec<HistoryLine> {
    let lines = short.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.zip(1..).map(|(line, seq)| HistoryLine { seq, ..HistoryLine::parse(&long(line)).unwrap() }).collect()
}

fn long(line: &str) -> String {
    if line.starts_with('{') {
        return line.to_owned();
    }
    let mut words = line.splitn(4, ' ');
    let mut word = || words.next().unwrap_or("null");
    let (process, kind, f, value) = (word(), word(), word(), word());
    let kind = match kind {
        "+" => "invoke",
        "?" => "info",
        other => other,
    };
    let (f, key) = f.split_once('@').map_or((f, String::new()), |(f, key)| (f, format!(r#","key":"{key}""#)));
    // `fail!` says what went wrong.
    let (kind, error) = kind.strip_suffix('!').map_or((kind, ""), |kind| (kind, r#","error":"refused""#));
    format!(r#"{{"test":{{"process":{process},"type":"{kind}","f":"{f}","value":{value}{key}{error}}}}}"#)
}

pub(super) fn checked(model: Model, options: &Options, short: &str) -> VerdictEvent {
    verdict(lines(short).into_iter().map(Ok::<_, String>), model, options).unwrap()
}

pub(super) fn check(model: Model, short: &str) -> VerdictEvent {
    checked(model, &Options::default(), short)
}

/// Fails unless it is good; returns the sentence.
#[track_caller]
pub(super) fn good(model: Model, short: &str) -> String {
    let verdict = check(model, short);
    assert_eq!(verdict.result, VerdictResult::Good, "{verdict:#?}");
    verdict.text
}

#[track_caller]
pub(super) fn unknown(model: Model, short: &str) -> String {
    let verdict = check(model, short);
    assert_eq!(verdict.result, VerdictResult::Unknown, "{verdict:#?}");
    verdict.text
}

/// Fails unless it is violated by anomalies of these kinds; returns the verdict's sentence and those of the anomalies.
#[track_caller]
pub(super) fn violated(model: Model, kinds: &[&str], short: &str) -> String {
    let verdict = check(model, short);
    assert_eq!(verdict.result, VerdictResult::Violated, "{verdict:#?}");
    let found: Vec<&str> = verdict.anomalies.iter().map(|anomaly| anomaly.kind.as_str()).collect();
    assert_eq!(found, kinds, "{verdict:#?}");
    let texts = verdict.anomalies.iter().map(|anomaly| anomaly.text.as_str());
    std::iter::once(verdict.text.as_str()).chain(texts).collect::<Vec<_>>().join("\n")
}
