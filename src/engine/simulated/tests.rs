//! Tests of the simulated engine, by what they are about.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::StreamExt;

use super::{Op, SimulatedEngine};
use crate::engine::{
    Bind, BoxStream, ContainerId, ContainerSpec, Endpoint, Engine, EngineError, Event, EventKind, Health, Network,
    NetworkOptions, Protocol, PublishedPort, Result, RunOptions, Status, Stdin,
};

mod events;
mod lifecycle;
mod networks;
mod scripted;
mod streams;
mod swarm;
mod volumes;

/// Long enough for anything that happens at all, on a busy machine too.
const LONG: Duration = Duration::from_secs(120);
/// Long enough to believe that nothing happens.
const SHORT: Duration = Duration::from_millis(30);

/// An engine with the image `app` and the network `net`, 10.9.0.0/16.
async fn engine() -> SimulatedEngine {
    let engine = SimulatedEngine::new();
    engine.add_image("app");
    let labels = vec![("cluster".to_owned(), "c1".to_owned())];
    engine.create_network("net", &"10.9.0.0/16".into(), &labels).await.unwrap();
    engine
}

/// A container of cluster c1 at 10.9.1.`last`.
fn spec(name: &str, last: u8) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        image: "app".to_owned(),
        command: Some(vec!["serve".to_owned()]),
        env: vec!["A=1".to_owned()],
        labels: vec![("cluster".to_owned(), "c1".to_owned())],
        network: Network::Attached {
            endpoints: vec![endpoint("net", [10, 9, 1, last], &[name])],
            hostname: format!("host-{name}"),
            hosts: Vec::new(),
            options: Box::default(),
        },
        ..ContainerSpec::default()
    }
}

fn endpoint(network: &str, address: [u8; 4], aliases: &[&str]) -> Endpoint {
    let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
    Endpoint { network: network.to_owned(), address: address.into(), aliases }
}

/// A sandbox container: it lives as long as someone is attached.
fn sandbox(name: &str, last: u8) -> ContainerSpec {
    ContainerSpec {
        entrypoint: Some(vec!["/cthulhu".to_owned()]),
        command: Some(vec!["sandbox".to_owned()]),
        stdin: Stdin::UntilDetached,
        auto_remove: true,
        ..spec(name, last)
    }
}

async fn running(engine: &SimulatedEngine, name: &str, last: u8) -> ContainerId {
    let id = engine.create(&spec(name, last)).await.unwrap();
    engine.start(&id).await.unwrap();
    id
}

async fn status(engine: &SimulatedEngine, id: &ContainerId) -> Status {
    engine.inspect(id).await.unwrap().status
}

/// The next `count` events, which must come.
async fn take(stream: &mut BoxStream<Result<Event>>, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let next = tokio::time::timeout(LONG, stream.next()).await;
        events.push(next.expect("an event").expect("no end").expect("no error"));
    }
    events
}

/// What happened in the next `count` events.
async fn kinds(stream: &mut BoxStream<Result<Event>>, count: usize) -> Vec<EventKind> {
    let events = take(stream, count).await;
    events.into_iter().map(|event| event.kind).collect()
}

/// Nothing comes for a while.
async fn quiet<T: std::fmt::Debug>(stream: &mut BoxStream<T>) {
    let next = tokio::time::timeout(SHORT, stream.next()).await;
    assert!(next.is_err(), "unexpected: {next:?}");
}

fn conflict<T: std::fmt::Debug>(result: Result<T>, part: &str) {
    match result.unwrap_err() {
        EngineError::Conflict(why) => assert!(why.contains(part), "{why}"),
        other => panic!("not a conflict: {other:?}"),
    }
}

fn not_found<T: std::fmt::Debug>(result: Result<T>, part: &str) {
    match result.unwrap_err() {
        EngineError::NotFound(why) => assert!(why.contains(part), "{why}"),
        other => panic!("found or otherwise wrong: {other:?}"),
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T>, part: &str) {
    match result.unwrap_err() {
        EngineError::Refused(why) => assert!(why.contains(part), "{why}"),
        other => panic!("not refused: {other:?}"),
    }
}

fn unreachable<T: std::fmt::Debug>(result: Result<T>) {
    let error = result.unwrap_err();
    assert!(matches!(error, EngineError::Unreachable(_)), "{error:?}");
}
