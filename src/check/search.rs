//! Whether operations on one register can have happened one after the other: the search of Wing and Gong ("Testing and
//! Verifying Concurrent Objects", 1993), which never goes on twice from the same point: the same operations done, the same
//! value there (Lowe, "Testing for Linearizability", 2017).
//!
//! It is exponential in the number of operations that overlap, so it has bounds, and then says that it does not know.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::findings::NEVER;
use super::value::Value;

/// What an operation does to the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// This is there.
    Read(Value),
    /// From here on this is there.
    Write(Value),
    /// The first is there, and from here on the second.
    Swap(Value, Value),
    /// This is not there.
    Lacks(Value),
}

/// An operation: it takes effect at one moment after `begin` and before `end`. If its end is [`NEVER`], perhaps at none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) begin: u32,
    pub(super) end: u32,
    pub(super) action: Action,
}

/// How much a search may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Operations that are tried: by the check of all keys together, by the search for one.
    pub(crate) steps: u64,
    /// Memory for one key, in bytes.
    pub(crate) memory: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { steps: 200_000_000, memory: 256 << 20 }
    }
}

/// What was found out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// There is an order.
    Exists,
    /// There is none: this operation has no place. It is the first whose end makes all before it impossible.
    Missing {
        /// Its index.
        step: usize,
        /// What can be there when it is to take effect.
        values: Vec<Value>,
    },
    /// It would take too many steps, or too much memory.
    Unknown,
}

/// Most values that are named.
const MOST_VALUES: usize = 4;

/// Looks for an order. `steps` are sorted by their begin; what is used is taken off the bounds.
pub(super) fn order(steps: &[Step], bounds: &mut Bounds) -> Order {
    Search::new(steps).run(bounds)
}

/// A point of the search: what is done, and what is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Point {
    /// All before 64 times this are done.
    base: u32,
    /// A bit for each of those after that, up to the last that is done.
    done: Vec<u64>,
    /// The same of those without an end.
    tried: Vec<u64>,
    value: Value,
}

fn bit(words: &[u64], at: usize) -> bool {
    words.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
}

fn set(words: &mut Vec<u64>, at: usize) {
    if words.len() <= at / 64 {
        words.resize(at / 64 + 1, 0);
    }
    words[at / 64] |= 1 << (at % 64);
}

impl Point {
    fn base(&self) -> usize {
        self.base as usize * 64
    }

    fn is_done(&self, at: usize) -> bool {
        at < self.base() || bit(&self.done, at - self.base())
    }

    fn first(&self) -> usize {
        self.base() + self.done.first().map_or(0, |word| word.trailing_ones() as usize)
    }

    /// Those of the first `all` that are not done, in order.
    fn not_done(&self, all: usize) -> impl Iterator<Item = usize> {
        let base = self.base();
        let zeros = move |(at, word): (usize, &u64)| {
            let mut left = !word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                left &= left.wrapping_sub(1);
                (bit < 64).then_some(base + at * 64 + bit)
            })
        };
        let behind = base + self.done.len() * 64;
        self.done.iter().enumerate().flat_map(zeros).chain(behind..).take_while(move |at| *at < all)
    }

    fn do_it(&mut self, at: usize) {
        let base = self.base();
        set(&mut self.done, at - base);
        let full = self.done.iter().take_while(|word| **word == u64::MAX).count();
        if full > 0 {
            self.done.drain(..full);
            self.base += u32::try_from(full).unwrap_or_default();
        }
    }

    /// Its memory, with what the cache and the stack need for it: roughly, and rather too much.
    fn memory(&self) -> usize {
        size_of::<Self>() + 64 + 8 * (self.done.capacity() + self.tried.capacity())
    }
}

struct Search {
    /// Those that ended, and where each was among all.
    must: Vec<Step>,
    origin: Vec<usize>,
    /// Those that have no end, and can matter.
    may: Vec<Step>,
    /// Of each of these, the one before it that does the same: it comes first.
    same: Vec<Option<usize>>,
    /// For each of `must`: a write of a value that nobody reads. It can stand just before any other write.
    blind: Vec<bool>,
    /// The latest operation that a point could not get past, and what was there then.
    stuck: (u32, usize, Vec<Value>),
}

impl Search {
    fn new(steps: &[Step]) -> Self {
        let read: HashSet<Value> = steps
            .iter()
            .filter_map(|step| match step.action {
                Action::Read(value) | Action::Swap(value, _) => Some(value),
                _ => None,
            })
            .collect();
        let any_lacks = steps.iter().any(|step| matches!(step.action, Action::Lacks(_)));
        let matters = |action: Action| match action {
            Action::Write(value) | Action::Swap(_, value) => any_lacks || read.contains(&value),
            _ => false,
        };
        let (must, may): (Vec<_>, Vec<_>) = steps.iter().copied().enumerate().partition(|(_, step)| step.end != NEVER);
        let may: Vec<Step> = may.into_iter().map(|(_, step)| step).filter(|step| matters(step.action)).collect();
        let mut last: HashMap<[Value; 3], usize> = HashMap::new();
        let mut same = vec![];
        for (at, step) in may.iter().enumerate() {
            let kind = match step.action {
                Action::Swap(old, new) => [new, old, new],
                Action::Write(value) | Action::Read(value) | Action::Lacks(value) => [value, Value::NULL, Value::NULL],
            };
            let is_write = !matches!(step.action, Action::Swap(..));
            same.push(if is_write { last.insert(kind, at) } else { None });
        }
        let (origin, must): (Vec<usize>, Vec<Step>) = must.into_iter().unzip();
        let blind = must.iter().map(|step| matches!(step.action, Action::Write(_)) && !matters(step.action)).collect();
        Self { must, origin, may, same, blind, stuck: (0, 0, vec![]) }
    }

