//! What each model finds, and what it does not mind.

use super::*;
use crate::check::Bounds;

#[test]
fn a_register_that_is_one() {
    let text = good(
        Model::Register,
        "0 + read\n0 ok read null\n0 + write 1\n1 + read\n1 ok read 1\n0 ok write 1\n1 + read\n1 ok read 1",
    );
    assert_eq!(text, "the register is linearizable");
    // Nobody knows whether it was written: it is read later, much later, or never.
    good(Model::Register, "0 + write 1\n0 ? write 1\n1 + write 2\n1 ok write 2\n1 + read\n1 ok read 1");
    good(Model::Register, "0 + write 1\n1 + write 2\n1 ok write 2\n1 + read\n1 ok read 2\n1 + read\n1 ok read 1");
    good(Model::Register, "0 + write 1\n0 ? write 1\n1 + read\n1 ok read null");
    good(
        Model::Register,
        "0 + cas [null,1]\n0 ok cas [null,1]\n0 + cas [5,6]\n0 fail cas [5,6]\n1 + read\n1 ok read 1",
    );
    // A cas that could not be asked for says nothing about what was there.
    good(Model::Register, "0 + write 5\n0 ok write 5\n0 + cas [5,6]\n0 fail! cas [5,6]\n1 + read\n1 ok read 5");
    let text = good(Model::Register, "0 + write@a 1\n0 ok write@a 1\n0 + read@b\n0 ok read@b null");
    assert_eq!(text, "2 keys are linearizable, each by itself");
}

#[test]
fn a_register_that_is_none() {
    let stale = "0 + write@x 1\n0 ok write@x 1\n0 + write@x 2\n0 ok write@x 2\n1 + read@x\n1 ok read@x 1";
    assert_eq!(
        violated(Model::Register, &["stale read"], stale),
        "key \"x\" is not linearizable\n\"x\": the read of lines 5-6 found 1, when only 2 can have been there (written in lines 3-4)"
    );
    let verdict = check(Model::Register, stale);
    assert_eq!(verdict.anomalies[0].lines, [1, 2, 3, 4, 5, 6]);
    assert_eq!(verdict.anomalies[0].key, Some("x".into()));
    violated(Model::Register, &["stale read"], "0 + write 1\n0 ok write 1\n1 + read\n1 ok read null");
    let text = violated(Model::Register, &["unexpected"], "0 + write 1\n0 fail write 1\n1 + read\n1 ok read 1");
    assert!(text.ends_with("found 1, but its write (lines 1-2) failed"), "{text}");
    let text = violated(Model::Register, &["unexpected"], "1 + read\n1 ok read 7");
    assert!(text.ends_with("which nobody has written"), "{text}");
    violated(Model::Register, &["unexpected"], "1 + read\n1 ok read 7\n0 + write 7\n0 ok write 7");
    violated(
        Model::Register,
        &["wrong cas"],
        "0 + write 1\n0 ok write 1\n0 + write 2\n0 ok write 2\n0 + cas [1,3]\n0 ok cas [1,3]",
    );
    violated(Model::Register, &["wrong cas"], "0 + write 1\n0 ok write 1\n0 + cas [1,2]\n0 fail cas [1,2]");
    // Two readers who do not agree on the order of two writes.
    violated(
        Model::Register,
        &["stale read"],
        "0 + write 1\n1 + write 2\n0 ok write 1\n1 ok write 2\n2 + read\n2 ok read 1\n2 + read\n2 ok read 2\n2 + read\n2 ok read 1",
    );
}

