//! What a user configures: the plan that the daemon gets, files of environment variables, sizes, volumes, subnets,
//! addresses of simulated engines.
#![no_main]

use std::io::{Seek, Write};
use std::sync::Mutex;

use cthulhu::daemon::{Plan, fuzzed};
use cthulhu::engine::Labels;
use cthulhu::engine::simulated::SimulatedEngine;
use cthulhu::provision::{NetworkWish, plan};
use libfuzzer_sys::fuzz_target;

static FILE: Mutex<Option<tempfile::NamedTempFile>> = Mutex::new(None);

fuzz_target!(|data: &[u8]| {
    let Some((which, rest)) = data.split_first() else { return };
    if which % 6 == 1 {
        return environment(rest);
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match which % 6 {
        0 => {
            if let Ok(plan) = serde_json::from_str::<Plan>(text) {
                drop((plan.node_options(), plan.network()));
                let text = serde_json::to_string(&plan).unwrap();
                drop(serde_json::from_str::<Plan>(&text).unwrap());
            }
        }
        2 => assert!(fuzzed::bytes(text).is_none_or(|bytes| bytes > 0)),
        3 => {
            if let Some((source, target)) = fuzzed::volume(text) {
                assert!(source.is_absolute() && target.starts_with('/'));
            }
        }
        4 => subnet(text),
        _ => drop(SimulatedEngine::from_url(text)),
    }
});

fn environment(text: &[u8]) {
    let mut file = FILE.lock().unwrap();
    let file = file.get_or_insert_with(|| tempfile::NamedTempFile::new().unwrap());
    file.as_file_mut().set_len(0).unwrap();
    file.rewind().unwrap();
    file.write_all(text).unwrap();
    for variable in fuzzed::env_file(file.path()).unwrap_or_default() {
        let (name, _) = variable.split_once('=').unwrap();
        assert!(!name.is_empty() && !variable.contains(['\n', '\0']), "{variable:?}");
    }
}

/// Addresses are each other's neighbours at most, and in the subnet.
fn subnet(text: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let wish = NetworkWish::Subnet(text.to_owned());
    let planned = runtime.block_on(plan(&SimulatedEngine::new(), &wish, 5, "net", &Labels::new()));
    if let Ok(planned) = planned {
        assert_eq!(planned.addresses.len(), 5);
        let bits: u32 = text.split_once('/').unwrap().1.parse().unwrap();
        let prefix = |address: std::net::Ipv4Addr| u64::from(u32::from(address)) >> (32 - bits);
        for (at, address) in planned.addresses.iter().enumerate() {
            assert!(!planned.addresses[..at].contains(address));
            assert_eq!(prefix(*address), prefix(text.split_once('/').unwrap().0.parse().unwrap()));
        }
    }
}
