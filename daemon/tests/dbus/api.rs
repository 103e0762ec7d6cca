//! Every method and property of `org.trimtab1` as a client sees it, and the errors by name.

use crate::bus::PrivateBus;
use crate::fake::{BURNER, FakeLoop, NOON, WRITER};
use std::collections::HashMap;
use trimtabd::dbus::proxy::{Client, GUEST, MANAGER, NAME, PATH, PastQuery};
use trimtabd::dbus::{AuthConfig, ServeError, Server, serve};
use zbus::message::Body;
use zbus::{OwnedVariant, Variant};

/// A bus, a loop and the API between them.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) client: Client,
    pub(crate) fake: FakeLoop,
    pub(crate) bus: PrivateBus,
}

/// Everything running; the user of the tests may do everything.
pub(crate) async fn world() -> World {
    let bus = PrivateBus::start();
    let (fake, handle) = FakeLoop::start();
    let server = serve(bus.bus(), handle, AuthConfig::SameUser).await.unwrap();
    let client = Client::connect(&bus.bus()).await.unwrap();
    World { server, client, fake, bus }
}

impl World {
    /// A raw call; an error as its D-Bus name and text.
    pub(crate) async fn call<B>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Body, (String, String)>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let reply =
            self.client.connection().call_method(Some(NAME), path, Some(interface), method, body).await;
        match reply {
            Ok(reply) => Ok(reply.body()),
            Err(zbus::Error::MethodError(name, text, _)) => Err((name.to_string(), text.unwrap_or_default())),
            Err(zbus::Error::FDO(error)) => {
                use zbus::DBusError;
                Err((error.name().to_string(), error.description().unwrap_or_default().to_owned()))
            }
            Err(other) => panic!("{method}: {other}"),
        }
    }

    /// A call of the manager that must fail with `org.trimtab1.Error.<name>`; returns the text.
    async fn refused<B>(&self, method: &str, body: &B, name: &str) -> String
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let (found, text) = self.call(PATH, MANAGER, method, body).await.unwrap_err();
        assert_eq!(found, format!("org.trimtab1.Error.{name}"), "{method}: {text}");
        text
    }

    pub(crate) async fn get_all(&self, path: &str, interface: &str) -> HashMap<String, OwnedVariant> {
        let properties = "org.freedesktop.DBus.Properties";
        self.call(path, properties, "GetAll", &(interface,)).await.unwrap().deserialize().unwrap()
    }
}

/// Object path of a guest of the fake loop.
pub(crate) fn path_of(uuid: &str) -> String {
    format!("/org/trimtab1/guest/{}", uuid.replace('-', "_"))
}

#[tokio::test]
async fn properties_are_those_of_the_view() {
    let w = world().await;
    let status = w.client.status().await.unwrap();
    assert_eq!((status.version.as_str(), status.mode.as_str(), status.paused), ("0.1.0", "enforce", false));
    assert_eq!(
        (status.libvirt.as_str(), status.store.as_str(), status.cpus.as_str()),
        ("connected", "ok", "0-1")
    );
    assert_eq!(status.sensors["perf"], "software");
    assert_eq!((status.host_busy, status.host_pressure, status.objective), (Some(0.875), None, Some(0.702)));
    assert_eq!((status.ticks, status.guest_count, status.last_tick), (7, 2, Some(NOON)));

    let guests = w.client.guests().await.unwrap();
    assert_eq!(guests.iter().map(|g| g.name.as_str()).collect::<Vec<_>>(), ["burner", "writer"]);
    let (burner, writer) = (&guests[0], &guests[1]);
    assert_eq!((burner.state.as_str(), burner.left_alone.as_deref()), ("paused", Some("paused")));
    assert_eq!((burner.pid, burner.cpu_cores, burner.job.as_deref()), (None, None, None));
    assert_eq!(
        (writer.uuid.as_str(), writer.pid, writer.job.as_deref()),
        (WRITER, Some(4711), Some("lammps"))
    );
    assert_eq!((writer.vcpus, writer.weight, burner.vcpus), (Some(1), 2048, None));
    assert_eq!((writer.cpu_cores, writer.run_delay, writer.speed), (Some(0.31), Some(0.42), Some(0.55)));
    assert_eq!(
        (writer.read_bytes_per_second, writer.write_bytes_per_second),
        (Some(0.0), Some(123_456_789.0))
    );
    assert_eq!((writer.bottleneck.as_str(), writer.profile.as_str()), ("io-service", "w1-io"));
    assert_eq!(writer.knobs["emulator.affinity"], "0");
    assert_eq!((writer.originals[0].original.as_str(), writer.originals[0].ours.as_str()), ("0-1", "0"));
    assert_eq!(
        (&*writer.originals[1].knob, &*writer.going_back["vcpu0.affinity"]),
        ("vcpu0.affinity", "0-1")
    );
    assert_eq!((writer.going_back.len(), burner.going_back.len()), (1, 0));
    for name in ["writer", WRITER, &WRITER.replace('-', "_")] {
        assert_eq!(w.client.guest(name).await.unwrap(), *writer, "{name}");
    }
}

