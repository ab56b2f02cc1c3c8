//! `x-cthulhu` of a service: what only cthulhu knows.

use super::model::Extension;
use super::ports::{PORT, port_number};
use super::reader::{Keys, Reader, Rule};
use super::tree::Entry;
use super::values::{BYTES, bytes};

const EXTENSION: &Keys<Extension> = &[
    (
        "ready-port",
        Rule::Read(|reader, extension, entry| {
            extension.ready_port = reader.parsed("ready-port", &entry.node, PORT, port_number);
        }),
    ),
    (
        "ready-log",
        Rule::Read(|reader, extension, entry| {
            let is_regex = |text: &str| regex::bytes::Regex::new(text).ok().map(|_| text.to_owned());
            extension.ready_log = reader.parsed("ready-log", &entry.node, "a regular expression", is_regex);
        }),
    ),
    (
        "log-limit",
        Rule::Read(|reader, extension, entry| {
            let limit = |text: &str| bytes(text).and_then(|limit| u64::try_from(limit).ok());
            extension.log_limit = reader.parsed("log-limit", &entry.node, BYTES, limit);
        }),
    ),
    (
        "oneshot",
        Rule::Read(|reader, extension, entry| {
            extension.oneshot = reader.truth("oneshot", &entry.node).unwrap_or_default();
        }),
    ),
];

/// Reads it.
pub(super) fn read(reader: &mut Reader, extension: &mut Extension, entry: &Entry) {
    reader.map("x-cthulhu", &entry.node, EXTENSION, extension);
    if extension.ready_port.is_some() && extension.ready_log.is_some() {
        reader.refuse(&entry.mark, "x-cthulhu: ready-port and ready-log: one of them says when a node is ready");
    }
}
