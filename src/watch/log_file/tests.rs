use std::ops::Range;

use super::*;

const LIMIT: u64 = SMALLEST_LIMIT;

fn line(number: usize) -> String {
    format!("line {number:06} of some output\n")
}

fn write(log: &LogFile, numbers: Range<usize>) {
    numbers.for_each(|number| log.append(line(number).as_bytes()).unwrap());
}

fn whole(log: &LogFile) -> String {
    let mut reader = log.reader();
    let mut bytes = vec![];
    loop {
        let more = reader.read(bytes.len() as u64, 1000).unwrap();
        if more.is_empty() {
            return String::from_utf8(bytes).unwrap();
        }
        bytes.extend(more);
    }
}

/// Checks that a text ends with the line before `end`, has no gap, is true to its first line, and within the limit.
fn check(text: &str, end: usize) {
    assert!(text.len() as u64 <= LIMIT, "{}", text.len());
    let (cut, header) = parse_header(text.as_bytes()).unwrap();
    let rest = &text[header as usize..];
    let length = line(0).len();
    assert_eq!(cut as usize % length, 0, "cut at a line");
    let expected: String = (cut as usize / length..end).map(line).collect();
    assert!(rest == expected, "{} bytes, and not {}", rest.len(), expected.len());
    assert!(rest.len() as u64 >= LIMIT / 4, "{} bytes are left", rest.len());
}

#[test]
fn a_read_is_short_at_the_end_only() {
    let dir = tempfile::tempdir().unwrap();
    let log = LogFile::open(dir.path(), LIMIT).unwrap();
    write(&log, 0..3000);
    let text = whole(&log);
    for offset in (1..text.len()).step_by(251) {
        for size in [1, 4096, 1 << 20] {
            let read = log.reader().read(offset as u64, size).unwrap();
            assert!(text.as_bytes()[offset..].starts_with(&read), "at {offset}");
            assert_eq!(read.len(), size.min(text.len() - offset), "at {offset}");
        }
    }
}

#[test]
fn the_oldest_is_cut_at_a_line_and_the_rest_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let log = LogFile::open(dir.path(), LIMIT).unwrap();
    write(&log, 0..100);
    assert_eq!(whole(&log), (0..100).map(line).collect::<String>());
    let mut end = 100;
    for step in [3000, 1, 1, 700, 5000] {
        write(&log, end..end + step);
        end += step;
        check(&whole(&log), end);
        assert_eq!(whole(&log).len() as u64, log.size());
        assert_eq!(log.total(), (end * line(0).len()) as u64);
    }
    log.join().unwrap();
    let kept = fs::read_to_string(dir.path().join("log")).unwrap();
    check(&kept, end);
    assert!(!dir.path().join("log.old").exists());
    // And again in the same directory, many times.
    for _ in 0..20 {
        let log = LogFile::open(dir.path(), LIMIT).unwrap();
        check(&whole(&log), end);
        write(&log, end..end + 300);
        end += 300;
        check(&whole(&log), end);
        log.join().unwrap();
        check(&fs::read_to_string(dir.path().join("log")).unwrap(), end);
    }
}

#[test]
fn what_a_kill_has_left_is_put_right() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let log = LogFile::open(dir.path(), LIMIT).unwrap();
    write(&log, 0..4000);
    drop(log);
    check(&whole(&LogFile::open(dir.path(), LIMIT).unwrap()), 4000);
    // While the two were joined.
    let new = fs::read(at("log")).unwrap();
    File::options().append(true).open(at("log.old")).unwrap().write_all(&new[100..900]).unwrap();
    check(&whole(&LogFile::open(dir.path(), LIMIT).unwrap()), 4000);
    // Between two renames; an empty log was created since.
    fs::rename(at("log"), at("log.new")).unwrap();
    fs::write(at("log"), "").unwrap();
    check(&whole(&LogFile::open(dir.path(), LIMIT).unwrap()), 4000);
    // Before the renames.
    fs::write(at("log.new"), "[cthulhu: 5").unwrap();
    check(&whole(&LogFile::open(dir.path(), LIMIT).unwrap()), 4000);
    assert!(!at("log.new").exists());
}

#[test]
fn a_reader_goes_on_while_the_oldest_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let log = LogFile::open(dir.path(), LIMIT).unwrap();
    write(&log, 0..800);
    let mut reader = log.reader();
    let mut text = reader.read(0, 1000).unwrap();
    // Its file is cut away and it reads on, to the end of that file; then it learns what it has missed.
    write(&log, 800..6000);
    loop {
        let more = reader.read(text.len() as u64, 1000).unwrap();
        if more.is_empty() {
            break;
        }
        text.extend(more);
    }
    let text = String::from_utf8(text).unwrap();
    let (before, after) = text.split_at(text.find("[cthulhu").unwrap());
    assert!(before.len() >= 800 * line(0).len(), "what it had open is whole");
    assert!(before.ends_with('\n'));
    check(after, 6000);
    // Nothing is new, then something is; a new reader finds what there is now.
    assert!(reader.read(text.len() as u64, 10).unwrap().is_empty());
    write(&log, 6000..6001);
    assert_eq!(reader.read(text.len() as u64, 1000).unwrap(), line(6000).as_bytes());
    assert_eq!(reader.read(0, 20).unwrap(), log.reader().read(0, 20).unwrap());
    assert!(reader.read(0, 20).unwrap().starts_with(b"[cthulhu: "));
}

