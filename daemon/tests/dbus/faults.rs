//! A lost bus, a stopped bus, a stuck loop: nobody hangs, and everything comes back.

use crate::api::world;
use crate::bus::PrivateBus;
use crate::fake::{FakeLoop, WRITER, id};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use trimtabd::dbus::proxy::{Client, ClientError, Error};
use trimtabd::dbus::{AuthConfig, BusState, serve};
use trimtabd::handle::Handle;

/// The longest back-off and a loaded machine.
const COMES_BACK: Duration = Duration::from_secs(30);

async fn state_is(state: &mut watch::Receiver<BusState>, wanted: impl Fn(&BusState) -> bool) {
    let waiting = state.wait_for(|state| wanted(state));
    tokio::time::timeout(COMES_BACK, waiting).await.expect("the state in time").unwrap();
}

#[tokio::test]
async fn a_restarted_bus_is_served_again() {
    let mut w = world().await;
    let mut state = w.server.state();
    state_is(&mut state, |s| *s == BusState::Serving).await;
    w.bus.kill();
    state_is(&mut state, |s| matches!(s, BusState::Away(_))).await;
    assert!(matches!(w.client.status().await, Err(ClientError::NoBus { .. })));
    // The loop goes on meanwhile: a guest leaves, values change.
    w.fake.tick(|view| {
        view.guests.remove(&id(WRITER));
        view.objective = Some(0.123);
    });
    w.bus.resume();
    state_is(&mut state, |s| *s == BusState::Serving).await;
    let client = Client::connect(&w.bus.bus()).await.unwrap();
    assert_eq!(client.status().await.unwrap().objective, Some(0.123));
    assert_eq!(client.guests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_bus_that_is_away_at_the_start_is_found_later() {
    let mut bus = PrivateBus::start();
    bus.kill();
    let (_fake, handle) = FakeLoop::start();
    let server = serve(bus.bus(), handle, AuthConfig::SameUser).await.unwrap();
    bus.resume();
    state_is(&mut server.state(), |s| *s == BusState::Serving).await;
    Client::connect(&bus.bus()).await.unwrap().status().await.unwrap();
    server.close().await;
}

#[tokio::test]
async fn a_stopped_bus_does_not_stop_the_loop() {
    let w = world().await;
    w.bus.signal("STOP");
    // Far more than a socket buffers: a loop that waited for the bus would stick here.
    for tick in 0..20_000 {
        w.fake.tick(|view| view.objective = Some(f64::from(tick) / 20_000.0));
        if tick % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    w.fake.tick(|view| view.objective = Some(0.25));
    w.bus.signal("CONT");
    assert_eq!(w.client.status().await.unwrap().objective, Some(0.25));
}

#[tokio::test]
async fn a_bus_that_hangs_at_the_start_delays_nobody() {
    let bus = PrivateBus::start();
    bus.signal("STOP");
    let (_fake, handle) = FakeLoop::start();
    let serving = serve(bus.bus(), handle, AuthConfig::SameUser);
    let server =
        tokio::time::timeout(Duration::from_secs(5), serving).await.expect("no wait for the bus").unwrap();
    bus.signal("CONT");
    state_is(&mut server.state(), |s| *s == BusState::Serving).await;
}

#[tokio::test]
async fn a_stuck_loop_is_reported_and_what_was_seen_stays_readable() {
    let bus = PrivateBus::start();
    let (requests, _never_answered) = mpsc::channel(4);
    let (_view, view) = watch::channel(std::sync::Arc::default());
    let _server = serve(bus.bus(), Handle { requests, view }, AuthConfig::SameUser).await.unwrap();
    let client = Client::connect(&bus.bus()).await.unwrap();
    // The daemon's limit is shorter than the client's: the answer is the daemon's, not the client's own.
    let failed = client.read(client.manager().explain(1)).await.unwrap_err();
    let text = failed.to_string();
    assert!(matches!(failed, ClientError::Daemon(Error::Failed(_))) && text.contains("within 5 s"), "{text}");
    assert_eq!(client.status().await.unwrap().last_tick, None, "no tick yet");
}
