//! Whole lives of several nodes in an engine. The model gets news of them that is lost, duplicated, late and out of
//! order. The reference is the engine itself.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const NODES: usize = 3;

/// What happens in the engine to a node's container.
#[derive(Clone, Debug)]
enum Act {
    Create,
    Start,
    Pause,
    Unpause,
    Die(i64),
    /// Its HEALTHCHECK is made: it passes, fails, or fails once too often. A paused container is not checked.
    Check(Health),
    Remove,
}

#[derive(Clone, Debug)]
enum Step {
    Act(Act),
    /// The engine's clock is set back by this much.
    SetBack(i64),
    /// The engine answers an inspection; the answer is on its way. One at a time.
    Inspect,
    Hear,
    /// News of anything that has happened to the node, recent or long ago, perhaps for the second time.
    Tell(prop::sample::Index),
}

fn step(steps_back: bool) -> impl Strategy<Value = (usize, Step)> {
    let health = prop::sample::select(vec![Health::Starting, Health::Healthy, Health::Unhealthy]);
    let act = prop_oneof![
        2 => Just(Act::Create),
        4 => Just(Act::Start),
        1 => Just(Act::Pause),
        1 => Just(Act::Unpause),
        3 => (0..200i64).prop_map(Act::Die),
        2 => health.prop_map(Act::Check),
        1 => Just(Act::Remove),
    ];
    let step = prop_oneof![
        6 => act.prop_map(Step::Act),
        u32::from(steps_back) => (1..300i64).prop_map(Step::SetBack),
        3 => Just(Step::Inspect),
        3 => Just(Step::Hear),
        6 => any::<prop::sample::Index>().prop_map(Step::Tell),
    ];
    (0..NODES, step)
}

/// An engine's side of one node.
struct Life {
    container: Option<Inspection>,
    /// What its checks have found in this run.
    found: Health,
    in_flight: Option<News>,
    /// All that happened, oldest first.
    news: Vec<News>,
    /// Runs whose process was reported to have ended.
    seen_to_end: HashSet<(ContainerId, i64)>,
    /// The container last reported as removed.
    removed: Option<ContainerId>,
}

impl Life {
    fn new() -> Self {
        Self {
            container: None,
            found: Health::None,
            in_flight: None,
            news: vec![],
            seen_to_end: HashSet::new(),
            removed: None,
        }
    }
}

struct World {
    cluster: Cluster,
    lives: Vec<Life>,
    clock: i64,
    /// No two moments look the same, even when the clock steps back.
    moments: HashSet<i64>,
    made: u32,
}

impl World {
    fn new() -> Self {
        Self {
            cluster: cluster_of(NODES as u8),
            lives: (0..NODES).map(|_| Life::new()).collect(),
            clock: 1000,
            moments: HashSet::new(),
            made: 0,
        }
    }

    fn now(&mut self) -> i64 {
        loop {
            self.clock += 10;
            if self.moments.insert(self.clock) {
                return self.clock;
            }
        }
    }

