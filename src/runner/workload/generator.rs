//! Which operations a workload consists of.

use std::collections::HashMap;

use fastrand::Rng;
use serde_json::{Value, json};

use super::operation::{INIT, Operation};
use crate::check::Model;

/// The accounts of a bank, and what is in each at first.
const ACCOUNTS: u64 = 8;
const BALANCE: u64 = 10;
/// What is in all of them together.
pub(super) const TOTAL: u64 = ACCOUNTS * BALANCE;
/// Most that is transferred at once.
const LARGEST_TRANSFER: u64 = 5;

/// How many keys are in use at once, unless `--keys` says so.
pub(crate) fn usual_keys(model: Model) -> u64 {
    match model {
        Model::Register | Model::Monotonic | Model::List => 5,
        Model::Set | Model::Queue | Model::Bank => 1,
    }
}

/// After about this number of operations a key is left alone, and another one takes its place: what is read back stays
/// short, and so does the search for an order of all operations of a register.
fn operations_per_key(model: Model) -> u64 {
    match model {
        Model::Register | Model::List => 200,
        Model::Monotonic => 1000,
        Model::Set | Model::Queue => 2000,
        Model::Bank => u64::MAX,
    }
}

/// What is asked for next: each of ten rolls of a die.
fn drawn(model: Model, roll: u8) -> &'static str {
    match (model, roll) {
        (Model::Set, _) => "add",
        (Model::Queue, 0..5) => "enqueue",
        (Model::Queue, _) => "dequeue",
        (Model::Register, 0..4) => "write",
        (Model::Register, 4..6) => "cas",
        (Model::Bank, 0..7) => "transfer",
        (Model::Monotonic, 0..5) => "inc",
        (Model::List, 0..5) => "append",
        (Model::Register | Model::Bank | Model::Monotonic | Model::List, _) => "read",
    }
}

/// What all processes of a workload have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    pub(super) model: Model,
    /// How many keys are in use at once.
    pub(super) keys: u64,
    /// The number of the first key.
    pub(super) first_key: u64,
    pub(super) processes: u64,
}

/// What was last seen in each register: a `cas` is for what may still be there.
pub(super) type Seen = HashMap<String, Value>;

/// Draws the operations of one process. They depend on the seed, on the process, and on what was seen in registers; not on
/// when they are drawn.
#[derive(Debug)]
pub(super) struct Generator {
    mix: Mix,
    process: u64,
    /// How many were drawn.
    count: u64,
    rng: Rng,
}

impl Mix {
    fn key(&self, number: u64) -> String {
        format!("k{}", self.first_key + number)
    }

    /// What is done before anything else.
    pub(super) fn first(&self) -> Option<Operation> {
        let accounts = || (1..=ACCOUNTS).map(|number| (account(number), json!(BALANCE))).collect();
        (self.model == Model::Bank)
            .then(|| Operation::new(self.model, INIT, self.key(0), Some(Value::Object(accounts()))))
    }

    /// What reads a key back at the end.
    pub(super) fn last(&self, key: String) -> Operation {
        let f = if self.model == Model::Queue { "drain" } else { "read" };
        Operation::new(self.model, f, key, None)
    }
}

fn account(number: u64) -> String {
    format!("a{number}")
}

impl Generator {
    pub(super) fn new(mix: Mix, seed: u64, process: u64) -> Self {
        // Each process has numbers of its own.
        let mut rng = Rng::with_seed(seed);
        for _ in 0..=process {
            rng = rng.fork();
        }
        Self { mix, process, count: 0, rng }
    }

