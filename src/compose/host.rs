//! What a service says about its limits, devices and name resolution.

use std::net::IpAddr;

use super::reader::{Keys, Reader, Rule};
use super::tree::{Entry, Value};
use crate::engine::{Device, Gpus, Ulimit};
use crate::text::shown;

/// Reads `ulimits`.
pub(super) fn ulimits(reader: &mut Reader, entry: &Entry) -> Vec<Ulimit> {
    const FORM: &str = "a limit, or -1 for none";
    const BOTH: &Keys<(Option<i64>, Option<i64>)> = &[
        ("soft", Rule::Read(|reader, limit, entry| limit.0 = reader.number("soft", &entry.node, FORM))),
        ("hard", Rule::Read(|reader, limit, entry| limit.1 = reader.number("hard", &entry.node, FORM))),
    ];
    let Value::Map(entries) = &entry.node.value else {
        reader.refuse(&entry.node.mark, format!("ulimits is a map, not {}", entry.node.kind()));
        return vec![];
    };
    let mut all = vec![];
    for limit in entries {
        let mut both = (None, None);
        match &limit.node.value {
            Value::Map(_) => reader.map("a limit", &limit.node, BOTH, &mut both),
            _ => {
                let number = reader.number(&limit.key, &limit.node, FORM);
                both = (number, number);
            }
        }
        match both {
            (Some(soft), Some(hard)) => {
                let wanted = Ulimit { name: limit.key.clone(), soft, hard };
                match wanted.check() {
                    Ok(()) => all.push(wanted),
                    Err(why) => reader.refuse(&limit.mark, format!("ulimits: {why}")),
                }
            }
            _ if matches!(limit.node.value, Value::Map(_)) => {
                reader.refuse(&limit.mark, format!("ulimits: {} has both 'soft' and 'hard'", shown(&limit.key)));
            }
            _ => {}
        }
    }
    all
}

const DEVICE: &Keys<Device> = &[
    (
        "source",
        Rule::Read(|reader, device, entry| device.host = reader.text("source", &entry.node).unwrap_or_default()),
    ),
    (
        "target",
        Rule::Read(|reader, device, entry| device.container = reader.text("target", &entry.node).unwrap_or_default()),
    ),
    (
        "permissions",
        Rule::Read(|reader, device, entry| {
            device.permissions = reader.text("permissions", &entry.node).unwrap_or_default()
        }),
    ),
];

/// Reads `devices`: `HOST[:CONTAINER[:PERMISSIONS]]`, or a map.
pub(super) fn devices(reader: &mut Reader, entry: &Entry) -> Vec<Device> {
    let mut all = vec![];
    for item in reader.items("devices", &entry.node) {
        let mut device = Device { host: String::new(), container: String::new(), permissions: String::new() };
        match &item.value {
            Value::Map(_) => reader.map("a device", item, DEVICE, &mut device),
            _ => {
                let Some(text) = reader.text("a device", item) else { continue };
                let mut parts = text.splitn(3, ':').map(str::to_owned);
                device.host = parts.next().unwrap_or_default();
                device.container = parts.next().unwrap_or_default();
                device.permissions = parts.next().unwrap_or_default();
            }
        }
        if device.container.is_empty() {
            device.container.clone_from(&device.host);
        }
        if device.permissions.is_empty() {
            device.permissions = "rwm".into();
        }
        let is_good = device.host.starts_with('/')
            && device.container.starts_with('/')
            && device.permissions.chars().all(|c| "rwm".contains(c));
        if is_good {
            all.push(device);
        } else {
            reader.refuse(&item.mark, "devices: the form is /dev/HOST[:/dev/CONTAINER[:rwm]]");
        }
    }
    all
}

/// Reads `dns`.
pub(super) fn name_servers(reader: &mut Reader, entry: &Entry) -> Vec<IpAddr> {
    let mut all = vec![];
    for text in reader.texts("dns", &entry.node) {
        match text.parse() {
            Ok(address) => all.push(address),
            Err(_) => reader.refuse(&entry.node.mark, format!("dns: '{}' is no IP address", shown(&text))),
        }
    }
    all
}

/// Reads `extra_hosts`: `NAME:ADDRESS`, `NAME=ADDRESS`, or a map to one address or several.
pub(super) fn extra_hosts(reader: &mut Reader, entry: &Entry) -> Vec<(String, String)> {
    let mut all = vec![];
    match &entry.node.value {
        Value::Map(entries) => {
            for host in entries {
                let addresses = reader.texts("extra_hosts", &host.node);
                all.extend(addresses.into_iter().map(|address| (host.key.clone(), address)));
            }
        }
        _ => {
            for text in reader.texts("extra_hosts", &entry.node) {
                let (name, address) = text.split_once(['=', ':']).unwrap_or((&text, ""));
                all.push((name.to_owned(), address.to_owned()));
            }
        }
    }
    for (name, address) in &mut all {
        let plain = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address).to_owned();
        if plain != "host-gateway" && plain.parse::<IpAddr>().is_err() {
            let text = format!("extra_hosts: '{}' of {} is no IP address", shown(&plain), shown(name));
            reader.refuse(&entry.node.mark, text);
        }
        *address = plain;
    }
    all
}

/// Reads `gpus`: `all`, or one entry that says how many or which.
pub(super) fn gpus(reader: &mut Reader, entry: &Entry) -> Option<Gpus> {
    const GPUS: &Keys<Option<Gpus>> = &[
        ("count", Rule::Read(|reader, gpus, entry| *gpus = count_of_gpus(reader, entry))),
        ("driver", Rule::Ignore),
        ("capabilities", Rule::Ignore),
        ("options", Rule::Ignore),
        (
            "device_ids",
            Rule::Read(|reader, gpus, entry| *gpus = Some(Gpus::Devices(reader.texts("device_ids", &entry.node)))),
        ),
    ];
    let Value::List(items) = &entry.node.value else { return count_of_gpus(reader, entry) };
    if items.len() != 1 {
        reader.refuse(&entry.node.mark, "gpus is 'all', or a list with one entry");
        return None;
    }
    let mut gpus = Some(Gpus::All);
    reader.map("gpus", &items[0], GPUS, &mut gpus);
    gpus
}

fn count_of_gpus(reader: &mut Reader, entry: &Entry) -> Option<Gpus> {
    let count = |text: &str| match text {
        "all" => Some(Gpus::All),
        text => text.parse().ok().filter(|count| *count > 0).map(Gpus::Count),
    };
    reader.parsed("gpus", &entry.node, "'all' or a number", count)
}
