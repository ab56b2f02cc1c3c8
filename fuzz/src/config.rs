//! What a user configures: the plan that the daemon gets, files of environment variables, sizes, volumes, subnets,
//! addresses of simulated engines.

use std::io::{Seek, Write};
use std::sync::{Arc, Mutex};

use cthulhu::cli::fuzzed;
use cthulhu::daemon::Plan;
use cthulhu::engine::Labels;
use cthulhu::engine::simulated::SimulatedEngine;
use cthulhu::fleet::Fleet;
use cthulhu::provision::{NetworkRequest, plan};

static FILE: Mutex<Option<tempfile::NamedTempFile>> = Mutex::new(None);

pub fn takes(data: &[u8]) -> bool {
    let Some((which, rest)) = data.split_first() else { return false };
    if which % 6 == 1 {
        return environment(rest);
    }
    let Ok(text) = std::str::from_utf8(rest) else { return false };
    match which % 6 {
        0 => serde_json::from_str::<Plan>(text).is_ok_and(|plan| {
            let text = serde_json::to_string(&plan).unwrap();
            drop(serde_json::from_str::<Plan>(&text).unwrap());
            true
        }),
        2 => fuzzed::bytes(text).is_some_and(|bytes| {
            assert!(bytes > 0);
            true
        }),
        3 => fuzzed::volume(text).is_some_and(|(source, target)| {
            assert!(source.is_absolute() && target.starts_with('/'));
            true
        }),
        4 => subnet(text),
        _ => SimulatedEngine::from_url(text).is_ok(),
    }
}

fn environment(text: &[u8]) -> bool {
    let mut file = FILE.lock().unwrap();
    let file = file.get_or_insert_with(|| tempfile::NamedTempFile::new().unwrap());
    file.as_file_mut().set_len(0).unwrap();
    file.rewind().unwrap();
    file.write_all(text).unwrap();
    let variables = fuzzed::env_file(file.path());
    for (name, value) in variables.iter().flatten() {
        assert!(
            !name.is_empty() && !name.contains(['=', '\n', '\0']) && !value.contains(['\n', '\0']),
            "{name:?} {value:?}"
        );
    }
    variables.is_some()
}

/// Addresses are each other's neighbours at most, and in the subnet.
fn subnet(text: &str) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let fleet = Fleet::from(Arc::new(SimulatedEngine::new()));
    let wish = NetworkRequest::Subnet(text.to_owned()).into();
    let planned = runtime.block_on(plan(&fleet, &[String::new()], &wish, &[None; 5], "net", &Labels::new()));
    planned.is_ok_and(|planned| {
        assert_eq!(planned.addresses.len(), 5);
        let bits: u32 = text.split_once('/').unwrap().1.parse().unwrap();
        let prefix = |address: std::net::Ipv4Addr| u64::from(u32::from(address)) >> (32 - bits);
        for (at, address) in planned.addresses.iter().enumerate() {
            assert!(!planned.addresses[..at].contains(address));
            assert_eq!(prefix(*address), prefix(text.split_once('/').unwrap().0.parse().unwrap()));
        }
        true
    })
}
