//! Accounts: transfers move amounts, and the total stays the same.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::Options;
use super::findings::{Findings, Span, number_of, verb};
use super::gather::{Checker, Operation, Outcome};
use super::in_force::InForce;
use super::value::{Value, Values, shown};

/// The banks, by key.
pub(super) struct Banks {
    total: Option<i64>,
    no_negative: bool,
    banks: IndexMap<Value, Bank>,
    found: Findings,
}

/// What all reads are held against.
struct Bank {
    total: i128,
    /// The read that it is from, if it was not asked for.
    from: Option<Span>,
    reads: u64,
}

impl Banks {
    pub(super) fn new(options: &Options) -> Self {
        let Options { total, no_negative, .. } = *options;
        Self { total, no_negative, banks: IndexMap::new(), found: Findings::default() }
    }

    fn read(&mut self, key: Value, balances: &BTreeMap<String, i64>, read: Span, values: &Values) {
        let total: i128 = balances.values().copied().map(i128::from).sum();
        let asked = self.total.map(|total| Bank { total: total.into(), from: None, reads: 0 });
        let bank = self.banks.entry(key).or_insert_with(|| asked.unwrap_or(Bank { total, from: Some(read), reads: 0 }));
        bank.reads += 1;
        if total != bank.total {
            let text = || {
                let (wanted, off) = (bank.total, total - bank.total);
                let whose = bank.from.map_or("--total".to_owned(), |first| format!("the first read ({first})"));
                format!("the read of {read} has a total of {total}, {off:+} from the {wanted} of {whose}")
            };
            self.found.add("total", key, values, text, &[read]);
        }
        let negative = balances.iter().find(|(_, balance)| self.no_negative && **balance < 0);
        if let Some((account, balance)) = negative {
            let text = || format!("the read of {read} has {balance} in account {account:?}");
            self.found.add("negative", key, values, text, &[read]);
        }
    }
}

impl Checker for Banks {
    fn begin(&mut self, _: &Operation, _: &Values) -> Result<(), String> {
        Ok(())
    }

    fn end(
        &mut self,
        operation: &Operation,
        outcome: Outcome,
        value: Option<&RawValue>,
        values: &mut Values,
    ) -> Result<(), String> {
        if operation.f == "read" && outcome == Outcome::Ok {
            let balances = value.and_then(|value| serde_json::from_str(value.get()).ok());
            let wrong = || format!("gives {}, which are no balances: an object of whole numbers", shown(value));
            self.read(operation.key, &balances.ok_or_else(wrong)?, operation.span, values);
        }
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Values, _: &InForce) -> Findings {
        let Self { total, mut found, banks, .. } = *self;
        let reads: u64 = banks.values().map(|bank| bank.reads).sum();
        let once = if total.is_none() { banks.values().filter(|bank| bank.reads == 1).count() } else { 0 };
        for (kind, what) in [("total", "wrong total"), ("negative", "negative balance")] {
            let count = found.count(kind);
            if count > 0 {
                let reads = number_of(reads, "read");
                found.wrong.push(format!("{count} of {reads} {} a {what}", verb(count, "has", "have")));
            }
        }
        match reads {
            0 => found.unknown.push("nobody read the balances".into()),
            _ if once > 0 => {
                let of =
                    if banks.len() == 1 { String::new() } else { format!(" of {}", number_of(once as u64, "key")) };
                found.unknown.push(format!(
                    "there is one read{of}, and nothing to hold it against: read more often, or name the --total"
                ));
            }
            reads => {
                found.good.push(format!("{} {} the right total", number_of(reads, "read"), verb(reads, "has", "have")))
            }
        }
        found
    }
}
