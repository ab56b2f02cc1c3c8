//! Reads Compose files into typed services: what each key means here, what is ignored with a warning, what is refused.
//!
//! A file becomes a tree in which each value knows its place (`tree.rs`). On it, variables are replaced, and `extends`, `include` and
//! several files resolved, as compose does. Tables of keys (`service.rs` has the largest) then say what becomes of each. It reads
//! files, and asks no engine.

mod contents;
mod dependencies;
mod deploy;
mod describe;
mod dotenv;
mod environment;
mod extends;
mod extension;
mod files;
mod graph;
mod health;
mod host;
mod include;
mod interpolate;
mod json;
mod merge;
mod model;
mod mounts;
mod networks;
mod ports;
mod project;
mod reader;
mod request;
mod service;
#[cfg(test)]
mod tests;
mod tree;
mod values;
mod variables;

pub use describe::describe;
pub use json::json;
pub use model::{
    Condition, Dependency, Extension, FileContent, Link, MountKind, NetworkDef, Place, Project, Remark, Service,
    ServiceFile, ServiceMount, ServiceNetwork, VolumeDef,
};
pub use request::Request;
pub use service::RESTART_IS_NOT_APPLIED;

use std::path::Path;

/// Reads the files.
///
/// # Errors
/// If a file cannot be read, is no YAML, or includes or extends itself: why, and where. All else that is wrong is among the
/// project's refusals.
pub fn load(request: &Request) -> Result<Project, Remark> {
    let first = request.files.first().and_then(|file| file.parent()).unwrap_or(Path::new("."));
    let directory = tree::absolute(first);
    let name = project_name(&directory, &request.environment);
    let mut environment = request.environment.clone();
    environment.entry("COMPOSE_PROJECT_NAME".into()).or_insert_with(|| name.clone());
    let mut variables = variables::Variables::new(environment);
    match &request.env_file {
        Some(file) => variables = variables.with_file(file)?,
        None if directory.join(".env").is_file() => variables = variables.with_file(&first.join(".env"))?,
        None => {}
    }
    let mut reader = reader::Reader::new(&variables);
    let root = files::Files::new(&mut reader).project(&request.files, &directory, &variables, &mut vec![])?;
    let mut project = Project { name, directory, ..Project::default() };
    project::read(&mut reader, &root, request, &mut project);
    (project.warnings, project.refusals) = reader.finish();
    Ok(project)
}

/// A project's name if no file says one: the directory's, in lower case and without what names do not have.
fn project_name(directory: &Path, environment: &std::collections::BTreeMap<String, String>) -> String {
    if let Some(name) = environment.get("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty()) {
        return name.clone();
    }
    let name = directory.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect();
    name.trim_start_matches(['_', '-']).to_owned()
}
