//! Which faults are in force, as the history tells.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use serde::Deserialize;

use super::clean;

/// So much of the history is read at once, in bytes.
const PIECE: usize = 256 * 1024;

/// Follows a history for its faults.
pub struct Faults {
    path: PathBuf,
    file: Option<File>,
    offset: u64,
    /// A line whose end has not been read yet.
    begun: Vec<u8>,
    links: Vec<String>,
}

/// What of a line tells of faults.
#[derive(Deserialize)]
struct Told {
    fault: Option<Links>,
    cluster: Option<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
    phase: String,
}

#[derive(Deserialize)]
struct Links {
    #[serde(default)]
    links: Vec<String>,
}

impl Faults {
    /// Of the history at `path`, of which nothing is read yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None, offset: 0, begun: vec![], links: vec![] }
    }

    /// Reads what is new, and says what is in force: a line each. A history that cannot be read tells nothing new.
    pub fn read(&mut self) -> &[String] {
        // The mount's end is told by the nodes' own files.
        let _ = self.go_on();
        &self.links
    }

    fn go_on(&mut self) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(File::open(&self.path)?),
        };
        let mut piece = vec![0; PIECE];
        loop {
            let length = file.read_at(&mut piece, self.offset)?;
            if length == 0 {
                return Ok(());
            }
            self.offset += length as u64;
            self.begun.extend_from_slice(&piece[..length]);
            let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else { continue };
            let rest = self.begun.split_off(end + 1);
            for line in self.begun.split(|byte| *byte == b'\n') {
                if let Some(links) = in_force_after(line) {
                    self.links = links;
                }
            }
            self.begun = rest;
        }
    }
}

/// The faults in force after a line; `None` if it does not tell.
fn in_force_after(line: &[u8]) -> Option<Vec<String>> {
    let has = |word: &[u8]| line.windows(word.len()).any(|part| part == word);
    // Most lines are a test's own: spares their parsing.
    if !has(b"\"fault\"") && !has(b"\"cluster\"") {
        return None;
    }
    let told: Told = serde_json::from_slice(line).ok()?;
    match (told.fault, told.cluster) {
        (Some(fault), _) => Some(fault.links.iter().map(|link| clean::line(link.as_bytes())).collect()),
        // A mount begins, or ends, without faults; the engine's absence changes none.
        (None, Some(cluster)) if matches!(cluster.phase.as_str(), "mounted" | "unmounting") => Some(vec![]),
        _ => None,
    }
}

/// Whether a link, as in `i001>* drop`, begins or ends at a node, or a node itself is meant, as in `i001 crashed`.
pub fn names(link: &str, node: &str) -> bool {
    let ends = link.split_whitespace().next().unwrap_or_default();
    ends == "*>*" || ends.split('>').any(|end| end == node)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn a_link_names_its_nodes() {
        assert!(names("i001>i002 drop", "i002") && names("i001>* delay 100ms", "i001") && names("*>* drop", "i009"));
        assert!(!names("i0010>host drop", "i001") && !names("i001>i002 drop", "i003") && !names("", "i001"));
    }

    #[test]
    fn the_last_set_told_is_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        let mut faults = Faults::new(path.clone());
        assert!(faults.read().is_empty(), "there is no history yet");
        let mut file = fs::File::create(&path).unwrap();
        let mut tell = |text: &str| file.write_all(text.as_bytes()).unwrap();
        tell(
            "{\"seq\":1,\"cluster\":{\"phase\":\"mounted\"}}\n{\"seq\":2,\"fault\":{\"links\":[\"i001>i002 drop\"]}}\n",
        );
        tell(
            "{\"seq\":3,\"test\":{\"fault\":{\"links\":[]},\"cluster\":0}}\n{\"seq\":4,\"cluster\":{\"phase\":\"engine lost\"}}\n",
        );
        assert_eq!(faults.read(), ["i001>i002 drop"]);
        tell("{\"seq\":5,\"fault\":{\"links\":[\"i003>* loss 5%\",");
        assert_eq!(faults.read(), ["i001>i002 drop"], "half a line tells nothing");
        tell("\"\\u001b[2Jx\"]}}\n");
        assert_eq!(faults.read(), ["i003>* loss 5%", "x"]);
        tell("{\"seq\":6,\"fault\":{\"links\":[]}}\n");
        assert!(faults.read().is_empty());
        tell(
            "{\"seq\":7,\"fault\":{\"links\":[\"i001>i002 drop\"]}}\n{\"seq\":8,\"cluster\":{\"phase\":\"mounted\"}}\n",
        );
        assert!(faults.read().is_empty(), "another mount begins without");
    }
}
