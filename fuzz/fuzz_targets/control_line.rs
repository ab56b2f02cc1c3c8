//! Any line written to control is a command or is refused with a sentence; what is a command can be written again.
#![no_main]

use cthulhu::control::{Command, Verb, parse};
use libfuzzer_sys::fuzz_target;

fn written(command: &Command) -> String {
    let options = match &command.verb {
        Verb::Stop { grace } | Verb::Restart { grace } => {
            grace.map(|grace| format!(" -t {}", grace.as_secs())).unwrap_or_default()
        }
        Verb::Kill { signal } => format!(" -s {signal}"),
        Verb::Start | Verb::Crash | Verb::Heal | Verb::Pause | Verb::Resume => String::new(),
    };
    format!("{}{options} {}", command.verb.name(), command.nodes.join(" "))
}

fuzz_target!(|line: &[u8]| match parse(line) {
    Ok(None) => assert!(line.trim_ascii().is_empty()),
    Ok(Some(command)) => {
        let again = written(&command);
        assert_eq!(parse(again.as_bytes()), Ok(Some(command)), "{again}");
    }
    Err(error) => {
        let sentence = error.to_string();
        assert!(!sentence.is_empty() && sentence.len() < 1000, "{sentence}");
        assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
    }
});