#[test]
fn a_search_that_would_take_too_long_ends_as_unknown() {
    // Thirty writes that overlap, each read, and one of them once more after another: all orders would have to be tried.
    let mut short: String = (0..30).map(|n| format!("{n} + write {n}\n")).collect();
    for n in (0..30).chain([0]) {
        short += &format!("99 + read\n99 ok read {n}\n");
    }
    short += &(0..30).map(|n| format!("{n} ok write {n}\n")).collect::<String>();
    for bounds in [Bounds { steps: 1_000_000, ..Bounds::default() }, Bounds { memory: 4 << 20, ..Bounds::default() }] {
        let verdict = checked(Model::Register, &Options { bounds, ..Options::default() }, &short);
        assert_eq!(verdict.result, VerdictResult::Unknown);
        assert!(verdict.text.contains("too long to find out"), "{}", verdict.text);
    }
    // Another key that is plainly wrong is found all the same.
    let both = format!("{short}0 + read@x\n0 ok read@x 1\n");
    let options = Options { bounds: Bounds { steps: 1_000_000, ..Bounds::default() }, ..Options::default() };
    assert_eq!(checked(Model::Register, &options, &both).result, VerdictResult::Violated);
    // Also one for which a search is needed.
    let stale = "0 + write@x 1\n0 ok write@x 1\n0 + write@x 2\n0 ok write@x 2\n0 + read@x\n0 ok read@x 1\n";
    let verdict = checked(Model::Register, &options, &format!("{short}{stale}"));
    assert_eq!(verdict.text, "key \"x\" is not linearizable");
}

#[test]
fn what_others_leave_of_the_steps_is_for_the_key_that_needs_it() {
    let many: String = (0..100).map(|n| format!("0 + write {n}\n0 ok write {n}\n1 + read\n1 ok read {n}\n")).collect();
    let keys: String = (0..9).map(|n| format!("0 + write@k{n} 1\n0 ok write@k{n} 1\n")).collect();
    let with_steps = |steps| {
        let options = Options { bounds: Bounds { steps, ..Bounds::default() }, ..Options::default() };
        checked(Model::Register, &options, &format!("{many}{keys}")).result
    };
    assert_eq!(with_steps(1000), VerdictResult::Good);
    assert_eq!(with_steps(100), VerdictResult::Unknown);
}

#[test]
fn reads_that_fit_take_steps_too() {
    let reads = "1 + read\n1 ok read null\n".repeat(1000);
    let options = Options { bounds: Bounds { steps: 100, ..Bounds::default() }, ..Options::default() };
    let verdict = checked(Model::Register, &options, &format!("0 + write 1\n{reads}0 ok write 1"));
    assert_eq!(verdict.result, VerdictResult::Unknown);
}

