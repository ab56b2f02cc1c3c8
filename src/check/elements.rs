//! What is added once and must then be there: the elements of a set or of a list, and the reads that have or lack them.

use indexmap::IndexMap;

use super::findings::{Findings, NEVER, Span, number_of, verb};
use super::gather::{Operation, Outcome};
use super::in_force::InForce;
use super::value::{Value, Values};

/// What is known of one element.
#[derive(Debug)]
pub(super) struct Element {
    /// The operation that added it: the one that was acknowledged, else the last one that tried.
    pub(super) add: Span,
    pub(super) is_acknowledged: bool,
    /// How many operations tried to add it, and of these how many failed.
    tries: u32,
    failed: u32,
    /// The line from which on it must be there: its add was acknowledged, or a read that had it has ended.
    known: u32,
    /// The first and the last read that has it.
    first_seen: Span,
    seen: Span,
    /// Of the reads that began when it had to be there, and lack it, the one that began last.
    missed: Span,
    /// A read that has it more than once.
    twice: Span,
    /// A read that had it when nobody had tried to add it, or all who had tried had failed.
    too_early: Span,
    /// The number of the last read that has it.
    mark: u32,
}

impl Element {
    const NEW: Self = Self {
        add: Span::NONE,
        is_acknowledged: false,
        tries: 0,
        failed: 0,
        known: NEVER,
        first_seen: Span::NONE,
        seen: Span::NONE,
        missed: Span::NONE,
        twice: Span::NONE,
        too_early: Span::NONE,
        mark: 0,
    };

    /// Not in the last reads any more.
    fn is_lost(&self) -> bool {
        self.missed.is_some() && (!self.seen.is_some() || self.seen.end < self.missed.begin)
    }

    fn is_stale(&self) -> bool {
        self.missed.is_some() && !self.is_lost()
    }

    /// The read to blame for an element that nobody has added.
    fn unexpected(&self) -> Span {
        if !self.too_early.is_some() && self.seen.is_some() && self.failed == self.tries {
            return self.first_seen;
        }
        self.too_early
    }

    pub(super) fn is_missed(&self) -> bool {
        self.missed.is_some()
    }

    /// Acknowledged, and no read has begun since.
    fn is_unread(&self, last_read: u32) -> bool {
        self.is_acknowledged && !self.seen.is_some() && (last_read == NEVER || last_read < self.known)
    }
}

/// The elements of one set or list.
#[derive(Debug)]
pub(super) struct Elements {
    pub(super) of: IndexMap<Value, Element>,
    /// How many reads there were.
    pub(super) reads: u32,
    /// Where the read began that began last.
    last_read: u32,
    pub(super) acknowledged: u64,
}

impl Default for Elements {
    fn default() -> Self {
        Self { of: IndexMap::new(), reads: 0, last_read: NEVER, acknowledged: 0 }
    }
}

impl Elements {
    /// One is to be added. Returns the operation that tries that already or has done it, if there is one.
    pub(super) fn begin(&mut self, operation: &Operation) -> Option<Span> {
        let element = self.of.entry(operation.value).or_insert(Element::NEW);
        let earlier = (element.tries > element.failed).then_some(element.add);
        element.tries += 1;
        if !element.is_acknowledged {
            element.add = operation.span;
        }
        earlier
    }

    /// That has ended.
    pub(super) fn end(&mut self, operation: &Operation, outcome: Outcome) {
        let Some(element) = self.of.get_mut(&operation.value) else { return };
        match outcome {
            Outcome::Ok if !element.is_acknowledged => {
                element.is_acknowledged = true;
                element.add = operation.span;
                element.known = element.known.min(operation.span.end);
                self.acknowledged += 1;
            }
            _ => {
                element.failed += u32::from(matches!(outcome, Outcome::Failed { .. }));
                if !element.is_acknowledged && element.add.begin == operation.span.begin {
                    element.add = operation.span;
                }
            }
        }
    }

    /// These are there, says a read.
    pub(super) fn read(&mut self, there: &[Value], read: Span) {
        self.reads += 1;
        for value in there {
            let element = self.of.entry(*value).or_insert(Element::NEW);
            if element.mark == self.reads {
                element.twice = read;
            }
            element.mark = self.reads;
            if element.failed == element.tries && !element.too_early.is_some() {
                element.too_early = read;
            }
            if !element.seen.is_some() {
                element.first_seen = read;
            }
            element.seen = read;
            element.known = element.known.min(read.end);
        }
        for element in self.of.values_mut() {
            let is_later = !element.missed.is_some() || element.missed.begin < read.begin;
            if element.known < read.begin && element.mark != self.reads && is_later {
                element.missed = read;
            }
        }
        self.last_read = if self.last_read == NEVER { read.begin } else { self.last_read.max(read.begin) };
    }

    /// How many were acknowledged, and no read began later.
    pub(super) fn unread(&self) -> u64 {
        self.of.values().filter(|element| element.is_unread(self.last_read)).count() as u64
    }
}

/// What the elements are called in sentences.
pub(super) struct Names {
    /// `element`.
    pub(super) one: &'static str,
    /// `added`.
    pub(super) done: &'static str,
    /// `add`.
    pub(super) f: &'static str,
}