#[tokio::test]
async fn an_absent_value_is_a_missing_key_and_not_found() {
    let w = world().await;
    let all = w.get_all(PATH, MANAGER).await;
    assert!(all.contains_key("HostBusy") && !all.contains_key("HostPressure"), "{all:?}");
    let burner = path_of(BURNER);
    let all = w.get_all(&burner, GUEST).await;
    for name in ["Pid", "Job", "CpuCores", "RunDelay", "ReadBytesPerSecond", "WriteBytesPerSecond", "Speed"] {
        assert!(!all.contains_key(name), "{name}");
        let got = w.call(&burner, "org.freedesktop.DBus.Properties", "Get", &(GUEST, name)).await;
        let (error, text) = got.unwrap_err();
        assert_eq!(error, "org.trimtab1.Error.NotFound", "{name}");
        assert!(text.contains(name) && text.contains("burner"), "{text}");
    }
    assert!(all.contains_key("LeftAlone"));
}

#[tokio::test]
async fn guests_are_found_by_name_and_uuid() {
    let w = world().await;
    let listed = w.client.manager().list_guests().await.unwrap();
    let listed: Vec<_> = listed.iter().map(|(p, u, n)| (p.as_str(), u.as_str(), n.as_str())).collect();
    let (writer, burner) = (path_of(WRITER), path_of(BURNER));
    assert_eq!(listed, [(writer.as_str(), WRITER, "writer"), (burner.as_str(), BURNER, "burner")]);
    assert_eq!(w.client.manager().get_guest("burner").await.unwrap().as_str(), burner);
    assert!(w.refused("GetGuest", &("nobody",), "NotFound").await.contains("'nobody'"));
    let unknown = "00000000-0000-0000-0000-000000000000";
    assert!(w.refused("GetGuest", &(unknown,), "NotFound").await.contains(unknown));
}

#[tokio::test]
async fn decisions_are_filtered() {
    let w = world().await;
    let ids = async |guest: Option<&str>, since, limit| {
        let decisions = w.client.decisions(PastQuery { guest, since, limit }).await.unwrap();
        decisions.iter().map(|d| d.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, None, 10).await, [3, 2, 1]);
    assert_eq!(ids(None, None, 2).await, [3, 2]);
    assert_eq!(ids(Some("burner"), None, 10).await, [2]);
    assert_eq!(ids(Some(BURNER), None, 10).await, [2]);
    assert_eq!(ids(None, Some(NOON - 120_000), 10).await, [3, 2]);
    // A guest that has gone is still known by its decisions, and any UUID may have some in the journal.
    w.fake.tick(|view| view.guests.clear());
    assert_eq!(ids(Some("burner"), None, 10).await, [2]);
    assert_eq!(ids(Some("00000000-0000-0000-0000-000000000000"), None, 10).await, [0; 0]);
    // No filter at all: the default limit.
    let none = HashMap::new();
    assert_eq!(w.client.manager().decisions(&none).await.unwrap().len(), 3);
    assert_eq!(w.fake.asked().last().unwrap(), "decisions None 100");

    for (key, value, text) in [
        ("guests", Variant::from("x"), "unknown filter key 'guests'"),
        ("limit", Variant::from(0u32), "1 to 10000"),
        ("limit", Variant::from(10_001u32), "1 to 10000"),
        ("limit", Variant::from("many"), "'limit': want a uint32"),
        ("since", Variant::from(1u32), "'since': want an int64"),
        ("guest", Variant::from(1u32), "'guest': want a string"),
    ] {
        let refused = w.refused("Decisions", &(HashMap::from([(key, value)]),), "InvalidArgs").await;
        assert!(refused.contains(text), "{refused}");
    }
    let nobody = HashMap::from([("guest", Variant::from("nobody"))]);
    w.refused("Decisions", &(nobody,), "NotFound").await;
}

