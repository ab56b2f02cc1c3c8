//! Asks which nodes have the roles: again and again while any node runs, and whenever a write needs to know.
//!
//! One task per role, and one question at a time.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};

use super::Watch;
use crate::cluster::Cluster;
use crate::sync::time::{self, Instant};
use crate::sync::{Notify, select, watch};
use crate::text::shown;

/// Asks once. The answer is words that name nodes, or a sentence why there is none. It comes within a time of the
/// question's own: a write may wait for it.
pub(crate) type AskRole = Box<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// How it is found out which nodes have a role.
pub struct RoleQuestion {
    pub(crate) question: AskRole,
    /// From an answer to the next question.
    pub(crate) interval: Duration,
}

/// What is kept for each role beside the model.
pub(super) struct WatchedRole {
    asks: RoleQuestion,
    /// How many times somebody has needed to know; and how many of those times a question has been answered since.
    needed: AtomicU64,
    answered: watch::Sender<u64>,
    needs: Notify,
}

impl WatchedRole {
    pub(super) fn new(asks: RoleQuestion) -> Self {
        Self { asks, needed: Default::default(), answered: watch::channel(0).0, needs: Default::default() }
    }
}

impl Watch {
    /// Begins to ask who has the roles.
    pub(crate) fn follow_roles(&self) {
        (0..self.0.roles.len()).for_each(|at| self.spawn(ask(self.clone(), at)));
    }

    /// Asks again who has the roles with these indices. Returns when each has been answered, or when the watch is about to
    /// end.
    pub(crate) async fn ask_roles(&self, roles: &[usize]) {
        if roles.is_empty() {
            return;
        }
        let answers = join_all(roles.iter().map(|&at| async move {
            let role = &self.0.roles[at];
            let own = role.needed.fetch_add(1, Ordering::AcqRel) + 1;
            role.needs.notify_one();
            let _ = role.answered.subscribe().wait_for(|answered| *answered >= own).await;
        }));
        let mut closing = self.0.closing.subscribe();
        select! {
            _ = answers => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }
}

/// Asks about one role until the watch is about to end.
async fn ask(watch: Watch, at: usize) {
    let mut closing = watch.0.closing.subscribe();
    select! {
        () = ask_on(&watch, at) => {}
        _ = closing.wait_for(|closing| *closing) => {}
    }
}

async fn ask_on(watch: &Watch, at: usize) {
    let (cluster, role) = (&watch.0.cluster, &watch.0.roles[at]);
    let note = |answer: Result<_, String>| watch.notify_change(cluster.set_role(at, answer.map_err(Into::into)));
    let mut changes = watch.changes();
    let mut next = Instant::now();
    let mut had_running = false;
    loop {
        let has_running = cluster.has_running();
        if had_running && !has_running {
            note(Err("no node runs".into()));
        }
        had_running = has_running;
        let needed = role.needed.load(Ordering::Acquire);
        if needed == *role.answered.borrow() && !(has_running && next <= Instant::now()) {
            let turn = async {
                match has_running {
                    true => time::sleep_until(next).await,
                    false => drop(changes.changed().await),
                }
            };
            select! {
                () = turn => {}
                () = role.needs.notified() => {}
            }
            continue;
        }
        let answer = (role.asks.question)().await;
        note(answer.and_then(|answer| nodes(cluster, &answer)));
        next = Instant::now() + role.asks.interval;
        role.answered.send_replace(needed);
    }
}

/// The nodes that an answer names, in order.
fn nodes(cluster: &Cluster, answer: &str) -> Result<Vec<usize>, String> {
    let mut all = vec![];
    for word in answer.split_whitespace() {
        let named = match word.parse::<Ipv4Addr>() {
            Ok(ip) => cluster.spec().nodes.iter().position(|node| node.addresses().contains(&ip)).into_iter().collect(),
            Err(_) if word.starts_with('@') => vec![],
            Err(_) => cluster.find(word),
        };
        if named.is_empty() {
            return Err(format!("the answer has '{}' in it, which is no node", shown(word)));
        }
        all.extend(named);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}
