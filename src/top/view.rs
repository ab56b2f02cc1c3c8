//! Draws the screen from what is known: a pure function of a [`Screen`] and the size.

use std::time::{SystemTime, UNIX_EPOCH};

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table, TableState};

use super::snapshot::{Node, Snapshot, bytes, percent};
use super::usage::{Reading, Readings};

/// What is on the screen.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    /// What the mount says; `None` until it has answered.
    pub(crate) snapshot: Option<Snapshot>,
    /// What the engine says.
    pub(crate) readings: Readings,
    /// The node that is chosen, and how far the list is scrolled.
    pub(crate) table: TableState,
    /// Whether the log of the chosen node is shown.
    pub(crate) log: bool,
    /// How many lines of the log are below the screen.
    pub(crate) log_up: usize,
    /// Whether there may be colours.
    pub(crate) colours: bool,
}

/// A column of the table: its title, its least width, and from which width of the screen on it is shown.
struct Column {
    title: &'static str,
    width: u16,
    from: u16,
    right: bool,
}

const COLUMNS: [Column; 9] = [
    Column { title: "NAME", width: 6, from: 0, right: false },
    Column { title: "ADDRESS", width: 15, from: 110, right: false },
    Column { title: "STATE", width: 10, from: 0, right: false },
    Column { title: "READY", width: 9, from: 30, right: false },
    Column { title: "PID", width: 7, from: 70, right: true },
    Column { title: "UPTIME", width: 7, from: 38, right: true },
    Column { title: "CPU", width: 6, from: 46, right: true },
    Column { title: "MEM", width: 5, from: 54, right: true },
    Column { title: "FAULTS", width: 6, from: 64, right: true },
];
/// Of longer names only the beginning is shown.
const LONGEST_NAME: u16 = 24;
/// A last line is shown if it has so much room.
const LOG_FROM: u16 = 12;

/// ns since the Unix epoch.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
}

