//! What is announced, and what is not: one PropertiesChanged per object and tick, with only what changed.

use crate::api::{World, path_of, world};
use crate::fake::{BURNER, NOON, WRITER, id, writer};
use futures_util::StreamExt;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use trimtab_policy::decision::{Mode, Verdict};
use trimtab_policy::units::UnixMs;
use trimtabd::dbus::proxy::{GUEST, MANAGER, NAME, PATH};
use zbus::{MatchRule, MessageStream, OwnedObjectPath, OwnedVariant};

/// Long enough for a signal on a loaded machine.
const ARRIVES: Duration = Duration::from_secs(10);
/// Long enough to believe that none comes: a marker is sent after what must not be announced.
const MARKER: u64 = 1_000_000;

/// A signal: path, member, and its text form by property or key.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    path: String,
    member: String,
    interface: String,
    changed: BTreeMap<String, String>,
    gone: Vec<String>,
}

struct Ear(MessageStream);

impl Ear {
    async fn new(w: &World) -> Self {
        let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal).sender(NAME).build().unwrap();
        Self(MessageStream::for_match_rule(rule, w.client.connection(), None).await.unwrap())
    }

    async fn next(&mut self) -> Seen {
        let message = tokio::time::timeout(ARRIVES, self.0.next()).await.expect("a signal").unwrap().unwrap();
        let header = message.header();
        let path = header.path().unwrap().to_string();
        let member = header.member().unwrap().to_string();
        let text =
            |all: HashMap<String, OwnedVariant>| all.into_iter().map(|(k, v)| (k, v.to_string())).collect();
        let body = message.body();
        let (interface, changed, gone) = match member.as_str() {
            "PropertiesChanged" => {
                let (interface, changed, gone): (String, HashMap<String, OwnedVariant>, Vec<String>) =
                    body.deserialize().unwrap();
                (interface, text(changed), gone)
            }
            "InterfacesAdded" => {
                let (path, mut added): (OwnedObjectPath, HashMap<String, HashMap<String, OwnedVariant>>) =
                    body.deserialize().unwrap();
                (path.to_string(), text(added.remove(GUEST).unwrap_or_default()), Vec::new())
            }
            "InterfacesRemoved" => {
                let (path, removed): (OwnedObjectPath, Vec<String>) = body.deserialize().unwrap();
                (path.to_string(), BTreeMap::new(), removed)
            }
            "DecisionChanged" => {
                let (id, decision): (u64, HashMap<String, OwnedVariant>) = body.deserialize().unwrap();
                (id.to_string(), text(decision), Vec::new())
            }
            other => panic!("an unknown signal {other}"),
        };
        Seen { path, member, interface, changed, gone }
    }
}

fn changed(path: &str, interface: &str, changed: &[(&str, &str)], gone: &[&str]) -> Seen {
    Seen {
        path: path.to_owned(),
        member: "PropertiesChanged".to_owned(),
        interface: interface.to_owned(),
        changed: changed.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        gone: gone.iter().map(|name| (*name).to_owned()).collect(),
    }
}

#[tokio::test]
async fn only_what_changed_is_announced_once_a_tick() {
    let w = world().await;
    let mut ear = Ear::new(&w).await;
    w.fake.tick(|view| {
        view.mode = Mode::Advise;
        view.objective = None;
        let writer = view.guests.get_mut(&id(WRITER)).unwrap();
        writer.speed = Some(0.6);
        writer.job = None;
        writer.name = "renamed".to_owned();
    });
    let writer = path_of(WRITER);
    let want = changed(&writer, GUEST, &[("Name", "\"renamed\""), ("Speed", "0.6")], &["Job"]);
    assert_eq!(ear.next().await, want);
    assert_eq!(ear.next().await, changed(PATH, MANAGER, &[("Mode", "\"advise\"")], &["Objective"]));

    // Neither a tick in which nothing happens nor noise below the resolution is announced; nor is it lost.
    w.fake.tick(|_| {});
    let unchanged = w.client.status().await.unwrap().ticks;
    w.fake.tick(|view| view.guests.get_mut(&id(WRITER)).unwrap().speed = Some(0.600_04));
    w.fake.tick(|view| view.objective = Some(0.5));
    assert_eq!(ear.next().await, changed(PATH, MANAGER, &[("Objective", "0.5")], &[]));
    assert!(w.client.status().await.unwrap().ticks > unchanged, "Ticks changes, without a signal");
}

#[tokio::test]
async fn guests_come_and_go() {
    let w = world().await;
    let mut ear = Ear::new(&w).await;
    let third = "99999999-2222-3333-4444-555555555555";
    w.fake.tick(|view| {
        view.guests.remove(&id(BURNER));
        view.guests.insert(id(third), writer());
    });
    let added = ear.next().await;
    assert_eq!((added.path.as_str(), added.member.as_str()), (PATH, "InterfacesAdded"));
    assert_eq!(added.interface, path_of(third));
    assert_eq!(
        (added.changed["Name"].as_str(), added.changed["Uuid"].clone()),
        ("\"writer\"", format!("\"{third}\""))
    );
    let removed = ear.next().await;
    assert_eq!((removed.path.as_str(), removed.member.as_str()), (PATH, "InterfacesRemoved"));
    assert_eq!((removed.interface, removed.gone), (path_of(BURNER), vec![GUEST.to_owned()]));

    let names: Vec<_> = w.client.guests().await.unwrap().into_iter().map(|g| g.uuid).collect();
    assert_eq!(names, [WRITER, third]);
    let gone = w.call(&path_of(BURNER), "org.freedesktop.DBus.Properties", "GetAll", &(GUEST,)).await;
    assert_eq!(gone.unwrap_err().0, "org.freedesktop.DBus.Error.UnknownObject");
    // The last guest goes; the next one comes to an empty tree.
    w.fake.tick(|view| view.guests.clear());
    while ear.next().await.member != "PropertiesChanged" {}
    w.fake.tick(|view| _ = view.guests.insert(id(BURNER), writer()));
    assert_eq!(ear.next().await.interface, path_of(BURNER));
}

#[tokio::test]
async fn decisions_are_announced_when_made_and_when_closed() {
    let w = world().await;
    let mut ear = Ear::new(&w).await;
    w.fake.tick(|view| {
        let mut new = (*view.decisions[0]).clone();
        new.id = 4;
        let closed = Arc::make_mut(&mut view.decisions[0]);
        (closed.verdict, closed.closed) = (Verdict::Kept, Some(UnixMs(NOON)));
        view.decisions.insert(0, Arc::new(new));
    });
    let closed = ear.next().await;
    assert_eq!(
        (closed.member.as_str(), closed.path.as_str(), closed.interface.as_str()),
        ("DecisionChanged", PATH, "3")
    );
    assert_eq!(closed.changed["verdict"], "\"kept\"");
    let new = ear.next().await;
    assert_eq!((new.interface.as_str(), new.changed["verdict"].as_str()), ("4", "\"pending\""));
    // Decisions that fall off the end of the view are no news.
    w.fake.tick(|view| view.decisions.truncate(1));
    w.fake.tick(|view| Arc::make_mut(&mut view.decisions[0]).id = MARKER);
    assert_eq!(ear.next().await.interface, MARKER.to_string());
}