    fn run(mut self, bounds: &mut Bounds) -> Order {
        let mut start = Point { base: 0, done: vec![], tried: vec![], value: Value::NULL };
        self.go_on(&mut start, bounds);
        if start.first() == self.must.len() {
            return Order::Exists;
        }
        if bounds.steps == 0 {
            return Order::Unknown;
        }
        let start = Rc::new(start);
        let mut memory = start.memory();
        let mut known = HashSet::from([Rc::clone(&start)]);
        let mut stack = vec![start];
        let (mut open, mut choices) = (vec![], vec![]);
        while let Some(point) = stack.pop() {
            self.choose(&point, &mut open, &mut choices);
            bounds.steps = bounds.steps.saturating_sub(self.may.len() as u64);
            for choice in &choices {
                let mut next = self.after(&point, choice, &open);
                self.go_on(&mut next, bounds);
                if next.first() == self.must.len() {
                    return Order::Exists;
                }
                if bounds.steps == 0 || memory > bounds.memory {
                    return Order::Unknown;
                }
                let next = Rc::new(next);
                if known.insert(Rc::clone(&next)) {
                    memory += next.memory();
                    stack.push(next);
                }
            }
        }
        let (_, step, values) = self.stuck;
        Order::Missing { step: self.origin.get(step).copied().unwrap_or_default(), values }
    }

    /// What can come next: all that began before anything else that is not done has ended. With the operation that ends
    /// first.
    fn open(&self, point: &Point, open: &mut Vec<usize>) -> (u32, usize) {
        open.clear();
        let mut first_end = (NEVER, self.must.len());
        for at in point.not_done(self.must.len()) {
            let step = &self.must[at];
            if step.begin > first_end.0 {
                break;
            }
            open.push(at);
            first_end = first_end.min((step.end, at));
        }
        first_end
    }

    /// Does all that changes nothing and can be done: no order is missed by that. Stops when no steps are left.
    fn go_on(&mut self, point: &mut Point, bounds: &mut Bounds) {
        let mut open = vec![];
        while bounds.steps > 0 {
            let first_end = self.open(point, &mut open);
            bounds.steps = bounds.steps.saturating_sub((1 + open.len() + point.done.len()) as u64);
            let value = point.value;
            let fits = open.iter().copied().filter(|at| match self.must[*at].action {
                Action::Read(there) => there == value,
                Action::Lacks(absent) => absent != value,
                Action::Swap(old, new) => old == value && new == value,
                Action::Write(_) => false,
            });
            let fits: Vec<usize> = fits.collect();
            if fits.is_empty() {
                self.note(first_end, point.value);
                return;
            }
            fits.into_iter().for_each(|at| point.do_it(at));
        }
    }

    /// Remembers the point if it got further than all before.
    fn note(&mut self, (end, at): (u32, usize), value: Value) {
        let (latest, step, values) = &mut self.stuck;
        if end > *latest {
            (*latest, *step) = (end, at);
            values.clear();
        }
        if end == *latest && values.len() < MOST_VALUES && !values.contains(&value) {
            values.push(value);
        }
    }

    /// The changes that can come next; the likeliest is the last. `open` is what can come next of those that ended.
    fn choose(&self, point: &Point, open: &mut Vec<usize>, choices: &mut Vec<Choice>) {
        choices.clear();
        let (first_end, _) = self.open(point, open);
        for (at, step) in self.may.iter().enumerate().rev() {
            let is_first = self.same[at].is_none_or(|before| bit(&point.tried, before));
            if step.begin < first_end && is_first && !bit(&point.tried, at) {
                choices.extend(
                    Choice::of(at, true, step.action, point.value).filter(|choice| choice.value != point.value),
                );
            }
        }
        open.sort_unstable_by_key(|at| self.must[*at].end);
        let mut has_blind = false;
        for at in open.iter().copied().rev() {
            // Of several that nobody reads, one is the last, whichever.
            if !(self.blind[at] && std::mem::replace(&mut has_blind, true)) {
                choices.extend(Choice::of(at, false, self.must[at].action, point.value));
            }
        }
    }

    fn after(&self, point: &Point, choice: &Choice, open: &[usize]) -> Point {
        let mut next = Point { value: choice.value, ..point.clone() };
        if choice.is_tried {
            set(&mut next.tried, choice.at);
        } else {
            next.do_it(choice.at);
        }
        for at in open.iter().copied().filter(|at| choice.overwrites && self.blind[*at]) {
            if !next.is_done(at) {
                next.do_it(at);
            }
        }
        next
    }
}

/// A change that can come next.
struct Choice {
    at: usize,
    /// It has no end: it may never have happened.
    is_tried: bool,
    /// What is there then.
    value: Value,
    /// Whether it does not matter what was there.
    overwrites: bool,
}

impl Choice {
    fn of(at: usize, is_tried: bool, action: Action, there: Value) -> Option<Self> {
        let (value, overwrites) = match action {
            Action::Write(value) => (value, true),
            Action::Swap(old, new) if old == there => (new, false),
            _ => return None,
        };
        Some(Self { at, is_tried, value, overwrites })
    }
}
