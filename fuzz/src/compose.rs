//! Compose files, up to three of them with NUL bytes between: one, one that is merged over it, and variables.

use std::fs;
use std::time::{Duration, Instant};

use cthulhu::compose::{Project, Request, describe, json, load};

/// No input of a few kilobytes may take longer, on a busy machine either.
const LONGEST: Duration = Duration::from_secs(10);

pub fn takes(data: &[u8]) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["compose.yaml", "over.yaml", "variables"].map(|name| dir.path().join(name));
    let mut parts = data.split(|byte| *byte == 0);
    let written = paths.iter().map_while(|path| fs::write(path, parts.next()?).ok()).count();
    let request = Request {
        files: paths[..written.min(2)].to_vec(),
        env_file: (written == 3).then(|| paths[2].clone()),
        profiles: vec!["on".into()],
        environment: [("SET".to_owned(), "value".to_owned())].into(),
        ..Request::default()
    };
    let begin = Instant::now();
    let read = load(&request);
    assert!(begin.elapsed() < LONGEST, "{:?}", begin.elapsed());
    match read {
        Ok(project) => {
            hold(&project);
            project.refusals.is_empty()
        }
        Err(error) => {
            assert!(!error.text.is_empty() && !error.text.contains('\n'), "{error}");
            false
        }
    }
}

/// What any project has, and what one has that is not refused.
fn hold(project: &Project) {
    drop((json(project).to_string(), describe(project)));
    if !project.refusals.is_empty() {
        return;
    }
    for service in &project.services {
        assert!(service.image.as_ref().is_some_and(|image| !image.is_empty()), "{}", service.name);
        assert!(service.replicas <= 1023 && !service.name.is_empty());
        for member in &service.networks {
            assert!(project.networks.iter().any(|network| network.name == member.network), "{}", member.network);
        }
        for dependency in &service.depends_on {
            assert!(project.service(&dependency.service).is_some(), "{}", dependency.service);
        }
        for (name, value) in &service.env {
            assert!(!name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'), "{name:?}");
        }
    }
}
