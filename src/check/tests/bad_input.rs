//! Histories that are none, or not of such a test: never a wrong "good", always a sentence.

use super::*;

fn refused(model: Model, options: &Options, short: &str) -> String {
    verdict(lines(short).into_iter().map(Ok::<_, String>), model, options).unwrap_err()
}

#[test]
fn no_operations_are_an_error() {
    let options = Options::default();
    for none in [
        "",
        "{\"cluster\":{\"phase\":\"unmounting\"}}",
        "{\"test\":{}}",
        "{\"test\":{\"f\":7,\"type\":\"invoke\"}}",
        "{\"test\":{\"op\":\"add\",\"value\":1}}",
    ] {
        assert!(refused(Model::Set, &options, none).starts_with("the test has recorded no operations"), "{none}");
    }
    let why = refused(Model::Set, &options, "0 + write 1\n0 ok write 1\n0 + cas [1,2]\n0 ok cas [1,2]");
    assert_eq!(why, "the model set has none of the test's 2 operations (cas, write): it has add, read");
    let broken = verdict([Err("the disk is gone")].into_iter(), Model::Set, &options);
    assert_eq!(broken.unwrap_err(), "the disk is gone");
}

#[test]
fn operations_of_other_models_are_passed_over_and_counted() {
    let text = good(
        Model::Set,
        "0 + add 1\n0 ok add 1\n0 + clear\n0 ok clear\n0 + read\n0 ok read [1]\nnull ? start\nnull + stop",
    );
    assert_eq!(
        text,
        "the one acknowledged element is there; 2 operations that set does not know (clear, stop) were passed over"
    );
}

#[test]
fn operations_that_make_no_sense_make_it_unknown() {
    for (model, short, part) in [
        (
            Model::Set,
            "0 + add 1\n1 ok add 1",
            "line 2 makes no sense: “add” of process 1 ends (ok), and no invoke of it",
        ),
        (Model::Set, "0 + add 1\n0 + add 2", "process 0 begins “add” before its “add” of line 1 has ended"),
        (Model::Set, "0 + add 1\n0 ok read [1]", "“read” ends, and what line 1 began is “add”"),
        (Model::Set, "0 + add 1\n0 ok add 2", "another value than line 1"),
        (Model::Set, "0 + add@a 1\n0 ok add@b 1", "another key than line 1"),
        (Model::Set, "0 + add\n0 ok add", "“add” without a value"),
        (
            Model::Set,
            "0 + add 1\n0 ok add 1\n0 + read\n0 ok read \"1\"",
            "line 4 makes no sense: “read” gives \"1\", which is no list",
        ),
        (Model::Set, "0 + add 1\n0 ok add 1\n0 + read\n0 ok read", "gives null, which is no list"),
        (Model::Register, "0 + cas 1\n0 ok cas 1", "“cas” has 1, not [OLD,NEW]"),
        (Model::Register, "0 + cas [1,2,3]\n0 ok cas", "not [OLD,NEW]"),
        (Model::Queue, "0 + enqueue 1\n0 ok enqueue 1\n0 + drain\n0 ok drain {}", "no list"),
        (Model::Bank, "0 + transfer 5\n0 ok transfer", "“transfer” has 5, not"),
        (Model::Bank, "0 + read\n0 ok read {\"a\":0.5}", "no balances"),
        (Model::Bank, "0 + read\n0 ok read [1]", "no balances"),
        (Model::Monotonic, "0 + inc\n0 ok inc", "gives null, which is no whole number"),
        (Model::Monotonic, "0 + read\n0 ok read \"7\"", "no whole number"),
        (
            Model::List,
            "0 + append 1\n0 ok append 1\n0 + append 1\n0 ok append 1",
            "1 is appended once more (first in line 1)",
        ),
    ] {
        let text = unknown(model, short);
        assert!(text.contains(part), "{short}: {text}");
    }
}

#[test]
fn what_begins_and_never_ends_is_unknown_and_no_error() {
    good(Model::Set, "0 + add 1\n1 + add 2\n1 ok add 2\n2 + read\n2 ok read [2]\n1 + read");
    let text = unknown(Model::Set, "0 + add 1\n1 + read");
    assert_eq!(text, "nothing was acknowledged: there is nothing to check");
}

#[test]
fn processes_have_any_names_and_values_any_shape() {
    good(
        Model::Set,
        "\"a\" + add {\"x\":1,\"y\":[]}\nnull + read\n\"a\" ok add {\"y\":[],\"x\":1.0}\nnull ok read []\n7 + read\n7 ok read [{\"x\":1,\"y\":[]}]",
    );
    let keywords = r#"{"test":{"process":0,"type":":invoke","f":":add","value":1}}
        {"test":{"type":"x","process":0,"type":"ok","f":"add"}}
        {"test":{"process":0,"type":"invoke","f":"read"}}
        {"test":{"process":0,"type":"ok","f":"re\u0061d","value":[1]}}"#;
    good(Model::Set, keywords);
}

#[test]
fn of_several_mounts_the_last_or_the_one_that_is_named() {
    let mounted = r#"{"cluster":{"phase":"mounted","nodes":[]}}"#;
    let short = format!("{mounted}\n0 + add 1\n{mounted}\n0 + add 2\n0 ok add 2\n0 + read\n0 ok read [2]");
    good(Model::Set, &short);
    let first = Options { mount: Some(1), ..Options::default() };
    assert_eq!(checked(Model::Set, &first, &short).text, "nothing was acknowledged: there is nothing to check");
    for mount in [0, 3] {
        let why = refused(Model::Set, &Options { mount: Some(mount), ..first }, &short);
        assert_eq!(why, format!("there is no mount {mount} in this history: it has 2, counted from 1"));
    }
}

#[test]
fn lines_without_numbers_are_counted() {
    let lines = lines("0 + add 1\n0 ok add 1\n0 + read\n0 ok read []").into_iter();
    let unnumbered = lines.map(|line| Ok::<_, String>(HistoryLine { seq: 0, ..line }));
    let verdict = verdict(unnumbered, Model::Set, &Options::default()).unwrap();
    assert_eq!(verdict.anomalies[0].lines, [1, 2, 3, 4]);
}

#[test]
fn numbers_have_an_end() {
    for seqs in [[1, 2, u64::from(u32::MAX), 4], [1, 2, u64::from(u32::MAX) - 1, 0], [u64::MAX; 4]] {
        let lines = lines("0 + add 1\n0 ok add 1\n0 + read\n0 ok read [1]").into_iter().zip(seqs);
        let numbered = lines.map(|(line, seq)| Ok::<_, String>(HistoryLine { seq, ..line }));
        let why = verdict(numbered, Model::Set, &Options::default()).unwrap_err();
        assert_eq!(why, "a line has a number that no history reaches");
    }
}
