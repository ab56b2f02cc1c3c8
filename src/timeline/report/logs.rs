//! The lines of nodes' logs that belong to a moment, by the times at their beginnings.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use regex::Regex;

use crate::timeline::axis::SECOND;
use crate::timeline::model::Timeline;

/// So far around the start and the end of an operation, in ns.
const AROUND: i64 = 2 * SECOND;
/// Most lines of a moment that are shown of one node.
const MOST: usize = 200;
/// So many lines of a log's end are shown.
const END: usize = 20;
/// Most characters of a line.
const LONGEST: usize = 400;
/// A time stands within so many characters.
const HEAD: usize = 120;

/// Times of the day that a report is about, in ns since 1970; in order, without overlap.
pub(crate) struct Moments(Vec<(i64, i64)>);

impl Moments {
    /// Those of the operations that the anomalies name.
    pub(crate) fn of(timeline: &Timeline) -> Self {
        let Some(start) = humantime::parse_rfc3339(&timeline.start).ok().and_then(since_1970) else {
            return Self(vec![]);
        };
        let operations = timeline.anomalies().flat_map(|(_, anomaly)| &anomaly.operations);
        let mut all: Vec<(i64, i64)> = operations
            .map(|(lane, index)| &timeline.lanes[*lane].operations[*index])
            .flat_map(|operation| [operation.from, operation.counts_at()])
            .map(|at| start.saturating_add(at))
            .map(|at| (at.saturating_sub(AROUND), at.saturating_add(AROUND)))
            .collect();
        all.sort_unstable();
        let mut merged: Vec<(i64, i64)> = vec![];
        for (from, to) in all {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    /// Whether there are none, so that only the ends of logs are of use.
    pub(crate) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    fn contain(&self, at: i64) -> bool {
        self.0.iter().any(|(from, to)| (*from..=*to).contains(&at))
    }
}

/// What is shown of a node's log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Excerpt {
    pub(crate) node: String,
    /// What the lines are: a sentence.
    pub(crate) what: String,
    pub(crate) lines: Vec<String>,
    /// Whether they are those of the moment.
    pub(crate) is_moment: bool,
}

/// Reads the log of a node, line by line. A line without a time belongs to the one before.
pub(crate) fn excerpt(node: &str, lines: impl Iterator<Item = Vec<u8>>, moments: &Moments) -> Excerpt {
    let (mut within, mut left_out) = (vec![], 0_usize);
    let mut end = VecDeque::new();
    let mut times: Option<(i64, i64)> = None;
    let near = moments.0.first().map(|(from, _)| *from);
    let mut belongs = false;
    for line in lines {
        if let Some(at) = near.and_then(|near| time(&String::from_utf8_lossy(&line[..line.len().min(4 * HEAD)]), near))
        {
            belongs = moments.contain(at);
            times = Some(times.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
        }
        match belongs {
            true if within.len() < MOST => within.push(shown(&line)),
            true => left_out += 1,
            false => {}
        }
        if end.len() == END {
            end.pop_front();
        }
        end.push_back(line);
    }
    let its_end = || end.iter().map(|line| shown(line)).collect();
    let (what, lines, is_moment) = match times {
        _ if end.is_empty() => ("It is empty.".into(), vec![], false),
        _ if moments.are_none() => ("The end of it:".into(), its_end(), false),
        None => ("Its lines have no times that could be read. The end of it:".into(), its_end(), false),
        Some(_) if left_out > 0 => {
            (format!("The first {MOST} lines of these moments; {left_out} more follow:"), within, true)
        }
        Some(_) if !within.is_empty() => (format!("{} within 2 s:", count_of(within.len())), within, true),
        Some((first, last)) => {
            (format!("Nothing within 2 s. Its lines are from {} to {}.", written(first), written(last)), vec![], false)
        }
    };
    Excerpt { node: node.to_owned(), what, lines, is_moment }
}

fn count_of(lines: usize) -> String {
    if lines == 1 { "1 line".into() } else { format!("{lines} lines") }
}

/// A line as it is shown: not too long.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\n', '\r']);
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn written(at: i64) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(at.max(0).cast_unsigned());
    humantime::format_rfc3339_seconds(time).to_string()
}

fn since_1970(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_nanos()).ok()
}

/// RFC 3339 and what is like it (`2026-11-30 08:00:05,123 +0100`, `2026/11/30 08:00:05`), Redis's `30 Nov 2026 08:00:05.123`
/// and web servers' `30/Nov/2026:08:00:05`, and without a year syslog's `Nov 30 08:00:05` and glog's `I1130 08:00:05.123456`.
static TIME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    const MONTH: &str = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec";
    Regex::new(
        &[
            r"(?:(?<y1>\d{4})[-/.](?<m1>\d\d)[-/.](?<d1>\d\d)[T ]|",
            r"\b(?<d2>\d{1,2})[ /-](?<m2>MONTH)[ /-](?<y2>\d{4})[ :]|",
            r"\b(?<m3>MONTH) +(?<d3>\d{1,2}) |",
            r"^[IWEFD](?<m4>\d\d)(?<d4>\d\d) )",
            r"(?<clock>\d\d:\d\d:\d\d)(?:[.,](?<fraction>\d{1,9}))?(?: (?<y3>20\d\d)\b)?",
            r"(?: ?(?<sign>[+-])(?<hours>\d\d):?(?<minutes>\d\d)\b)?",
        ]
        .concat()
        .replace("MONTH", MONTH),
    )
    .ok()
});

