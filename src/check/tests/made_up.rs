//! Histories of systems that are what they should be: many processes at once, operations that fail, that end unknown, that
//! never end. They are good, whatever the model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A system that does one thing after the other.
#[derive(Default)]
struct System {
    register: BTreeMap<u8, i64>,
    items: BTreeMap<u8, Vec<i64>>,
    number: BTreeMap<u8, i64>,
    accounts: [i64; 3],
}

impl System {
    /// Does an operation; what it gives, or nothing if it fails.
    fn act(&mut self, f: &str, key: u8, value: &str, random: &mut fastrand::Rng) -> Option<String> {
        let number = value.parse().unwrap_or_default();
        let show = |items: &[i64]| format!("{items:?}");
        let items = self.items.entry(key).or_default();
        Some(match f {
            "write" => {
                self.register.insert(key, number);
                value.to_owned()
            }
            "cas" => {
                let (old, new): (i64, i64) = serde_json::from_str(value).unwrap();
                let there = self.register.get_mut(&key).filter(|there| **there == old)?;
                *there = new;
                value.to_owned()
            }
            "add" | "enqueue" | "append" => {
                items.push(number);
                value.to_owned()
            }
            "dequeue" if items.is_empty() => "null".into(),
            "dequeue" => items.swap_remove(random.usize(..items.len())).to_string(),
            "drain" => show(&std::mem::take(items)),
            "inc" => {
                let there = self.number.entry(key).or_default();
                *there += random.i64(1..3);
                there.to_string()
            }
            "transfer" => {
                self.accounts[0] -= 3;
                self.accounts[1] += 3;
                "null".into()
            }
            "read" => unreachable!("depends on the model"),
            other => unreachable!("{other}"),
        })
    }

    fn read(&mut self, model: Model, key: u8) -> String {
        let or_null = |value: Option<&i64>| value.map_or("null".into(), ToString::to_string);
        match model {
            Model::Register => or_null(self.register.get(&key)),
            Model::Monotonic => or_null(self.number.get(&key)),
            Model::Bank => format!(r#"{{"a":{},"b":{},"c":{}}}"#, self.accounts[0], self.accounts[1], self.accounts[2]),
            _ => format!("{:?}", self.items.entry(key).or_default()),
        }
    }
}

struct Open {
    f: &'static str,
    key: u8,
    value: String,
    /// What it gave, if it has happened.
    gave: Option<Option<String>>,
}

/// A history of `length` steps, as lines in short; and at the end all is read once, or drained.
pub(super) fn history(model: Model, seed: u64, length: usize) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut system = System::default();
    let mut processes: Vec<(usize, Option<Open>)> = (0..5).map(|process| (process, None)).collect();
    let (mut lines, mut next) = (vec![], 5);
    for step in 0..length {
        let index = random.usize(..processes.len());
        let process = processes[index].0;
        let Some(mut open) = processes[index].1.take() else {
            let f = random
                .choice(model.operations().iter().copied().filter(|f| *f != "drain").collect::<Vec<_>>())
                .unwrap();
            let value = match f {
                "write" => random.i64(0..4).to_string(),
                "cas" => format!("[{},{}]", random.i64(0..4), random.i64(0..4)),
                "add" | "enqueue" | "append" => step.to_string(),
                "transfer" => r#"{"from":"a","to":"b","amount":3}"#.into(),
                _ => "null".into(),
            };
            let key = if model == Model::Bank { 0 } else { random.u8(0..2) };
            lines.push(format!("{process} + {f}@{key} {value}"));
            processes[index].1 = Some(Open { f, key, value, gave: None });
            continue;
        };
        let (f, key) = (open.f, open.key);
        let ends_unknown = random.u8(..) < 20;
        if ends_unknown {
            // Half of them never say so. What has not happened yet happens now, or never.
            if open.gave.is_none() && random.bool() && f != "read" {
                system.act(f, key, &open.value, &mut random);
            }
            if random.bool() {
                lines.push(format!("{process} ? {f}@{key} null"));
            }
            processes[index].0 = next;
            next += 1;
            continue;
        }
        match open.gave.take() {
            None if random.u8(..) < 10 => lines.push(format!("{process} fail! {f}@{key} null")),
            None => {
                open.gave = Some(if f == "read" {
                    Some(system.read(model, key))
                } else {
                    system.act(f, key, &open.value, &mut random)
                });
                processes[index].1 = Some(open);
            }
            Some(Some(gave)) => lines.push(format!("{process} ok {f}@{key} {gave}")),
            Some(None) => lines.push(format!("{process} fail {f}@{key} null")),
        }
    }
    for key in 0..2 {
        let (f, gave) = match model {
            Model::Queue => ("drain", system.act("drain", key, "", &mut random).unwrap()),
            _ => ("read", system.read(model, key)),
        };
        let key = if model == Model::Bank { 0 } else { key };
        lines.push(format!("{next} + {f}@{key} null"));
        lines.push(format!("{next} ok {f}@{key} {gave}"));
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 200 }))]

    #[test]
    fn what_a_right_system_does_is_good(seed in any::<u64>(), length in 1..300_usize) {
        for model in Model::ALL {
            let lines = history(model, seed, length);
            let verdict = check(model, &lines.join("\n"));
            // Two reads of a bank that nobody used say nothing.
            prop_assert_eq!(verdict.result, VerdictResult::Good, "{:?}: {:#?}\n{}", model, verdict, lines.join("\n"));
        }
    }

    #[test]
    fn an_element_that_is_taken_out_of_the_last_read_is_lost(seed in any::<u64>()) {
        for model in [Model::Set, Model::List] {
            let mut lines = history(model, seed, 200);
            let last = lines.pop().unwrap();
            let (before, list) = last.split_once('[').unwrap();
            let Some((first, rest)) = list.split_once(", ") else { continue };
            lines.push(format!("{before}[{rest}"));
            let verdict = check(model, &lines.join("\n"));
            let ends = format!("ok {}@1 {first}", if model == Model::Set { "add" } else { "append" });
            let is_acknowledged = lines.iter().any(|line| line.ends_with(&ends));
            if is_acknowledged {
                prop_assert_eq!(verdict.result, VerdictResult::Violated, "{}", lines.join("\n"));
                prop_assert_eq!(verdict.anomalies[0].kind.as_str(), "lost");
            }
        }
    }
}
