//! The screen's life: what comes in, from keys, mount, engine and signals, each on a thread of its own, and the terminal
//! given back whatever happens.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};

use super::reader::{Reader, Wanted};
use super::snapshot::Snapshot;
use super::usage::Meter;
use super::view::{Screen, now};
use crate::daemon::{ASK_AGAIN, check_answers};

/// Uptimes go on, and the engine's word is shown, at least so often.
const TICK: Duration = Duration::from_secs(1);
/// Changes that come faster are shown together.
const TOGETHER: Duration = Duration::from_millis(50);

enum News {
    Key(KeyEvent),
    /// The terminal has another size.
    Resized,
    Snapshot(Snapshot),
    /// A signal says to end, by its number.
    Told(i32),
    /// It cannot go on: a sentence.
    Over(anyhow::Error),
}

/// Follows the cluster until the user quits.
///
/// # Errors
/// A sentence: the mount has gone away, or the terminal cannot be used.
pub(crate) fn follow(reader: Reader) -> Result<ExitCode> {
    let (news, inbox) = channel();
    let looked_at = Arc::new(AtomicBool::new(true));
    let meters = reader.meters();
    let wanted = reader.wanted();
    let mountpoint = [reader.mountpoint().to_owned()];
    // Before the terminal is changed, so that no signal leaves it so.
    follow_signals(&news)?;
    // Also sets a panic hook that restores it.
    let mut terminal = ratatui::try_init().context("cannot use this terminal")?;
    spawn("mount", &news, {
        let (news, meters) = (news.clone(), meters.clone());
        move || read_mount(reader, &news, &meters)
    });
    spawn("answers", &news, move || {
        loop {
            thread::sleep(ASK_AGAIN);
            check_answers(&mountpoint)?;
        }
    });
    spawn("keys", &news, {
        let news = news.clone();
        move || read_keys(&news)
    });
    for meter in &meters {
        let (meter, looked_at) = (meter.clone(), looked_at.clone());
        spawn("engine", &news, move || {
            meter.measure(|| looked_at.load(Ordering::Relaxed));
            Ok(())
        });
    }
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut screen = Screen { colours, ..Screen::default() };
    let ended = show(&mut terminal, &mut screen, &inbox, &meters, &wanted);
    looked_at.store(false, Ordering::Relaxed);
    ratatui::restore();
    ended
}