/// Elements of one key that were acknowledged while the same faults were in force, and that the same read lacks.
struct Lost<'a> {
    key: Value,
    count: u64,
    first: (Value, &'a Element),
    last: (Value, &'a Element),
}

impl<'a> Lost<'a> {
    /// All that are lost, in the order in which the first of each was added.
    fn all(
        elements: impl Iterator<Item = (Value, Value, &'a Element)>,
        in_force: &InForce,
    ) -> impl Iterator<Item = Self> {
        let mut all: IndexMap<_, Self> = IndexMap::new();
        for (key, value, element) in elements.filter(|(.., element)| element.is_lost()) {
            let Span { begin, end } = element.add;
            let period = in_force.period(if end == NEVER { begin } else { end });
            let alike = (key, period, element.missed, element.is_acknowledged, element.seen.is_some());
            let this = (value, element);
            let lost = all.entry(alike).or_insert(Self { key, count: 0, first: this, last: this });
            lost.count += 1;
            lost.last = this;
        }
        all.into_values()
    }

    fn text(&self, one: &str, values: &Values) -> String {
        let (value, element) = self.first;
        let Element { add, seen, missed, .. } = element;
        let (acknowledged, read) = (element.is_acknowledged, seen.is_some());
        let (what, them) = if self.count == 1 {
            let was = match (acknowledged, read) {
                (true, false) => format!("was acknowledged ({add})"),
                (true, true) => format!("was acknowledged ({add}) and read ({seen})"),
                _ => format!("was read ({seen})"),
            };
            (format!("{} {was}", values.show(value)), "it")
        } else {
            let named = |(value, element): (Value, &Element)| {
                format!("{} ({})", values.show(value), if acknowledged { element.add } else { element.seen })
            };
            let were = match (acknowledged, read) {
                (true, false) => "acknowledged",
                (true, true) => "acknowledged and read",
                _ => "read",
            };
            let (count, first, last) = (number_of(self.count, one), named(self.first), named(self.last));
            (format!("{count}, from {first} to {last}, were {were}"), "them")
        };
        format!("{what}; the read of {missed}, which began later, lacks {them}, and no later one has {them}")
    }

    fn operations(&self) -> [Span; 5] {
        let ((_, first), (_, last)) = (self.first, self.last);
        [first.add, first.seen, last.add, last.seen, first.missed]
    }
}

/// Adds what is wrong with the elements of all keys, the gravest first.
pub(super) fn report(
    keys: &IndexMap<Value, Elements>,
    names: &Names,
    values: &Values,
    in_force: &InForce,
    found: &mut Findings,
) {
    let all =
        || keys.iter().flat_map(|(key, elements)| elements.of.iter().map(|(value, element)| (*key, *value, element)));
    let Names { one, done, f } = names;
    let acknowledged: u64 = keys.values().map(|elements| elements.acknowledged).sum();
    let (mut lost, mut lost_unacknowledged) = (0, 0);
    for some in Lost::all(all(), in_force) {
        *(if some.first.1.is_acknowledged { &mut lost } else { &mut lost_unacknowledged }) += some.count;
        found.add("lost", some.key, values, || some.text(one, values), &some.operations());
    }
    for (key, value, element) in all().filter(|(.., element)| element.unexpected().is_some()) {
        let read = element.unexpected();
        let text = || {
            let value = values.show(value);
            match element.tries {
                0 => format!("the read of {read} has {value}, which nobody has {done}"),
                _ if element.failed > 0 => {
                    format!("the read of {read} has {value}, but its {f} ({}) failed", element.add)
                }
                _ => format!("the read of {read} has {value} before its {f} ({}) began", element.add),
            }
        };
        found.add("unexpected", key, values, text, &[element.add, read]);
    }
    for (key, value, element) in all().filter(|(.., element)| element.twice.is_some()) {
        let text = || format!("the read of {} has {} more than once", element.twice, values.show(value));
        found.add("duplicated", key, values, text, &[element.add, element.twice]);
    }
    for (key, value, element) in all().filter(|(.., element)| element.is_stale()) {
        let text = || {
            let known = if element.add.end < element.missed.begin && element.is_acknowledged {
                format!("was acknowledged ({})", element.add)
            } else {
                format!("was read ({})", element.first_seen)
            };
            let (value, missed, seen) = (values.show(value), element.missed, element.seen);
            format!("{value} {known}; the read of {missed}, which began later, lacks it, and the read of {seen} has it")
        };
        found.add("stale", key, values, text, &[element.add, element.first_seen, element.missed, element.seen]);
    }
    if lost > 0 {
        found.wrong.push(format!(
            "{lost} of {} {} lost",
            number_of(acknowledged, &format!("acknowledged {one}")),
            verb(lost, "is", "are")
        ));
    }
    if lost_unacknowledged > 0 {
        let what = number_of(lost_unacknowledged, one);
        found
            .wrong
            .push(format!("{what} of unknown end {} read and then lost", verb(lost_unacknowledged, "was", "were")));
    }
    for (kind, word) in [
        ("unexpected", "unexpected"),
        ("duplicated", "there more than once"),
        ("stale", "missing from a read for a while"),
    ] {
        let count = found.count(kind);
        if count > 0 {
            found.wrong.push(format!("{} {} {word}", number_of(count, one), verb(count, "is", "are")));
        }
    }
}