#[test]
fn a_set() {
    let add = "0 + add 1\n0 ok add 1\n0 + add 2\n0 ok add 2\n0 + add 3\n0 ? add 3\n0 + add 4\n0 fail add 4\n";
    assert_eq!(good(Model::Set, &format!("{add}1 + read\n1 ok read [2,1]")), "all 2 acknowledged elements are there");
    good(Model::Set, &format!("{add}1 + read\n1 ok read [2,1,3]"));
    // One that was added meanwhile may be there or not.
    good(Model::Set, "1 + read\n0 + add 1\n0 ok add 1\n1 ok read []\n1 + read\n1 ok read [1]");
    assert_eq!(
        violated(Model::Set, &["lost"], &format!("{add}1 + read\n1 ok read [1]")),
        "1 of 2 acknowledged elements is lost\n\
         2 was acknowledged (lines 3-4); the read of lines 9-10, which began later, lacks it, and no later one has it"
    );
    let text = violated(Model::Set, &["unexpected", "unexpected"], &format!("{add}1 + read\n1 ok read [1,2,4,5]"));
    assert!(
        text.contains("has 4, but its add (lines 7-8) failed") && text.contains("has 5, which nobody has added"),
        "{text}"
    );
    violated(Model::Set, &["unexpected"], "1 + read\n1 ok read [1]\n0 + add 1\n0 ok add 1\n1 + read\n1 ok read [1]");
    violated(Model::Set, &["duplicated"], &format!("{add}1 + read\n1 ok read [1,2,1]"));
    let text = violated(Model::Set, &["stale"], &format!("{add}1 + read\n1 ok read [1]\n1 + read\n1 ok read [1,2]"));
    assert!(text.starts_with("1 element is missing from a read for a while"), "{text}");
    // It was read, so it had happened.
    let text = violated(Model::Set, &["lost"], "0 + add 1\n0 ? add 1\n1 + read\n1 ok read [1]\n1 + read\n1 ok read []");
    assert!(text.starts_with("1 element of unknown end was read and then lost"), "{text}");
    // Two reads at once at the end: what one of them has is not lost.
    violated(Model::Set, &["stale"], "0 + add 1\n0 ok add 1\n1 + read\n2 + read\n1 ok read [1]\n2 ok read []");
    violated(Model::Set, &["lost"], "0 + add 1\n0 ok add 1\n1 + read\n1 ok read [1]\n2 + read\n2 ok read []");
    violated(
        Model::Set,
        &["lost"],
        "0 + add@a 1\n0 ok add@a 1\n0 + add@b 1\n0 ok add@b 1\n1 + read@a\n1 ok read@a [1]\n1 + read@b\n1 ok read@b []",
    );
    // Many that went the same way.
    let adds =
        |values: std::ops::Range<u32>| values.map(|n| format!("0 + add {n}\n0 ok add {n}\n")).collect::<String>();
    assert_eq!(
        violated(Model::Set, &["lost"], &format!("{}1 + read\n1 ok read [1,3]", adds(0..5))),
        "3 of 5 acknowledged elements are lost\n\
         3 elements, from 0 (lines 1-2) to 4 (lines 9-10), were acknowledged; the read of lines 11-12, which began later, lacks them, and no later one has them"
    );
    let cut = r#"{"fault":{"links":["a>b drop"]}}"#;
    let verdict = check(
        Model::Set,
        &format!(
            "{}{cut}\n{}{{\"fault\":{{\"links\":[]}}}}\n{}1 + read\n1 ok read [2]",
            adds(0..2),
            adds(2..9),
            adds(9..10)
        ),
    );
    assert_eq!(verdict.text, "9 of 10 acknowledged elements are lost");
    let found: Vec<_> = verdict.anomalies.iter().map(|one| (one.text.get(..11).unwrap(), one.faults.len())).collect();
    assert_eq!(found, [("2 elements,", 0), ("6 elements,", 1), ("9 was ackno", 0)]);
    assert_eq!((verdict.anomalies[1].lines.as_slice(), verdict.more), ([8, 9, 18, 19, 23, 24].as_slice(), 0));
    let text = violated(
        Model::Set,
        &["lost", "lost"],
        "0 + add 1\n0 ok add 1\n0 + add 2\n0 ok add 2\n2 + add 3\n3 + add 4\n1 + read\n1 ok read [1,2,3,4]\n1 + read\n1 ok read []",
    );
    assert!(
        text.contains("\n2 elements, from 1 (lines 1-2) to 2 (lines 3-4), were acknowledged and read; ")
            && text.contains("\n2 elements, from 3 (lines 7-8) to 4 (lines 7-8), were read; "),
        "{text}"
    );
    // Nobody looked.
    assert_eq!(unknown(Model::Set, add), "nobody read the set");
    unknown(Model::Set, &format!("{add}1 + read\n1 fail read"));
    let text = unknown(Model::Set, &format!("{add}1 + read\n1 ok read [1,2]\n0 + add 9\n0 ok add 9"));
    assert!(text.starts_with("1 of 3 acknowledged elements was not looked for"), "{text}");
}

