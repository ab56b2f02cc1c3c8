//! Scripting: makes calls fail, wait and hang, and events get lost, doubled or late.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::SimulatedEngine;
use crate::engine::{EngineError, Event};

/// A call of the [`Engine`](crate::engine::Engine) trait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the method of that name")]
pub enum Op {
    Ping,
    Clock,
    SwarmNodes,
    Create,
    Start,
    Stop,
    Kill,
    Pause,
    Unpause,
    Remove,
    Inspect,
    List,
    Events,
    Logs,
    Stats,
    Exec,
    Attach,
    HasImage,
    ImageVolumes,
    Pull,
    Import,
    ListImages,
    RemoveImage,
    CreateNetwork,
    ListNetworks,
    Network,
    RemoveNetwork,
    CreateVolume,
    ListVolumes,
    VolumeMountpoint,
    RemoveVolume,
}

impl Op {
    /// All of them.
    pub const ALL: [Self; 31] = [
        Self::Ping,
        Self::Clock,
        Self::SwarmNodes,
        Self::Create,
        Self::Start,
        Self::Stop,
        Self::Kill,
        Self::Pause,
        Self::Unpause,
        Self::Remove,
        Self::Inspect,
        Self::List,
        Self::Events,
        Self::Logs,
        Self::Stats,
        Self::Exec,
        Self::Attach,
        Self::HasImage,
        Self::ImageVolumes,
        Self::Pull,
        Self::Import,
        Self::ListImages,
        Self::RemoveImage,
        Self::CreateNetwork,
        Self::ListNetworks,
        Self::Network,
        Self::RemoveNetwork,
        Self::CreateVolume,
        Self::ListVolumes,
        Self::VolumeMountpoint,
        Self::RemoveVolume,
    ];

    /// The method's name, for example `create_network`; `read_clock` for `clock`, which in an address sets the clock.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Clock => "read_clock",
            Self::SwarmNodes => "swarm_nodes",
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Remove => "remove",
            Self::Inspect => "inspect",
            Self::List => "list",
            Self::Events => "events",
            Self::Logs => "logs",
            Self::Stats => "stats",
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::HasImage => "has_image",
            Self::ImageVolumes => "image_volumes",
            Self::Pull => "pull",
            Self::Import => "import",
            Self::ListImages => "list_images",
            Self::RemoveImage => "remove_image",
            Self::CreateNetwork => "create_network",
            Self::ListNetworks => "list_networks",
            Self::Network => "network",
            Self::RemoveNetwork => "remove_network",
            Self::CreateVolume => "create_volume",
            Self::ListVolumes => "list_volumes",
            Self::VolumeMountpoint => "volume_mountpoint",
            Self::RemoveVolume => "remove_volume",
        }
    }
}

/// What holds calls back.
pub(super) struct Gate {
    /// Whether the engine can be reached.
    pub(crate) connected: bool,
    /// Calls that get no answer for now.
    pub(crate) hung: BTreeSet<Op>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { connected: true, hung: BTreeSet::new() }
    }
}

/// Delays and failures to come, and the calls counted.
#[derive(Default)]
pub(super) struct Script {
    /// How often each call was made.
    calls: HashMap<Op, u64>,
    /// How long each call takes.
    delays: HashMap<Op, Duration>,
    /// Failures to come, in order: the call, how often, the error.
    failures: VecDeque<(Op, u64, EngineError)>,
}

impl Script {
    pub(crate) fn count(&mut self, op: Op) {
        *self.calls.entry(op).or_default() += 1;
    }

    /// How long the call at hand takes and whether it fails.
    pub(crate) fn next(&mut self, op: Op) -> (Duration, Option<EngineError>) {
        let delay = self.delays.get(&op).copied().unwrap_or_default();
        let place = self.failures.iter().position(|failure| failure.0 == op);
        let failure = place.and_then(|place| {
            let (_, left, error) = self.failures.get_mut(place)?;
            *left -= 1;
            let error = error.clone();
            if *left == 0 {
                self.failures.remove(place);
            }
            Some(error)
        });
        (delay, failure)
    }
}

impl SimulatedEngine {
    /// Makes the next `count` calls of `op` fail with `error`, without any effect. Such orders queue up.
    pub fn fail_next(&self, op: Op, count: u64, error: EngineError) {
        if count > 0 {
            let mut script = self.shared.script.lock();
            script.failures.push_back((op, count, error));
        }
    }

    /// Makes every call of `op` take `delay` from now on; zero ends it.
    pub fn delay(&self, op: Op, delay: Duration) {
        self.shared.script.lock().delays.insert(op, delay);
    }

    /// Leaves calls of `op` without an answer until [`Self::release`] or [`Self::disconnect`].
    pub fn hang(&self, op: Op) {
        self.shared.gate.send_modify(|gate| {
            gate.hung.insert(op);
        });
    }

    /// Lets the calls of `op` that hang go on.
    pub fn release(&self, op: Op) {
        self.shared.gate.send_modify(|gate| {
            gate.hung.remove(&op);
        });
    }

    /// Sets its clock that far ahead of ours, in ns; a negative number is behind. Times from then on follow it.
    pub fn set_clock(&self, offset: i64) {
        self.shared.world.lock().clock.offset = offset;
    }

    /// Drops the next `count` events of any container.
    pub fn lose_events(&self, count: u64) {
        self.shared.world.lock().bus.lose(count);
    }

    /// From now on delivers every event twice, or once again.
    pub fn duplicate_events(&self, twice: bool) {
        self.shared.world.lock().bus.duplicate(twice);
    }

    /// Keeps every event back from now on, until [`Self::deliver_events`].
    pub fn hold_events(&self) {
        self.shared.world.lock().bus.hold();
    }

    /// Delivers the events that were kept back, late, as `arrange` leaves them: it may change their order, repeat some,
    /// leave some out. Those to come are delivered at once again.
    pub fn deliver_events(&self, arrange: impl FnOnce(&mut Vec<Event>)) {
        self.shared.world.lock().bus.deliver(arrange);
    }

    /// Breaks the connection: event streams and followed logs end with
    /// [`EngineError::Unreachable`], and every call fails with it, waiting ones too. Containers go on; attachments stay.
    pub fn disconnect(&self) {
        self.shared.gate.send_modify(|gate| gate.connected = false);
        self.shared.world.lock().bus.disconnect();
    }

    /// Lets calls through again. Streams that ended stay so.
    pub fn reconnect(&self) {
        self.shared.gate.send_modify(|gate| gate.connected = true);
    }

    /// How often `op` was called so far, failed calls and waiting ones too.
    pub fn calls(&self, op: Op) -> u64 {
        let script = self.shared.script.lock();
        script.calls.get(&op).copied().unwrap_or_default()
    }
}