#[test]
fn who_reads_on_has_all_that_was_there_at_first() {
    let dir = tempfile::tempdir().unwrap();
    let log = LogFile::open(dir.path(), LIMIT).unwrap();
    write(&log, 0..3000);
    let (there, mut reader) = (whole(&log), log.reader());
    let mut text = reader.read(0, 1000).unwrap();
    write(&log, 3000..9000);
    loop {
        let more = reader.read(text.len() as u64, 1000).unwrap();
        if more.is_empty() {
            break;
        }
        text.extend(more);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with(&there), "both files");
    check(&text[text.rfind("[cthulhu").unwrap()..], 9000);
    assert_eq!(text.matches("[cthulhu").count(), 2);
}

#[test]
fn a_log_that_somebody_has_removed_grows_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = LogFile::open(dir.path(), LIMIT).unwrap();
    let mut end = 0;
    // Before anything is cut, and after; up to the next cut, and on.
    for step in [100, 1500, 900, 5000] {
        write(&log, end..end + step);
        fs::remove_file(dir.path().join("log")).unwrap();
        write(&log, end + step..end + 2 * step);
        end += 2 * step;
        assert!(whole(&log).ends_with(&line(end - 1)));
        assert_eq!(log.total(), (end * line(0).len()) as u64);
    }
    check(&whole(&log), end);
    log.join().unwrap();
    check(&fs::read_to_string(dir.path().join("log")).unwrap(), end);
    // What was removed is not joined with what came after it.
    let log = LogFile::open(dir.path(), LIMIT).unwrap();
    write(&log, end..end + 3000);
    fs::remove_file(dir.path().join("log")).unwrap();
    while !dir.path().join("log").exists() {
        write(&log, end + 3000..end + 3001);
    }
    let _ = log.join();
    assert!(fs::read_to_string(dir.path().join("log")).unwrap().ends_with(&line(end + 3000)));
}

#[test]
fn a_line_without_end_is_bounded_too() {
    let dir = tempfile::tempdir().unwrap();
    let log = LogFile::open(dir.path(), LIMIT).unwrap();
    for _ in 0..1000 {
        log.append(&[b'x'; 1000]).unwrap();
    }
    assert!(log.size() <= LIMIT && log.size() >= LIMIT / 2, "{}", log.size());
    assert_eq!(whole(&log).len() as u64, log.size());
}

#[test]
fn a_smaller_limit_is_kept_too() {
    let dir = tempfile::tempdir().unwrap();
    let log = LogFile::open(dir.path(), 16 * LIMIT).unwrap();
    write(&log, 0..30_000);
    log.join().unwrap();
    let log = LogFile::open(dir.path(), LIMIT).unwrap();
    check(&whole(&log), 30_000);
    write(&log, 30_000..30_100);
    check(&whole(&log), 30_100);
}

#[test]
fn what_looks_like_a_first_line_is_told_from_one() {
    assert_eq!(parse_header(header(17, Cut::Limit(64 << 20)).as_bytes()), Some((17, 59)));
    assert_eq!(header(17, Cut::Limit(64 << 20)), "[cthulhu: 17 bytes cut before this line (--log-limit 64m)]\n");
    assert_eq!(parse_header(header(17, Cut::Reset).as_bytes()), Some((17, header(17, Cut::Reset).len() as u64)));
    for other in ["", "\n", "[cthulhu: 17 bytes", "[cthulhu: x bytes cut before this line (--log-limit 64m)]\n"] {
        assert_eq!(parse_header(other.as_bytes()), None);
    }
    assert_eq!((shown(1), shown(3 << 10), shown(2 << 30)), ("1".into(), "3k".into(), "2g".into()));
}

#[test]
fn a_cut_log_says_how_much_there_was_and_its_readers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = LogFile::open(dir.path(), LIMIT).unwrap();
    log.cut().unwrap();
    assert_eq!(whole(&log), "", "there was nothing to cut");
    for round in 1..=3 {
        // More than fits: there are two files.
        write(&log, 0..2000);
        let mut reader = log.reader();
        let before = reader.read(0, 1 << 20).unwrap();
        log.cut().unwrap();
        let first = format!("[cthulhu: {} bytes cut before this line (reset)]\n", log.total());
        assert_eq!(whole(&log), first, "round {round}");
        assert_eq!(log.size(), first.len() as u64);
        assert!(!dir.path().join("log.old").exists());
        log.append(b"new\n").unwrap();
        assert_eq!(whole(&log), format!("{first}new\n"));
        assert_eq!(reader.read(before.len() as u64, 1 << 20).unwrap(), b"new\n");
    }
    let again = LogFile::open(dir.path(), LIMIT).unwrap();
    assert_eq!((whole(&again), again.total()), (whole(&log), log.total()));
}