#[test]
fn a_queue() {
    let put = "0 + enqueue 1\n0 ok enqueue 1\n0 + enqueue 2\n0 ok enqueue 2\n";
    good(Model::Queue, &format!("{put}1 + dequeue\n1 ok dequeue 2\n1 + drain\n1 ok drain [1]"));
    good(
        Model::Queue,
        &format!("{put}1 + dequeue\n1 ok dequeue 2\n1 + dequeue\n1 ok dequeue 1\n1 + dequeue\n1 ok dequeue null"),
    );
    assert_eq!(
        violated(Model::Queue, &["lost"], &format!("{put}1 + drain\n1 ok drain [1]")),
        "1 of 2 acknowledged values is lost\n\
         2 was acknowledged (lines 3-4) and never came out; the queue was found empty later (lines 5-6)"
    );
    violated(Model::Queue, &["duplicated"], &format!("{put}1 + dequeue\n1 ok dequeue 2\n1 + drain\n1 ok drain [1,2]"));
    violated(Model::Queue, &["unexpected"], &format!("{put}1 + drain\n1 ok drain [1,2,3]"));
    violated(Model::Queue, &["unexpected"], "0 + enqueue 1\n0 fail enqueue 1\n1 + drain\n1 ok drain [1]");
    violated(
        Model::Queue,
        &["unexpected"],
        "1 + dequeue\n1 ok dequeue 1\n0 + enqueue 1\n0 ok enqueue 1\n1 + drain\n1 ok drain []",
    );
    // A retry: it may be in there twice.
    good(Model::Queue, "0 + enqueue 1\n0 ? enqueue 1\n0 + enqueue 1\n0 ok enqueue 1\n1 + drain\n1 ok drain [1,1]");
    // Somebody took one, who does not know which.
    let text = good(Model::Queue, &format!("{put}2 + dequeue\n2 ? dequeue\n1 + drain\n1 ok drain [1]"));
    assert!(text.ends_with("1 never came out, but a dequeue or drain of unknown end may have taken it"), "{text}");
    let text =
        violated(Model::Queue, &["lost", "lost"], &format!("{put}2 + dequeue\n2 ? dequeue\n1 + drain\n1 ok drain []"));
    assert!(text.starts_with("at least 1 of 2 acknowledged values is lost"), "{text}");
    // What may have been taken of another queue does not count.
    let other = "0 + enqueue@b 1\n0 ok enqueue@b 1\n2 + dequeue@b\n2 ? dequeue@b\n1 + drain@b\n1 ok drain@b []\n";
    let text = violated(Model::Queue, &["lost", "lost"], &format!("{other}{put}1 + drain\n1 ok drain []"));
    assert!(text.starts_with("at least 2 of 3 acknowledged values are lost"), "{text}");
    good(Model::Queue, &format!("{put}2 + drain\n2 ? drain\n1 + drain\n1 ok drain []"));
    // Still in there, for all that anybody knows.
    let text = unknown(Model::Queue, &format!("{put}1 + dequeue\n1 ok dequeue 1"));
    assert!(text.contains("drain it at the end"), "{text}");
    unknown(Model::Queue, &format!("1 + drain\n{put}1 ok drain []"));
}

#[test]
fn a_bank() {
    let two = "0 + read\n0 ok read {\"a\":5,\"b\":5}\n0 + transfer {\"from\":\"a\",\"to\":\"b\",\"amount\":7}\n0 ok transfer\n";
    good(Model::Bank, &format!("{two}0 + read\n0 ok read {{\"a\":-2,\"b\":12}}"));
    assert_eq!(
        violated(Model::Bank, &["total"], &format!("{two}0 + read\n0 ok read {{\"a\":5,\"b\":6}}")),
        "1 of 2 reads has a wrong total\nthe read of lines 5-6 has a total of 11, +1 from the 10 of the first read (lines 1-2)"
    );
    let options = Options { total: Some(12), no_negative: true, ..Options::default() };
    let verdict = checked(Model::Bank, &options, &format!("{two}0 + read\n0 ok read {{\"a\":-2,\"b\":14}}"));
    let kinds: Vec<_> = verdict.anomalies.iter().map(|anomaly| anomaly.kind.as_str()).collect();
    assert_eq!((kinds, verdict.result), (vec!["total", "negative"], VerdictResult::Violated));
    let text = unknown(Model::Bank, two);
    assert!(text.starts_with("there is one read, and nothing"), "{text}");
    let two_banks = "0 + read@a\n0 ok read@a {\"a\":5}\n0 + read@b\n0 ok read@b {\"a\":7}\n";
    let text = unknown(Model::Bank, two_banks);
    assert!(text.starts_with("there is one read of 2 keys, and nothing"), "{text}");
    violated(Model::Bank, &["total"], &format!("{two_banks}0 + read@a\n0 ok read@a {{\"a\":6}}"));
    good(Model::Bank, &format!("{0}{0}", two_banks));
    unknown(Model::Bank, "0 + transfer {\"from\":\"a\",\"to\":\"b\",\"amount\":7}\n0 ok transfer");
}