    /// The next operation.
    pub(super) fn next(&mut self, seen: &Seen) -> Operation {
        let Mix { model, keys, processes, .. } = self.mix;
        let nth = self.count * processes;
        self.count += 1;
        let generation = nth / operations_per_key(model).saturating_mul(keys);
        let key = self.mix.key(generation * keys + self.rng.u64(..keys));
        // No other process draws it.
        let unique = json!(nth + self.process + 1);
        let f = drawn(model, self.rng.u8(..10));
        let value = match f {
            "add" | "enqueue" | "write" | "append" => Some(unique),
            "cas" => match seen.get(&key) {
                Some(old) => Some(json!([old, unique])),
                None => return Operation::new(model, "read", key, None),
            },
            "transfer" => {
                let (from, distance) = (self.rng.u64(..ACCOUNTS), self.rng.u64(1..ACCOUNTS));
                let to = (from + distance) % ACCOUNTS;
                let amount = self.rng.u64(1..=LARGEST_TRANSFER);
                Some(json!({"from": account(from + 1), "to": account(to + 1), "amount": amount}))
            }
            _ => None,
        };
        Operation::new(model, f, key, value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn mix(model: Model, processes: u64) -> Mix {
        Mix { model, keys: usual_keys(model), first_key: 1, processes }
    }

    fn take(mix: Mix, seed: u64, process: u64, count: usize) -> Vec<Operation> {
        let mut generator = Generator::new(mix, seed, process);
        let mut seen = Seen::new();
        let mut next = || {
            let operation = generator.next(&seen);
            if operation.f == "write" {
                seen.extend(operation.value.clone().map(|value| (operation.key.clone(), value)));
            }
            operation
        };
        std::iter::repeat_with(&mut next).take(count).collect()
    }

    #[test]
    fn a_seed_draws_the_same_operations_again() {
        for model in Model::ALL {
            let mix = mix(model, 3);
            assert_eq!(take(mix, 7, 1, 500), take(mix, 7, 1, 500), "{model:?}");
            if model != Model::Set {
                let kinds = |process| take(mix, 7, process, 500).iter().map(|one| one.f).collect::<Vec<_>>();
                assert_ne!(kinds(0), kinds(1), "{model:?}: processes differ");
                assert_ne!(take(mix, 7, 1, 500), take(mix, 8, 1, 500), "{model:?}: seeds differ");
            }
        }
        let line: String = take(mix(Model::Register, 2), 42, 0, 6).iter().map(Operation::request).collect();
        assert_eq!(line, PINNED);
    }

    /// If this changes, a seed in an older report does not repeat its operations any more.
    const PINNED: &str = "{\"op\":\"write\",\"key\":\"k3\",\"value\":1}
{\"op\":\"read\",\"key\":\"k2\"}
{\"op\":\"read\",\"key\":\"k1\"}
{\"op\":\"read\",\"key\":\"k5\"}
{\"op\":\"read\",\"key\":\"k2\"}
{\"op\":\"write\",\"key\":\"k4\",\"value\":11}
";

    #[test]
    fn only_operations_of_the_model_and_all_of_them() {
        for model in Model::ALL {
            let mix = mix(model, 1);
            let mut found: HashSet<_> = take(mix, 1, 0, 300).iter().map(|one| one.f).collect();
            found.insert(mix.last("k1".into()).f);
            assert_eq!(found, model.operations().iter().copied().collect(), "{model:?}");
        }
    }

    #[test]
    fn no_value_is_written_twice() {
        for model in [Model::Register, Model::Set, Model::Queue, Model::List] {
            let mut values = HashSet::new();
            for process in 0..4 {
                for one in take(mix(model, 4), 3, process, 400) {
                    let written = match (one.f, one.value) {
                        ("cas", Some(value)) => Some(value[1].clone()),
                        (_, value) => value,
                    };
                    assert!(written.is_none_or(|value| values.insert(value.to_string())), "{model:?}");
                }
            }
            assert!(values.len() > 300);
        }
    }

    #[test]
    fn a_key_is_left_alone_after_some_operations() {
        for model in Model::ALL {
            let mut uses = HashMap::<String, u64>::new();
            for process in 0..4 {
                for one in take(mix(model, 4), 3, process, 2000) {
                    *uses.entry(one.key).or_default() += 1;
                }
            }
            let most = uses.values().max().copied().unwrap();
            let wanted = operations_per_key(model);
            assert!(most <= wanted.saturating_mul(2) && most >= wanted.min(8000) / 2, "{model:?}: {most}");
            let keys = 8000_u64.div_ceil(wanted.saturating_mul(usual_keys(model))) * usual_keys(model);
            assert_eq!(uses.len() as u64, keys, "{model:?}");
        }
    }

    #[test]
    fn transfers_are_among_different_accounts_that_are_made_first() {
        let mix = mix(Model::Bank, 1);
        let accounts = mix.first().unwrap().value.unwrap();
        assert_eq!(accounts.as_object().unwrap().len(), 8);
        for one in take(mix, 1, 0, 500).into_iter().filter(|one| one.f == "transfer") {
            let value = one.value.unwrap();
            assert!(value["from"] != value["to"] && value["amount"].as_u64().unwrap() > 0);
            assert!([&value["from"], &value["to"]].iter().all(|name| accounts.get(name.as_str().unwrap()).is_some()));
        }
        assert!(
            Model::ALL
                .iter()
                .filter(|model| **model != Model::Bank)
                .all(|model| { Mix { model: *model, ..mix }.first().is_none() })
        );
    }
}