impl Screen {
    fn style(&self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    pub(crate) fn draw(&mut self, frame: &mut Frame, now: i64) {
        let area = frame.area();
        let foot = u16::from(area.height >= 5);
        let head = if area.height >= 8 { 3 } else { 1 };
        let [head, body, foot] =
            Layout::vertical([Constraint::Length(head), Constraint::Min(1), Constraint::Length(foot)]).areas(area);
        let Some(snapshot) = self.snapshot.take() else {
            frame.render_widget("reading the mount …", head);
            frame.render_widget(Line::from("q quits"), foot);
            return;
        };
        self.head(frame, head, &snapshot);
        if self.log {
            self.log(frame, body, &snapshot);
        } else {
            self.nodes(frame, body, &snapshot, now);
        }
        let keys = match (self.log, area.width) {
            (_, ..30) => "q quit",
            (true, _) => "Esc back  ↑↓ scroll  q quit",
            (false, _) => "q quit  ↑↓ choose  Enter log",
        };
        frame.render_widget(Line::from(keys).style(Style::new().add_modifier(Modifier::DIM)), foot);
        self.snapshot = Some(snapshot);
    }

    fn head(&self, frame: &mut Frame, area: Rect, snapshot: &Snapshot) {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let up = snapshot.up();
        let all_up = up == snapshot.nodes.len();
        let count = Span::styled(
            format!("{up}/{} up", snapshot.nodes.len()),
            bold.patch(self.style(if all_up { Color::Green } else { Color::Red })),
        );
        let first = vec![
            count,
            Span::raw("  "),
            Span::styled(snapshot.mountpoint.clone(), bold),
            Span::raw("  "),
            Span::raw(snapshot.image.clone()),
        ];
        let engine = match (self.readings.engine.as_str(), snapshot.engine.as_str()) {
            ("", "") => "engine not known".to_owned(),
            ("", address) => format!("engine {address}"),
            (description, address) => format!("{description} at {address}"),
        };
        let mut lines = vec![Line::from(first), Line::from(engine)];
        if snapshot.is_unknown() {
            lines[1] = Line::styled(
                "the engine cannot be reached: nothing is known of the nodes",
                bold.patch(self.style(Color::Red)),
            );
        } else if !self.readings.trouble.is_empty() {
            lines[1] = Line::styled(self.readings.trouble.clone(), self.style(Color::Yellow));
        }
        lines.push(match snapshot.faults.as_slice() {
            [] => Line::default(),
            [one] => Line::styled(format!("fault: {one}"), self.style(Color::Magenta)),
            [first, ..] => {
                let text = format!("{} faults: {first}, …", snapshot.faults.len());
                Line::styled(text, self.style(Color::Magenta))
            }
        });
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn nodes(&mut self, frame: &mut Frame, area: Rect, snapshot: &Snapshot, now: i64) {
        if let Some(last) = snapshot.nodes.len().checked_sub(1) {
            let chosen = self.table.selected().unwrap_or(0).min(last);
            self.table.select(Some(chosen));
        }
        let faulty = !snapshot.faults.is_empty();
        let shown: Vec<&Column> =
            COLUMNS.iter().filter(|column| column.from <= area.width && (column.title != "FAULTS" || faulty)).collect();
        let longest = snapshot.nodes.iter().map(|node| node.name.len()).max().unwrap_or_default();
        let width = |column: &&Column| match column.title {
            "NAME" => column.width.max(u16::try_from(longest).unwrap_or(u16::MAX).min(LONGEST_NAME)),
            _ => column.width,
        };
        let used: u16 = shown.iter().map(|column| width(column) + 1).sum();
        let log = area.width.saturating_sub(used) >= LOG_FROM;
        let mut widths: Vec<Constraint> = shown.iter().map(|column| Constraint::Length(width(column))).collect();
        let mut titles: Vec<Line> = shown.iter().map(|column| cell(column, column.title.to_owned())).collect();
        if log {
            widths.push(Constraint::Fill(1));
            titles.push(Line::from("LOG"));
        }
        let rows = snapshot.nodes.iter().map(|node| {
            let reading = self.readings.of.get(&node.container).copied().unwrap_or_default();
            let mut cells: Vec<Line> = shown.iter().map(|column| self.value(column, node, reading, now)).collect();
            if log {
                cells.push(Line::from(node.last_line.clone()));
            }
            Row::new(cells)
        });
        let table = Table::new(rows.collect::<Vec<_>>(), widths)
            .header(Row::new(titles).style(Style::new().add_modifier(Modifier::REVERSED)))
            .row_highlight_style(Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED));
        frame.render_stateful_widget(table, area, &mut self.table);
    }

    fn value<'a>(&self, column: &Column, node: &Node, reading: Reading, now: i64) -> Line<'a> {
        let text = match column.title {
            "NAME" => node.name.clone(),
            "ADDRESS" => node.ip.clone(),
            "STATE" => node.state(),
            "READY" => node.ready(),
            "PID" if node.pid.is_empty() => "-".into(),
            "PID" => node.pid.clone(),
            "UPTIME" => node.uptime(now),
            "CPU" => percent(reading.cpu),
            "MEM" => bytes(reading.memory),
            _ if node.faults == 0 => "-".into(),
            _ => node.faults.to_string(),
        };
        let style = match (column.title, text.as_str()) {
            ("STATE", "running") | ("READY", "yes") => self.style(Color::Green),
            ("STATE", "paused") | ("READY", "no") => self.style(Color::Yellow),
            ("STATE", "created") => Style::new(),
            ("STATE", _) | ("READY", "unhealthy") => self.style(Color::Red).add_modifier(Modifier::BOLD),
            ("FAULTS", count) if count != "-" => self.style(Color::Magenta),
            _ => Style::new(),
        };
        cell(column, text).style(style)
    }

    fn log(&mut self, frame: &mut Frame, area: Rect, snapshot: &Snapshot) {
        let chosen = self.table.selected().unwrap_or(0);
        let name = snapshot.nodes.get(chosen).map_or("", |node| node.name.as_str());
        let lines = match &snapshot.log {
            Some((node, lines)) if *node == chosen => lines.as_slice(),
            _ => &[],
        };
        let [title, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
        let state = snapshot.nodes.get(chosen).map(Node::state).unwrap_or_default();
        let head = format!("log of {name} ({state})");
        frame.render_widget(Line::styled(head, Style::new().add_modifier(Modifier::REVERSED)), title);
        let room = usize::from(body.height);
        self.log_up = self.log_up.min(lines.len().saturating_sub(room));
        let end = lines.len() - self.log_up;
        let shown: Vec<Line> =
            lines[end.saturating_sub(room)..end].iter().map(|line| Line::from(line.as_str())).collect();
        frame.render_widget(Paragraph::new(shown), body);
    }
}

fn cell<'a>(column: &Column, text: String) -> Line<'a> {
    let line = Line::from(text);
    if column.right { line.right_aligned() } else { line }
}

#[cfg(test)]
pub(crate) mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    /// A cluster whose second node is down.
    pub(crate) fn snapshot(nodes: usize) -> Snapshot {
        let node = |index: usize| Node {
            name: format!("i{:03}", index + 1),
            ip: format!("172.30.0.{}", index + 2),
            state: Some(if index == 1 { "exited" } else { "running" }.into()),
            ready: if index == 1 { "no" } else { "yes" }.into(),
            pid: if index == 1 { String::new() } else { format!("{}", 4001 + index) },
            exit_code: if index == 1 { "137".into() } else { String::new() },
            started_at: 1_000_000_000,
            container: format!("c{index}"),
            last_line: format!("listening on port {index}"),
            ..Node::default()
        };
        Snapshot {
            mountpoint: "/home/me/cluster".into(),
            image: "my-kv:1".into(),
            engine: "unix:///var/run/docker.sock".into(),
            nodes: (0..nodes).map(node).collect(),
            ..Snapshot::default()
        }
    }

    /// What the first node uses.
    pub(crate) fn readings() -> Readings {
        let reading = Reading { cpu: Some(12.5), memory: Some(4 << 20) };
        Readings {
            of: [("c0".to_owned(), reading)].into(),
            engine: "Docker Engine 20.10".into(),
            trouble: String::new(),
        }
    }

    fn screen(nodes: usize) -> Screen {
        Screen { snapshot: Some(snapshot(nodes)), readings: readings(), colours: true, ..Screen::default() }
    }

    fn drawn(screen: &mut Screen, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame, 63_000_000_000)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(row).collect()
    }