#[test]
fn a_number() {
    good(
        Model::Monotonic,
        "0 + read\n0 ok read null\n0 + inc\n1 + read\n0 ok inc 1\n1 ok read null\n1 + read\n1 ok read 1\n0 + inc\n0 ok inc 5",
    );
    let text = violated(Model::Monotonic, &["went back"], "0 + inc\n0 ok inc 2\n1 + read\n1 ok read 1");
    assert_eq!(text, "numbers went back 1 time\nthe read of lines 3-4 gave 1, after 2 was there (lines 1-2)");
    violated(Model::Monotonic, &["went back"], "0 + inc\n0 ok inc 2\n1 + inc\n1 ok inc 2");
    violated(Model::Monotonic, &["went back"], "0 + read\n0 ok read 2\n1 + read\n1 ok read null");
    violated(Model::Monotonic, &["duplicated"], "0 + inc\n1 + inc\n0 ok inc 2\n1 ok inc 2");
    good(Model::Monotonic, "0 + inc@a\n0 ok inc@a 2\n1 + inc@b\n1 ok inc@b 2\n0 + inc@b\n0 ? inc@b");
    unknown(Model::Monotonic, "0 + inc\n0 ? inc");
}

#[test]
fn a_list() {
    let two = "0 + append 1\n0 ok append 1\n0 + append 2\n0 ok append 2\n";
    good(Model::List, &format!("1 + read\n{two}1 ok read [1]\n1 + read\n1 ok read [1,2]"));
    violated(Model::List, &["lost"], &format!("{two}1 + read\n1 ok read [1]"));
    violated(Model::List, &["stale"], &format!("{two}1 + read\n1 ok read [1]\n1 + read\n1 ok read [1,2]"));
    violated(Model::List, &["order"], &format!("{two}1 + read\n1 ok read [2,1]"));
    violated(Model::List, &["duplicated"], &format!("{two}1 + read\n1 ok read [1,2,2]"));
    violated(Model::List, &["unexpected"], &format!("{two}1 + read\n1 ok read [1,2,3]"));
    let at_once = "0 + append 1\n1 + append 2\n0 ok append 1\n1 ok append 2\n";
    good(Model::List, &format!("{at_once}1 + read\n1 ok read [2,1]"));
    assert_eq!(
        violated(Model::List, &["order"], &format!("{at_once}1 + read\n1 ok read [2,1]\n1 + read\n1 ok read [1,2]")),
        "the order is wrong in 1 place\n\
         the reads of lines 5-6 and lines 7-8 disagree: element 1 is 2 in the first, 1 in the second"
    );
    // The second was appended after the first was acknowledged: a read that has it has the first.
    violated(Model::List, &["order"], &format!("1 + read\n{two}1 ok read [2]"));
    let text = good(Model::List, &format!("1 + read\n1 ok read []\n{two}"));
    assert!(text.ends_with("2 more were acknowledged when no read began any more"), "{text}");
    unknown(Model::List, two);
}

#[test]
fn many_anomalies_are_counted_and_the_verdict_stays_short() {
    let adds: String =
        (0..100).map(|n| format!("0 + add@{n} \"{0}\"\n0 ok add@{n} \"{0}\"\n", "x".repeat(30_000))).collect();
    let reads: String = (0..100).map(|n| format!("0 + read@{n}\n0 ok read@{n} []\n")).collect();
    let verdict = check(Model::Set, &(adds + &reads));
    assert_eq!((verdict.anomalies.len(), verdict.more), (10, 90));
    assert_eq!(verdict.text, "100 of 100 acknowledged elements are lost");
    let key = "k".repeat(60_000);
    let verdict = check(Model::Set, &format!("0 + add@{key} 1\n0 ok add@{key} 1\n0 + read@{key}\n0 ok read@{key} []"));
    assert_eq!(verdict.result, VerdictResult::Violated);
    assert!(serde_json::to_string(&verdict).unwrap().len() < 64 << 10);
}

#[test]
fn the_faults_meanwhile_are_named() {
    let short = r#"{"cluster":{"phase":"mounted","nodes":[{"name":"a"}]}}
        {"fault":{"links":["a>b drop"]}}
        0 + add 1
        {"state":{"node":"b","from":"running","to":"paused","cause":"command"}}
        0 ok add 1
        {"fault":{"links":[]}}
        {"state":{"node":"b","from":"paused","to":"running","cause":"command"}}
        {"fault":{"links":["b>a drop"]}}
        {"fault":{"links":[]}}
        1 + read
        1 ok read []"#;
    let verdict = check(Model::Set, short);
    assert_eq!(verdict.anomalies[0].lines, [3, 5, 10, 11]);
    assert_eq!(verdict.anomalies[0].faults, ["a>b drop", "b paused"]);
}
