//! Any line written to control is a command or is refused with a sentence; what is a command can be written again.

use cthulhu::control::parse;

pub fn takes(line: &[u8]) -> bool {
    match parse(line) {
        Ok(None) => assert!(line.trim_ascii().is_empty()),
        Ok(Some(command)) => {
            let again = command.to_string();
            assert_eq!(parse(again.as_bytes()), Ok(Some(command)), "{again}");
        }
        Err(error) => {
            let sentence = error.to_string();
            assert!(!sentence.is_empty() && sentence.len() < 1000, "{sentence}");
            assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
            return false;
        }
    }
    true
}
