use proptest::prelude::*;

use super::*;

fn one(line: &str) -> String {
    parse(line.as_bytes()).unwrap().unwrap().to_string()
}

#[test]
fn commands() {
    for (line, command) in [
        (" start ", "start"),
        ("stop", "stop"),
        ("stop -t 5 i002", "stop -t 5 i002"),
        ("restart -t0", "restart -t 0"),
        ("kill", "kill -s SIGKILL"),
        ("kill -s term i001 i003", "kill -s SIGTERM i001 i003"),
        ("kill -s 9", "kill -s SIGKILL"),
        ("kill -s rtmin+16", "kill -s SIGRTMAX-14"),
        ("\tcrash\ti001", "crash i001"),
        ("pause i001 i001", "pause i001 i001"),
        ("reset i002", "reset i002"),
        ("reset --start", "reset --start"),
    ] {
        assert_eq!(one(line), command);
        assert_eq!(one(command), command, "it is read as what it was written from");
    }
    assert_eq!(parse(b" \t").unwrap(), None);
}

#[test]
fn what_is_no_command() {
    for (line, part) in [
        ("stopp", "no such command: 'stopp'; there are start, stop, restart, kill, "),
        ("stop -t", "stop: -t needs a value"),
        ("stop -t x", "not 'x'"),
        ("stop -t -1", "not '-1'"),
        ("stop -t 1.5", "a whole number of seconds"),
        ("stop -t 86401", "up to 86400"),
        ("stop -t 99999999999", "up to 86400"),
        ("kill -s NOPE", "no such signal: 'NOPE'"),
        ("kill -s 0", "no such signal"),
        ("kill -s 65", "no such signal"),
        ("kill -9", "no such option: '-9'; a signal is named with -s"),
        ("start -x", "start: no such option: '-x'"),
        ("pause -t 1", "pause: no such option: '-t'"),
        ("reset -s", "reset: no such option: '-s'"),
        ("reset i001 --start", "reset: no such option: '--start'"),
        ("stop\0", "NUL byte"),
        ("# stop", "no such command: '#'"),
    ] {
        let Err(ControlError::Invalid(why)) = parse(line.as_bytes()) else { panic!("{line:?} is taken") };
        assert!(why.contains(part), "{line:?}: {why}");
    }
    assert!(parse(&[0xff, 0xfe]).is_err());
}

#[test]
fn the_script_lists_every_verb() {
    for at_root in [true, false] {
        let script = script(at_root);
        for verb in VERBS {
            assert!(script.contains(&format!("\n#   {}", verb.name)), "{}", verb.name);
        }
        assert!(!script.contains('@'), "{script}");
        assert_eq!(script.contains("[NODE...]"), at_root);
    }
}

#[test]
fn only_what_was_asked_to_end_is_orderly() {
    let orderly: Vec<_> = VERBS.iter().filter(|verb| is_orderly(verb.name)).map(|verb| verb.name).collect();
    assert_eq!(orderly, ["stop", "restart", "reset"]);
    assert!(!is_orderly("partition"));
}

proptest! {
    #[test]
    fn anything_is_answered(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&line);
    }
}
