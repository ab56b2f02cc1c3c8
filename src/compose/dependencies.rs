//! `depends_on` and `links`.

use super::model::{Condition, Link};
use super::reader::{Keys, Reader, Rule};
use super::tree::{Entry, Mark, Value};

/// An entry of `depends_on`, before anybody has looked whether that service is there.
#[derive(Clone)]
pub(super) struct DependencyWish {
    pub(super) service: String,
    pub(super) condition: Condition,
    pub(super) required: bool,
    pub(super) mark: Mark,
}

const DEPENDENCY: &Keys<DependencyWish> = &[
    (
        "condition",
        Rule::Read(|reader, wish, entry| {
            let form = "service_started, service_healthy or service_completed_successfully";
            let condition = |text: &str| match text {
                "service_started" => Some(Condition::Started),
                "service_healthy" => Some(Condition::Healthy),
                "service_completed_successfully" => Some(Condition::CompletedSuccessfully),
                _ => None,
            };
            wish.condition = reader.parsed("condition", &entry.node, form, condition).unwrap_or_default();
        }),
    ),
    (
        "required",
        Rule::Read(|reader, wish, entry| wish.required = reader.truth("required", &entry.node).unwrap_or(true)),
    ),
    (
        "restart",
        Rule::Read(|reader, _, entry| {
            if reader.truth("restart", &entry.node) == Some(true) {
                reader
                    .warn(&entry.mark, "depends_on: restart is ignored: a restart of one node is no restart of others");
            }
        }),
    ),
];

/// Reads `depends_on`.
pub(super) fn read(reader: &mut Reader, entry: &Entry) -> Vec<DependencyWish> {
    let wish = |service: &str, mark: &Mark| DependencyWish {
        service: service.to_owned(),
        condition: Condition::Started,
        required: true,
        mark: mark.clone(),
    };
    let mut wishes = vec![];
    match &entry.node.value {
        Value::Map(entries) => {
            for entry in entries {
                let mut wish = wish(&entry.key, &entry.mark);
                if !entry.node.is_null() {
                    reader.map("a dependency", &entry.node, DEPENDENCY, &mut wish);
                }
                wishes.push(wish);
            }
        }
        _ => {
            for item in reader.items("depends_on", &entry.node) {
                wishes.extend(reader.text("a dependency", item).map(|name| wish(&name, &item.mark)));
            }
        }
    }
    wishes
}

/// Reads `links`: `SERVICE[:ALIAS]`.
pub(super) fn links(reader: &mut Reader, entry: &Entry) -> Vec<Link> {
    reader.warn(&entry.mark, "links are names in DNS here, within a network that both services are in");
    let link = |text: String| {
        let (service, alias) = text.split_once(':').unwrap_or((&text, &text));
        Link { service: service.into(), alias: alias.into() }
    };
    reader.texts("links", &entry.node).into_iter().map(link).collect()
}