    fn act(&mut self, node: usize, act: &Act) {
        let now = self.now();
        let life = &mut self.lives[node];
        let Some(container) = &mut life.container else {
            if let Act::Create = act {
                self.made += 1;
                life.container = Some(seen(&format!("c{}", self.made), Status::Created, 0, 0, 0));
            }
            return;
        };
        let alive = matches!(container.status, Status::Running | Status::Paused);
        match act {
            Act::Start if !alive => {
                // Few pids, so that they come again soon.
                let pid = 1 + self.moments.len() as i32 % 3;
                let check = container.check.take();
                *container = seen(&container.id.0, Status::Running, pid, now, 0);
                (container.health, container.check) = (Health::Starting, check);
                life.found = Health::Starting;
            }
            Act::Pause if container.status == Status::Running => {
                container.status = Status::Paused;
                container.unhealthy_unchecked |= container.health != Health::Unhealthy;
                container.health = Health::Unhealthy;
            }
            Act::Unpause if container.status == Status::Paused => container.status = Status::Running,
            Act::Check(health) if container.status == Status::Running => {
                let exit_code = i64::from(*health != Health::Healthy);
                container.check = Some(Check { began: now, exit_code, output: String::new() });
                // One failure changes nothing, as the engine sees it; not even what it says of one that was paused.
                if *health != Health::Starting {
                    (container.health, container.unhealthy_unchecked) = (*health, false);
                    life.found = *health;
                }
            }
            Act::Die(code) if alive => {
                let (pid, started_at) = (container.pid.unwrap(), container.started_at);
                life.news.push(News::ProcessEnded { pid, started_at });
                life.news.push(News::Died { container: container.id.clone(), exit_code: Some(*code), time: now });
                let check = container.check.take();
                *container = seen(&container.id.0, Status::Exited, 0, started_at, *code);
                container.check = check;
                life.found = Health::None;
            }
            Act::Remove => {
                self.act(node, &Act::Die(137));
                let life = &mut self.lives[node];
                life.news.extend(life.container.take().map(|container| News::Removed(container.id)));
            }
            _ => {}
        }
    }

    /// The engine answers an inspection of the container that the model has, or of the new one.
    fn inspect(&mut self, node: usize) {
        let life = &mut self.lives[node];
        let known = self.cluster.node(node).container.clone();
        life.in_flight = match (known, &life.container) {
            (None, None) => None,
            (Some(known), container) if container.as_ref().is_none_or(|container| container.id != known) => {
                Some(News::Removed(known))
            }
            (_, container) => {
                container.clone().map(|seen| News::Inspected { seen, asked_at_epoch: self.cluster.exit_epoch(node) })
            }
        };
    }

    fn hear(&mut self, node: usize) {
        if let Some(news) = self.lives[node].in_flight.take() {
            self.tell(node, &news);
        }
    }

    fn tell(&mut self, node: usize, news: &News) {
        let before = self.cluster.node(node);
        let life = &mut self.lives[node];
        match news {
            News::ProcessEnded { pid, started_at } if before.pid == Some(*pid) && before.started_at == *started_at => {
                life.seen_to_end.insert((before.container.clone().unwrap(), *started_at));
            }
            News::Removed(id) => life.removed = Some(id.clone()),
            _ => {}
        }
        self.cluster.apply(node, news);
    }

    /// As after a reconnection: what is on its way arrives, then every container is inspected, or is not in the list.
    fn relist(&mut self) {
        for node in 0..NODES {
            self.hear(node);
            let known = self.cluster.node(node).container.clone();
            match self.lives[node].container.clone() {
                Some(seen) => {
                    let asked_at_epoch = self.cluster.exit_epoch(node);
                    self.tell(node, &News::Inspected { seen, asked_at_epoch });
                }
                None => known.into_iter().for_each(|known| self.tell(node, &News::Removed(known))),
            }
        }
    }

    /// What must hold at any moment.
    fn check(&self, node: usize) -> Result<(), TestCaseError> {
        let (shown, life) = (self.cluster.node(node), &self.lives[node]);
        prop_assert_eq!(shown.pid.is_some(), shown.is_alive());
        prop_assert_eq!(shown.container.is_none(), shown.state == State::Missing);
        if let Some(container) = &shown.container {
            prop_assert!(!shown.is_alive() || !life.seen_to_end.contains(&(container.clone(), shown.started_at)));
            prop_assert!(life.removed.as_ref() != Some(container), "a removed container came back");
        }
        Ok(())
    }