/// The time at the beginning of a line, in ns since 1970. One without a zone is UTC, as in containers; one without a year is
/// as close to `near` as a year makes it.
fn time(line: &str, near: i64) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let head = line.char_indices().nth(HEAD).map_or(line, |(at, _)| &line[..at]);
    let found = TIME.as_ref()?.captures(head)?;
    let part = |name: &str| found.name(name).map(|part| part.as_str());
    let any = |names: &[&str]| names.iter().find_map(|name| part(name));
    let month = match any(&["m2", "m3"]) {
        Some(name) => format!("{:02}", MONTHS.find(name)? / 3 + 1),
        None => any(&["m1", "m4"])?.to_owned(),
    };
    let (day, clock) = (any(&["d1", "d2", "d3", "d4"])?, part("clock")?);
    let fraction = part("fraction").unwrap_or("0");
    let in_year = |year: i64| {
        let text = format!("{year:04}-{month}-{day:0>2}T{clock}.{fraction}Z");
        since_1970(humantime::parse_rfc3339(&text).ok()?)
    };
    let at = match any(&["y1", "y2", "y3"]) {
        Some(year) => in_year(year.parse().ok()?)?,
        None => {
            let year: i64 = written(near).get(..4)?.parse().ok()?;
            (year - 1..=year + 1).filter_map(in_year).min_by_key(|at| at.abs_diff(near))?
        }
    };
    let Some(sign) = part("sign") else { return Some(at) };
    let offset = part("hours")?.parse::<i64>().ok()? * 3600 + part("minutes")?.parse::<i64>().ok()? * 60;
    Some(at - offset * SECOND * if sign == "-" { -1 } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EIGHT: i64 = 1_796_025_605_000_000_000;

    fn moments() -> Moments {
        Moments(vec![(EIGHT - AROUND, EIGHT + AROUND)])
    }

    fn of(log: &str) -> Excerpt {
        excerpt("i001", log.lines().map(|line| line.as_bytes().to_vec()), &moments())
    }

    #[test]
    fn times_as_programs_print_them() {
        for line in [
            "2026-11-30T08:00:05Z raft: started",
            "2026-11-30T08:00:05.000000Z x",
            "2026-11-30T09:00:05+01:00 x",
            "2026-11-30 04:30:05.000 -0330 x",
            "[2026-11-30 08:00:05,000] INFO (kafka.server)",
            "2026-11-30 08:00:05.000 UTC [1] LOG:  ready",
            "[1] 2026/11/30 08:00:05.000000 [INF] Server is ready",
            "1:M 30 Nov 2026 08:00:05.000 * Ready",
            r#"{"level":"info","ts":"2026-11-30T08:00:05.000Z","msg":"x"}"#,
            "2026.11.30 08:00:05.000000 [ 1 ] <Information> x",
            r#"10.0.0.1 - - [30/Nov/2026:09:00:05 +0100] "GET / HTTP/1.1" 200"#,
            "[Mon Nov 30 08:00:05.000000 2026] [core:notice] [pid 1] x",
            "Nov 30 08:00:05 i001 kv[1]: ready",
            "<13>Nov 30 08:00:05 kv: ready",
            "I1130 08:00:05.000000       1 server.go:12] ready",
        ] {
            assert_eq!(time(line, EIGHT + 3600 * SECOND), Some(EIGHT), "{line}");
        }
        assert_eq!(time("2026-11-30T08:00:05.25Z", EIGHT), Some(EIGHT + 250_000_000));
        for line in
            ["", "ready", "2026-13-40T08:00:05Z", "99 Foo 2026 08:00:05", "08:00:05 x", "2026-11-30", "Nov 31 08:00:05"]
        {
            assert_eq!(time(line, EIGHT), None, "{line}");
        }
        assert_eq!(time(&format!("{}2026-11-30T08:00:05Z", " ".repeat(HEAD)), EIGHT), None);
        // Around the end of a year, the year is the other one's.
        let new_year = time("2027-01-01T00:00:01Z", EIGHT).unwrap();
        assert_eq!(time("Dec 31 23:59:59 x", new_year), Some(new_year - 2 * SECOND));
        assert_eq!(time("Jan  1 00:00:02 x", new_year - 2 * SECOND), Some(new_year + SECOND));
        // Of the days that not each year has, the year that has it.
        let leap = time("2028-02-29T08:00:05Z", EIGHT).unwrap();
        assert_eq!(time("Feb 29 08:00:05 x", leap), Some(leap));
    }

    #[test]
    fn lines_of_the_moment_with_those_that_belong_to_them() {
        let log =
            "2026-11-30T08:00:01Z early\n2026-11-30T08:00:04Z panic\n  at main\n2026-11-30T08:00:09Z late\n  at end";
        let excerpt = of(log);
        assert_eq!(excerpt.lines, ["2026-11-30T08:00:04Z panic", "  at main"]);
        assert_eq!((excerpt.what.as_str(), excerpt.is_moment), ("2 lines within 2 s:", true));
        let many: String = (0..300).map(|n| format!("2026-11-30T08:00:05Z {n}\n")).collect();
        let excerpt = of(&many);
        assert_eq!(excerpt.lines.len(), MOST);
        assert!(excerpt.what.contains("100 more"), "{}", excerpt.what);
    }

    #[test]
    fn without_times_the_end_and_a_word_on_it() {
        let log: String = (0..50).map(|n| format!("line {n}\n")).collect();
        let excerpt = of(&log);
        assert_eq!((excerpt.lines.len(), excerpt.lines[19].as_str()), (20, "line 49"));
        assert!(excerpt.what.starts_with("Its lines have no times"));
        assert_eq!(of("").what, "It is empty.");
        let other = of("2026-11-30T07:00:00Z a\n2026-11-30T07:10:00Z b");
        assert_eq!(other.what, "Nothing within 2 s. Its lines are from 2026-11-30T07:00:00Z to 2026-11-30T07:10:00Z.");
    }
}
