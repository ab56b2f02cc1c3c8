//! One shot as plain text, for pipes and files.

use super::snapshot::{Snapshot, bytes, percent};
use super::usage::Readings;
use super::view::now;

/// Characters after which a log's last line is cut.
const LOG: usize = 100;

/// The table, a line per node, and the remaining messages below it.
pub(crate) fn table(snapshot: &Snapshot, readings: &Readings) -> String {
    let now = now();
    let mut rows =
        vec![["NAME", "ADDRESS", "STATE", "READY", "PID", "UPTIME", "CPU", "MEMORY", "LOG"].map(String::from)];
    for node in &snapshot.nodes {
        let reading = readings.of.get(&node.container).copied().unwrap_or_default();
        let mut log: String = node.last_line.chars().take(LOG).collect();
        if log.len() < node.last_line.len() {
            log.push('…');
        }
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        rows.push([
            node.name.clone(),
            or_dash(&node.ip),
            node.state(),
            node.ready(),
            or_dash(&node.pid),
            node.uptime(now),
            percent(reading.cpu),
            bytes(reading.memory),
            or_dash(&log),
        ]);
    }
    let mut widths = [0; 9];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let right = (4..8).contains(&column);
            line.push_str(&if right { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str(&format!("{} of {} up\n", snapshot.up(), snapshot.nodes.len()));
    for fault in &snapshot.faults {
        text.push_str(&format!("fault: {fault}\n"));
    }
    if snapshot.is_unknown() {
        text.push_str("the engine cannot be reached: nothing is known of the nodes\n");
    }
    if !readings.trouble.is_empty() {
        text.push_str(&format!("{}\n", readings.trouble));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::{readings, snapshot};
    use super::*;

    #[test]
    fn a_line_a_node_in_columns() {
        let text = table(&snapshot(3), &readings());
        let lines: Vec<&str> = text.lines().collect();
        let columns = |line: &str| line.split_whitespace().map(String::from).collect::<Vec<_>>();
        assert_eq!(columns(lines[0])[..5], ["NAME", "ADDRESS", "STATE", "READY", "PID"]);
        assert_eq!(columns(lines[1])[..5], ["i001", "172.30.0.2", "running", "yes", "4001"]);
        assert_eq!(columns(lines[1])[6..9], ["12.5%", "4.0M", "listening"]);
        assert_eq!(columns(lines[2])[2..5], ["exited", "137", "no"]);
        assert_eq!(lines[4], "2 of 3 up");
        assert_eq!(lines[0].find("STATE"), lines[1].find("running"));
    }

    #[test]
    fn an_engine_that_is_away_is_told() {
        let mut snapshot = snapshot(2);
        for node in &mut snapshot.nodes {
            node.state = None;
        }
        let readings = Readings { trouble: "no cpu and memory: away".into(), ..Readings::default() };
        let text = table(&snapshot, &readings);
        assert!(text.contains("unknown") && text.contains("the engine cannot be reached"), "{text}");
        assert!(text.ends_with("no cpu and memory: away\n"), "{text}");
    }
}