fn show(
    terminal: &mut DefaultTerminal,
    screen: &mut Screen,
    inbox: &std::sync::mpsc::Receiver<News>,
    meters: &[Arc<Meter>],
    wanted: &Wanted,
) -> Result<ExitCode> {
    loop {
        screen.readings = Meter::readings_of(meters);
        terminal.draw(|frame| screen.draw(frame, now())).context("cannot write to the terminal")?;
        match inbox.recv_timeout(TICK) {
            Ok(News::Key(key)) => {
                if !pressed(screen, key, wanted) {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Ok(News::Snapshot(snapshot)) => screen.snapshot = Some(snapshot),
            Ok(News::Resized) | Err(RecvTimeoutError::Timeout) => {}
            // As if it had died of it.
            Ok(News::Told(number)) => return Ok(ExitCode::from(u8::try_from(128 + number).unwrap_or(u8::MAX))),
            Ok(News::Over(error)) => return Err(error),
            Err(RecvTimeoutError::Disconnected) => return Err(anyhow!("nothing is left to follow")),
        }
    }
}

/// Does what a key says; false if that is to quit.
fn pressed(screen: &mut Screen, key: KeyEvent, wanted: &Wanted) -> bool {
    if key.kind == KeyEventKind::Release {
        return true;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c' | 'd') if control => return false,
        KeyCode::Char('q') => return false,
        KeyCode::Esc | KeyCode::Enter | KeyCode::Left | KeyCode::Backspace if screen.log => {
            screen.log = false;
            wanted.set(None);
        }
        KeyCode::Esc => return false,
        KeyCode::Enter | KeyCode::Right => {
            screen.log = true;
            screen.log_up = 0;
            wanted.set(screen.table.selected());
        }
        KeyCode::Down | KeyCode::Char('j') => move_by(screen, 1),
        KeyCode::Up | KeyCode::Char('k') => move_by(screen, -1),
        KeyCode::PageDown | KeyCode::Char(' ') => move_by(screen, 20),
        KeyCode::PageUp => move_by(screen, -20),
        KeyCode::Home | KeyCode::Char('g') => move_by(screen, isize::MIN / 2),
        KeyCode::End | KeyCode::Char('G') => move_by(screen, isize::MAX / 2),
        _ => {}
    }
    true
}

/// Down the list, or the log. Too far is as far as it goes: drawing sees to the end.
fn move_by(screen: &mut Screen, rows: isize) {
    if screen.log {
        screen.log_up = screen.log_up.saturating_add_signed(-rows);
    } else {
        let chosen = screen.table.selected().unwrap_or(0);
        screen.table.select(Some(chosen.saturating_add_signed(rows)));
    }
}

/// A thread whose end in an error or a panic is the end of all.
fn spawn(name: &str, news: &Sender<News>, work: impl FnOnce() -> Result<()> + Send + 'static) {
    let told = news.clone();
    let body = move || {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let ended = ended.unwrap_or_else(|_| Err(anyhow!("a defect: please report what is written above")));
        if let Err(error) = ended {
            let _ = told.send(News::Over(error));
        }
    };
    if let Err(error) = thread::Builder::new().name(name.into()).spawn(body) {
        let _ = news.send(News::Over(anyhow!("cannot start a thread: {error}")));
    }
}

fn read_mount(mut reader: Reader, news: &Sender<News>, meters: &[Arc<Meter>]) -> Result<()> {
    loop {
        let snapshot = reader.read()?;
        meters.iter().for_each(|meter| meter.watch(&snapshot));
        if news.send(News::Snapshot(snapshot)).is_err() {
            return Ok(());
        }
        thread::sleep(TOGETHER);
        reader.wait(TICK)?;
    }
}

fn read_keys(news: &Sender<News>) -> Result<()> {
    loop {
        let told = match event::read().context("the terminal has gone away")? {
            Event::Key(key) => News::Key(key),
            Event::Resize(..) => News::Resized,
            _ => continue,
        };
        if news.send(told).is_err() {
            return Ok(());
        }
    }
}

/// SIGTERM, SIGHUP, and a SIGINT that no key sent.
fn follow_signals(news: &Sender<News>) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot wait for signals")?;
    let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
    let mut streams = vec![];
    for kind in kinds {
        let _inside = runtime.enter();
        streams.push((kind, signal(kind).context("cannot wait for signals")?));
    }
    spawn("signals", news, {
        let news = news.clone();
        move || {
            let number = runtime.block_on(async {
                let waits = streams.iter_mut().map(|(kind, stream)| {
                    Box::pin(async move {
                        stream.recv().await;
                        kind.as_raw_value()
                    })
                });
                futures_util::future::select_all(waits).await.0
            });
            let _ = news.send(News::Told(number));
            Ok(())
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::snapshot;
    use super::*;

    #[test]
    fn a_thread_that_panics_ends_it_all_with_a_sentence() {
        let (news, inbox) = channel();
        spawn("test", &news, || Err(anyhow!("gone")));
        let Ok(News::Over(error)) = inbox.recv_timeout(Duration::from_secs(20)) else { panic!("no news") };
        assert_eq!(error.to_string(), "gone");
    }

    #[test]
    fn moves_stay_within_the_list_and_the_log() {
        let mut screen = Screen { snapshot: Some(snapshot(3)), ..Screen::default() };
        for rows in [-1, isize::MIN / 2, isize::MAX / 2, isize::MAX / 2, isize::MAX / 2] {
            move_by(&mut screen, rows);
        }
        assert!(screen.table.selected().unwrap() > 3);
        screen.log = true;
        move_by(&mut screen, -3);
        assert_eq!(screen.log_up, 3);
        move_by(&mut screen, 5);
        assert_eq!(screen.log_up, 0);
    }
}
