//! The process in a simulated container: what it reads from stdin and writes to stdout.

use super::container::Container;
use super::streams::Attached;
use super::world::World;
use crate::engine::{EngineError, Exit, Network, Result, Status, Stdin, Usage};
use crate::sync::mpsc;

impl World {
    /// Lets a running process read what its stdin holds.
    pub(crate) fn run(&mut self, id: &str) {
        let has_node = self.containers.values().any(|other| {
            other.status == Status::Running && matches!(&other.spec.network, Network::Of(sandbox) if sandbox.0 == id)
        });
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        if container.status != Status::Running {
            return;
        }
        if container.is_sandbox() {
            while let Some(line) = container.next_line() {
                let addresses: Vec<_> = container.held.iter().map(|held| held.address).collect();
                let answer = container.sandbox.answer_line(&line, &addresses, has_node);
                container.print(self.clock.tick(), &answer);
            }
        } else {
            container.input.clear();
        }
        if container.input_ended {
            self.end(id, 0);
        }
    }

    /// What it uses, by how long it has run. Paused time counts as running.
    pub(crate) fn stats(&mut self, key: &str) -> Result<Usage> {
        let now = self.clock.tick();
        let container = self.get(key)?;
        Ok(match container.status {
            Status::Running | Status::Paused => Usage {
                cpu: now.saturating_sub(container.started_at).unsigned_abs() / 50,
                memory: Some(4 * 1024 * 1024),
            },
            Status::Created | Status::Exited => Usage::default(),
        })
    }

    /// Writes to a container's stdout.
    pub(crate) fn print(&mut self, key: &str, bytes: &[u8]) -> Result<()> {
        let time = self.clock.tick();
        self.get_mut(key)?.print(time, bytes);
        Ok(())
    }

    /// Runs a program in a container.
    pub(crate) fn exec(&self, key: &str) -> Result<Exit> {
        let container = self.get(key)?;
        match container.status {
            Status::Running => Ok(Exit { code: 0, output: vec![], stdout: vec![] }),
            Status::Paused => {
                Err(EngineError::Conflict(format!("Container {key} is paused, unpause the container before exec")))
            }
            Status::Created | Status::Exited => Err(EngineError::Conflict(format!("Container {key} is not running"))),
        }
    }

    pub(crate) fn attach(&mut self, key: &str) -> Result<Attached> {
        self.attachments += 1;
        let attachment = self.attachments;
        let container = self.get_mut(key)?;
        if container.status == Status::Paused {
            return Err(EngineError::Conflict(format!(
                "container {key} is paused, unpause the container before attach"
            )));
        }
        let (sender, stdout) = mpsc::unbounded_channel();
        container.attached.push((attachment, sender));
        Ok(Attached { container: container.id.clone(), key: attachment, stdout })
    }

    /// Takes input of an attachment; false if its container or run is gone.
    pub(crate) fn write_input(&mut self, id: &str, attachment: u64, bytes: &[u8]) -> bool {
        let Some(container) = self.attached_container(id, attachment) else {
            return false;
        };
        if container.input_ended {
            return false;
        }
        if container.spec.stdin.is_attended() {
            container.input.extend_from_slice(bytes);
            self.run(id);
        }
        true
    }

    /// Ends the input of an attachment. Where stdin is kept, Docker ends the attachment then.
    pub(crate) fn end_input(&mut self, id: &str, attachment: u64) {
        let Some(container) = self.attached_container(id, attachment) else { return };
        match container.spec.stdin {
            Stdin::Unattended => {}
            Stdin::UntilDetached => {
                container.input_ended = true;
                self.run(id);
            }
            Stdin::Kept => container.attached.retain(|(key, _)| *key != attachment),
        }
    }

    fn attached_container(&mut self, id: &str, attachment: u64) -> Option<&mut Container> {
        let container = self.containers.get_mut(id)?;
        let attached = container.attached.iter().any(|(key, _)| *key == attachment);
        attached.then_some(container)
    }
}
