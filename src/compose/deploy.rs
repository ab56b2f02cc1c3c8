//! `deploy`: replicas and limits; the rest is for swarms.

use super::reader::{Keys, Reader, Rule};
use super::tree::Entry;
use super::values::{BYTES, CPUS, bytes, nano_cpus};
use crate::engine::BRIDGE_PORTS;

/// What of it counts.
#[derive(Default)]
pub(super) struct Deploy {
    pub(super) replicas: Option<usize>,
    pub(super) memory: Option<i64>,
    pub(super) nano_cpus: Option<i64>,
    pub(super) pids_limit: Option<i64>,
}

const SWARM: &str = "it is for swarms";
const GPUS: &str = "devices of a reservation are not supported; say 'gpus' at the service";

const DEPLOY: &Keys<Deploy> = &[
    ("replicas", Rule::Read(|reader, deploy, entry| deploy.replicas = replicas(reader, "deploy: replicas", entry))),
    ("resources", Rule::Read(|reader, deploy, entry| reader.map("resources", &entry.node, RESOURCES, deploy))),
    (
        "mode",
        Rule::Read(|reader, _, entry| {
            if reader.text("deploy: mode", &entry.node).is_some_and(|mode| mode != "replicated") {
                reader.warn(&entry.mark, "deploy: mode is ignored: it is for swarms");
            }
        }),
    ),
    ("labels", Rule::Warn(SWARM)),
    ("endpoint_mode", Rule::Warn(SWARM)),
    ("placement", Rule::Warn(SWARM)),
    ("restart_policy", Rule::Warn("a killed node stays dead until you start it")),
    ("rollback_config", Rule::Warn(SWARM)),
    ("update_config", Rule::Warn(SWARM)),
];

const RESOURCES: &Keys<Deploy> = &[
    ("limits", Rule::Read(|reader, deploy, entry| reader.map("limits", &entry.node, LIMITS, deploy))),
    ("reservations", Rule::Read(|reader, deploy, entry| reader.map("reservations", &entry.node, RESERVATIONS, deploy))),
];

const LIMITS: &Keys<Deploy> = &[
    (
        "memory",
        Rule::Read(|reader, deploy, entry| deploy.memory = reader.parsed("limits: memory", &entry.node, BYTES, bytes)),
    ),
    (
        "cpus",
        Rule::Read(|reader, deploy, entry| {
            deploy.nano_cpus = reader.parsed("limits: cpus", &entry.node, CPUS, nano_cpus);
        }),
    ),
    (
        "pids",
        Rule::Read(|reader, deploy, entry| {
            deploy.pids_limit = reader.number("limits: pids", &entry.node, "a number of processes");
        }),
    ),
    ("devices", Rule::Refuse(GPUS)),
    ("generic_resources", Rule::Warn(SWARM)),
];

const RESERVATIONS: &Keys<Deploy> = &[
    ("memory", Rule::Warn("nothing is reserved")),
    ("cpus", Rule::Warn("nothing is reserved")),
    ("pids", Rule::Warn("nothing is reserved")),
    ("devices", Rule::Refuse(GPUS)),
    ("generic_resources", Rule::Warn(SWARM)),
];

/// Reads it.
pub(super) fn read(reader: &mut Reader, deploy: &mut Deploy, entry: &Entry) {
    reader.map("deploy", &entry.node, DEPLOY, deploy);
}

/// How many nodes a service has.
pub(super) fn replicas(reader: &mut Reader, what: &str, entry: &Entry) -> Option<usize> {
    let form = format!("a number of nodes up to {BRIDGE_PORTS}");
    reader.parsed(what, &entry.node, &form, |text| text.parse().ok().filter(|replicas| *replicas <= BRIDGE_PORTS))
}
