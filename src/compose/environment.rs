//! `environment` and `env_file`.

use super::reader::{Keys, Reader, Rule};
use super::tree::{Entry, Value};
use crate::text::shown;

/// Reads `environment`. What has no value takes the caller's, and is left out if there is none.
pub(super) fn variables(reader: &mut Reader, entry: &Entry) -> Vec<(String, Option<String>)> {
    let mut all = reader.pairs("environment", &entry.node, &['=']);
    for (name, value) in &mut all {
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '=') {
            let text = format!("environment: '{}' is no name of a variable", shown(name));
            reader.refuse(&entry.node.mark, text);
        }
        if value.is_none() {
            *value = reader.variables.get(name);
        }
    }
    all
}

/// An entry of `env_file`.
#[derive(Default)]
struct EnvFile {
    path: Option<String>,
    is_optional: bool,
    is_raw: bool,
}

const ENV_FILE: &Keys<EnvFile> = &[
    ("path", Rule::Read(|reader, file, entry| file.path = reader.text("env_file: path", &entry.node))),
    (
        "required",
        Rule::Read(|reader, file, entry| {
            file.is_optional = reader.truth("env_file: required", &entry.node) == Some(false);
        }),
    ),
    (
        "format",
        Rule::Read(|reader, file, entry| {
            let known = |text: &str| (text == "raw").then_some(true);
            file.is_raw = reader.parsed("env_file: format", &entry.node, "raw", known).is_some();
        }),
    ),
];

/// Reads the files that `env_file` names.
pub(super) fn files(reader: &mut Reader, entry: &Entry) -> Vec<(String, String)> {
    let items = match &entry.node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(&entry.node),
    };
    let mut all = vec![];
    for item in items {
        let mut file = EnvFile::default();
        match &item.value {
            Value::Map(_) => reader.map("an env_file", item, ENV_FILE, &mut file),
            _ => file.path = reader.text("env_file", item),
        }
        let Some(path) = file.path.map(|path| item.mark.path(&path)) else { continue };
        if file.is_optional && !path.exists() {
            continue;
        }
        if !reader.affords(&item.mark, 0) {
            return vec![];
        }
        match reader.variables.of_file(&path, file.is_raw) {
            Ok(variables) => {
                let bytes = variables.iter().map(|(name, value)| name.len() + value.len()).sum();
                if !reader.affords(&item.mark, bytes) {
                    return vec![];
                }
                all.extend(variables);
            }
            Err(error) => reader.refuse(&item.mark, format!("env_file: {error}")),
        }
    }
    all
}