#[tokio::test]
async fn a_decision_travels_whole() {
    let w = world().await;
    let kept = w.client.manager().explain(2).await.unwrap();
    assert_eq!((kept.id, kept.time, kept.closed), (2, NOON - 120_000, Some(NOON - 100_000)));
    assert_eq!(
        (kept.guest.as_str(), kept.guest_name.as_str(), kept.knob.as_str()),
        (BURNER, "burner", "priority")
    );
    assert_eq!((kept.expected, kept.before, kept.after), (0.12, Some(0.621), Some(0.702)));
    assert_eq!((kept.verdict.as_str(), kept.outcome.as_str()), ("kept", "The gain is well above the noise."));
    let change = &kept.changes[0];
    assert_eq!(
        (change.knob.as_str(), change.from.as_str(), change.to.as_str()),
        ("cpu.shares", "1024", "512")
    );

    let raw: HashMap<String, OwnedVariant> =
        w.call(PATH, MANAGER, "Explain", &(3u64,)).await.unwrap().deserialize().unwrap();
    assert!(
        !raw.contains_key("after") && !raw.contains_key("closed"),
        "pending: nothing measured yet: {raw:?}"
    );
    assert_eq!(raw["changes"].value_signature().to_string(), "a(sssss)");
    assert!(w.refused("Explain", &(77u64,), "NotFound").await.contains("77"));
}

#[tokio::test]
async fn requests_reach_the_loop_and_its_errors_come_back_by_name() {
    let w = world().await;
    let manager = w.client.manager();
    for mode in ["observe", "advise", "enforce"] {
        manager.set_mode(mode).await.unwrap();
    }
    manager.pause().await.unwrap();
    manager.resume().await.unwrap();
    assert_eq!(manager.revert(2).await.unwrap(), ["burner cpu.shares: done"]);
    assert_eq!(manager.restore("writer").await.unwrap(), ["writer emulator.affinity: done"]);
    manager.restore("").await.unwrap();
    assert_eq!(
        w.fake.asked(),
        [
            "set-mode Observe".to_owned(),
            "set-mode Advise".to_owned(),
            "set-mode Enforce".to_owned(),
            "pause".to_owned(),
            "resume".to_owned(),
            "revert 2".to_owned(),
            format!("restore Some(GuestId({WRITER}))"),
            "restore None".to_owned(),
        ]
    );
    assert!(w.refused("SetMode", &("Enforce",), "InvalidArgs").await.contains("'Enforce'"));
    w.refused("Revert", &(1u64,), "Conflict").await;
    w.refused("Revert", &(9u64,), "Failed").await;
    w.refused("Revert", &(77u64,), "NotFound").await;
    w.refused("Restore", &("nobody",), "NotFound").await;
    assert!(w.refused("Reload", &(), "InvalidArgs").await.starts_with("trimtab.toml:3"));
    assert_eq!(manager.policy_show().await.unwrap(), "mode = \"enforce\"\n");
    assert_eq!(
        w.fake.asked(),
        ["revert 1", "revert 9", "revert 77", "reload"],
        "refused before the loop was asked"
    );
}

#[tokio::test]
async fn properties_cannot_be_set() {
    let w = world().await;
    let body = (MANAGER, "Mode", Variant::from("enforce"));
    let set = w.call(PATH, "org.freedesktop.DBus.Properties", "Set", &body).await;
    assert!(set.unwrap_err().0.starts_with("org.freedesktop.DBus.Error."));
    assert_eq!(w.fake.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_a_closed_one_makes_room() {
    let w = world().await;
    let (_fake, handle) = FakeLoop::start();
    let second = serve(w.bus.bus(), handle.clone(), AuthConfig::SameUser).await;
    assert!(matches!(second, Err(ServeError::NameTaken { .. })), "{second:?}");
    w.server.close().await;
    serve(w.bus.bus(), handle, AuthConfig::SameUser).await.unwrap().close().await;
}