    #[test]
    fn eighty_columns_show_everything_that_matters() {
        let lines = drawn(&mut screen(3), 80, 12);
        assert_eq!(lines[0], "2/3 up  /home/me/cluster  my-kv:1");
        assert_eq!(lines[1], "Docker Engine 20.10 at unix:///var/run/docker.sock");
        assert_eq!(lines[3], "NAME   STATE      READY         PID  UPTIME    CPU   MEM LOG");
        assert_eq!(lines[4], "i001   running    yes          4001   1m02s  12.5%  4.0M listening on port 0");
        assert_eq!(lines[5], "i002   exited 137 no              -       -      -     - listening on port 1");
        assert_eq!(lines[11], "q quit  ↑↓ choose  Enter log");
    }

    #[test]
    fn any_size_shows_names_and_states_or_at_least_does_not_fail() {
        let lines = drawn(&mut screen(3), 20, 8);
        assert_eq!(lines[3..6], ["NAME   STATE", "i001   running", "i002   exited 137"]);
        for width in (1..30).chain([37, 38, 45, 46, 53, 54, 63, 64, 69, 70, 109, 110, 300]) {
            for height in [1, 2, 4, 5, 7, 8, 40] {
                for log in [false, true] {
                    let mut screen = screen(5);
                    screen.log = log;
                    drawn(&mut screen, width, height);
                }
            }
        }
        assert!(drawn(&mut Screen::default(), 40, 10)[0].contains("reading the mount"));
    }

    #[test]
    fn the_chosen_node_is_in_sight() {
        let mut screen = screen(400);
        screen.table.select(Some(350));
        let lines = drawn(&mut screen, 80, 24);
        assert!(lines.iter().any(|line| line.starts_with("i351")), "{lines:?}");
        // A choice beyond the end is the last.
        screen.table.select(Some(1000));
        let lines = drawn(&mut screen, 80, 24);
        assert!(lines.iter().any(|line| line.starts_with("i400")), "{lines:?}");
    }

    #[test]
    fn trouble_is_told_and_nothing_is_guessed() {
        let mut away = screen(2);
        for node in &mut away.snapshot.as_mut().unwrap().nodes {
            node.state = None;
            node.ready.clear();
        }
        let lines = drawn(&mut away, 80, 12);
        assert_eq!(lines[1], "the engine cannot be reached: nothing is known of the nodes");
        assert!(lines[4].starts_with("i001   unknown    -"), "{}", lines[4]);
        let mut other = screen(2);
        other.readings = Readings { trouble: "no cpu and memory: because".into(), ..Readings::default() };
        let lines = drawn(&mut other, 80, 12);
        assert_eq!(lines[1], "no cpu and memory: because");
    }

    #[test]
    fn faults_are_counted_where_they_are() {
        let mut screen = screen(3);
        let snapshot = screen.snapshot.as_mut().unwrap();
        snapshot.faults = vec!["i001>i002 drop".into(), "i002>i001 drop".into()];
        snapshot.nodes[0].faults = 2;
        let lines = drawn(&mut screen, 100, 12);
        assert_eq!(lines[2], "2 faults: i001>i002 drop, …");
        assert!(lines[3].contains("FAULTS") && lines[4].contains("      2 listening"), "{lines:?}");
    }

    #[test]
    fn a_log_is_shown_from_its_end_and_scrolls() {
        let mut screen = screen(3);
        screen.log = true;
        screen.table.select(Some(1));
        screen.snapshot.as_mut().unwrap().log = Some((1, (0..100).map(|n| format!("line {n}")).collect()));
        let lines = drawn(&mut screen, 60, 12);
        assert_eq!(lines[3], "log of i002 (exited 137)");
        assert_eq!((lines[4].as_str(), lines[10].as_str()), ("line 93", "line 99"));
        screen.log_up = 1000;
        let lines = drawn(&mut screen, 60, 12);
        assert_eq!((lines[4].as_str(), screen.log_up), ("line 0", 93));
    }

    #[test]
    fn without_colours_there_are_none() {
        let mut terminal = Terminal::new(TestBackend::new(80, 12)).unwrap();
        let mut screen = screen(3);
        screen.colours = false;
        terminal.draw(|frame| screen.draw(frame, 0)).unwrap();
        let buffer = terminal.backend().buffer();
        assert!(buffer.content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    }
}