    /// What must hold once all news has arrived.
    fn is_the_truth(&self) -> Result<(), TestCaseError> {
        for (node, life) in self.lives.iter().enumerate() {
            let shown = self.cluster.node(node);
            let Some(truth) = &life.container else {
                prop_assert_eq!((shown.state, shown.container.clone()), (State::Missing, None));
                continue;
            };
            let state = match truth.status {
                Status::Created => State::Created,
                Status::Running => State::Running,
                Status::Paused => State::Paused,
                Status::Exited => State::Exited,
            };
            prop_assert_eq!(shown.state, state);
            prop_assert_eq!(shown.container.as_ref(), Some(&truth.id));
            prop_assert_eq!(shown.pid, truth.pid);
            let passed =
                truth.check.as_ref().is_some_and(|check| check.exit_code == 0 && check.began > truth.started_at);
            if !truth.unhealthy_unchecked || passed && life.found == Health::Healthy {
                prop_assert_eq!(shown.health, life.found);
            } else {
                // Its health before the pause may never have been reported. Where the clock was set back, a check that
                // an earlier run passed can look like one of this run.
                let may_be = [Health::Starting, life.found, if passed { Health::Healthy } else { life.found }];
                prop_assert!(may_be.contains(&shown.health), "{:?}", shown.health);
            }
            prop_assert_eq!(shown.started_at, truth.started_at);
            prop_assert_eq!(shown.raw.as_deref(), Some(truth.raw.as_str()));
            prop_assert!(!shown.exit_unconfirmed_by_engine);
            if truth.exit_code.is_some() {
                prop_assert_eq!(shown.exit_code, truth.exit_code);
            }
        }
        Ok(())
    }

    fn run(&mut self, steps: &[(usize, Step)]) -> Result<(), TestCaseError> {
        for (node, step) in steps {
            match step {
                Step::Act(act) => self.act(*node, act),
                Step::SetBack(by) => self.clock -= by,
                Step::Inspect if self.lives[*node].in_flight.is_none() => self.inspect(*node),
                Step::Inspect => {}
                Step::Hear => self.hear(*node),
                Step::Tell(which) => {
                    if let Some(news) = self.pick(*node, which) {
                        self.tell(*node, &news);
                    }
                }
            }
            self.check(*node)?;
        }
        Ok(())
    }

    fn pick(&self, node: usize, which: &prop::sample::Index) -> Option<News> {
        let news = &self.lives[node].news;
        (!news.is_empty()).then(|| which.get(news).clone())
    }
}

fn late() -> impl Strategy<Value = Vec<(usize, prop::sample::Index)>> {
    prop::collection::vec((0..NODES, any::<prop::sample::Index>()), 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A re-list puts the model right whatever it heard before, and nothing old that comes later moves it.
    #[test]
    fn end_where_a_relist_puts_them(steps in prop::collection::vec(step(false), 0..120), late in late()) {
        let mut world = World::new();
        world.run(&steps)?;
        world.relist();
        world.is_the_truth()?;
        for (node, which) in late {
            if let Some(news) = world.pick(node, &which) {
                prop_assert_eq!(world.cluster.apply(node, &news), Change::None, "{:?}", news);
            }
        }
        world.is_the_truth()?;
    }

    /// An observer of every change never sees health and readiness move while a node is paused, nor before the first
    /// check that follows.
    #[test]
    fn are_as_healthy_after_a_pause_as_before(steps in prop::collection::vec(step(false), 0..120)) {
        let mut world = World::new();
        for (node, step) in steps {
            let Step::Act(act) = step else { continue };
            world.act(node, &act);
            world.relist();
            let (shown, found) = (world.cluster.node(node), world.lives[node].found);
            prop_assert_eq!(shown.health, found, "after {:?}", act);
            prop_assert_eq!(shown.is_ready(), shown.state == State::Running && matches!(found, Health::None | Health::Healthy));
        }
    }

    /// Where the engine's clock was set back, an old death can be taken for one of the present run; until the inspection
    /// that follows every event.
    #[test]
    fn survive_a_clock_that_steps_back(steps in prop::collection::vec(step(true), 0..120), late in late()) {
        let mut world = World::new();
        world.run(&steps)?;
        world.relist();
        world.is_the_truth()?;
        for (node, which) in late {
            if let Some(news) = world.pick(node, &which) {
                world.tell(node, &news);
                world.inspect(node);
                world.hear(node);
            }
            world.is_the_truth()?;
        }
    }
}
