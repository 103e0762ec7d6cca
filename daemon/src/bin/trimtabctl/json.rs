//! The JSON forms. Keys are a contract: new ones may come, none may go or change its meaning. An absent value is null.
//!
//! May not: round or shorten anything.

use crate::text::rfc3339;
use serde::Serialize;
use std::collections::BTreeMap;
use trimtabd::dbus::proxy::{
    ChangeRecord, CpuLoadRecord, DecisionRecord, DemandRecord, GuestRecord, ManagerRecord, NoteRecord,
    OriginalRecord,
};

/// One change of a decision.
#[derive(Debug, Serialize)]
pub(crate) struct ChangeJson<'a> {
    guest: &'a str,
    uuid: &'a str,
    knob: &'a str,
    from: &'a str,
    to: &'a str,
}

/// One decision. `from` and `to` sum up all changes; `changes` has them one by one.
#[derive(Debug, Serialize)]
pub(crate) struct DecisionJson<'a> {
    id: u64,
    time: String,
    guest: &'a str,
    uuid: &'a str,
    knob: &'a str,
    from: String,
    to: String,
    why: &'a str,
    expected: f64,
    before: Option<f64>,
    after: Option<f64>,
    verdict: &'a str,
    outcome: &'a str,
    profile: &'a str,
    closed: Option<String>,
    changes: Vec<ChangeJson<'a>>,
}

impl<'a> From<&'a DecisionRecord> for DecisionJson<'a> {
    fn from(d: &'a DecisionRecord) -> Self {
        let change = |c: &'a ChangeRecord| ChangeJson {
            guest: &c.guest_name,
            uuid: &c.guest,
            knob: &c.knob,
            from: &c.from,
            to: &c.to,
        };
        Self {
            id: d.id,
            time: rfc3339(d.time),
            guest: &d.guest_name,
            uuid: &d.guest,
            knob: &d.knob,
            from: summary(d, |c| &c.from),
            to: summary(d, |c| &c.to),
            why: &d.why,
            expected: d.expected,
            before: d.before,
            after: d.after,
            verdict: &d.verdict,
            outcome: &d.outcome,
            profile: &d.profile,
            closed: d.closed.map(rfc3339),
            changes: d.changes.iter().map(change).collect(),
        }
    }
}

/// All values of one side, `knob=value` each; with `guest:` in front of those of another guest than the decision's.
pub(crate) fn summary(decision: &DecisionRecord, side: impl Fn(&ChangeRecord) -> &str) -> String {
    let one = |c: &ChangeRecord| {
        let whose = if c.guest == decision.guest { String::new() } else { format!("{}:", c.guest_name) };
        format!("{whose}{}={}", c.knob, side(c))
    };
    decision.changes.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// A knob that Trimtab has turned.
#[derive(Debug, Serialize)]
struct OriginalJson<'a> {
    knob: &'a str,
    original: &'a str,
    ours: &'a str,
    /// Where it is on its way back to, if it is.
    going_back_to: Option<&'a str>,
}

/// A remark of the daemon.
#[derive(Debug, Serialize)]
pub(crate) struct NoteJson<'a> {
    time: String,
    /// UUID of the guest concerned.
    uuid: Option<&'a str>,
    text: &'a str,
}

impl<'a> From<&'a NoteRecord> for NoteJson<'a> {
    fn from(note: &'a NoteRecord) -> Self {
        Self { time: rfc3339(note.time), uuid: note.guest.as_deref(), text: &note.text }
    }
}

/// One guest.
#[derive(Debug, Serialize)]
pub(crate) struct GuestJson<'a> {
    name: &'a str,
    uuid: &'a str,
    state: &'a str,
    pid: Option<i32>,
    vcpus: Option<u32>,
    weight: u32,
    job: Option<&'a str>,
    cpu_cores: Option<f64>,
    run_delay: Option<f64>,
    read_bytes_per_s: Option<f64>,
    write_bytes_per_s: Option<f64>,
    speed: Option<f64>,
    bottleneck: &'a str,
    profile: &'a str,
    left_alone: Option<&'a str>,
    knobs: &'a BTreeMap<String, String>,
    originals: Vec<OriginalJson<'a>>,
    /// Of the last interval, where one guest was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    counters: Option<&'a BTreeMap<String, f64>>,
}

impl<'a> From<&'a GuestRecord> for GuestJson<'a> {
    fn from(g: &'a GuestRecord) -> Self {
        let original = |o: &'a OriginalRecord| OriginalJson {
            knob: &o.knob,
            original: &o.original,
            ours: &o.ours,
            going_back_to: g.going_back.get(&o.knob).map(String::as_str),
        };
        Self {
            name: &g.name,
            uuid: &g.uuid,
            state: &g.state,
            pid: g.pid,
            vcpus: g.vcpus,
            weight: g.weight,
            job: g.job.as_deref(),
            cpu_cores: g.cpu_cores,
            run_delay: g.run_delay,
            read_bytes_per_s: g.read_bytes_per_second,
            write_bytes_per_s: g.write_bytes_per_second,
            speed: g.speed,
            bottleneck: &g.bottleneck,
            profile: &g.profile,
            left_alone: g.left_alone.as_deref(),
            knobs: &g.knobs,
            originals: g.originals.iter().map(original).collect(),
            counters: None,
        }
    }
}

impl<'a> GuestJson<'a> {
    /// With what was sensed of it.
    pub(crate) fn with(self, counters: &'a BTreeMap<String, f64>) -> Self {
        Self { counters: Some(counters), ..self }
    }
}

/// The daemon.
#[derive(Debug, Serialize)]
pub(crate) struct StatusJson<'a> {
    version: &'a str,
    mode: &'a str,
    paused: bool,
    libvirt: &'a str,
    store: &'a str,
    sensors: &'a BTreeMap<String, String>,
    cpus: &'a str,
    host_busy: Option<f64>,
    host_pressure: Option<f64>,
    objective: Option<f64>,
    guests: u32,
    ticks: u64,
    last_tick: Option<String>,
}

impl<'a> From<&'a ManagerRecord> for StatusJson<'a> {
    fn from(m: &'a ManagerRecord) -> Self {
        Self {
            version: &m.version,
            mode: &m.mode,
            paused: m.paused,
            libvirt: &m.libvirt,
            store: &m.store,
            sensors: &m.sensors,
            cpus: &m.cpus,
            host_busy: m.host_busy,
            host_pressure: m.host_pressure,
            objective: m.objective,
            guests: m.guest_count,
            ticks: m.ticks,
            last_tick: m.last_tick.map(rfc3339),
        }
    }
}

/// The daemon and its host, where only the status was asked for.
#[derive(Debug, Serialize)]
pub(crate) struct HostJson<'a> {
    #[serde(flatten)]
    status: StatusJson<'a>,
    counters: &'a BTreeMap<String, f64>,
    cpu_loads: Option<Vec<CpuLoadJson<'a>>>,
}

impl<'a> HostJson<'a> {
    pub(crate) fn new(
        status: &'a ManagerRecord,
        counters: &'a BTreeMap<String, f64>,
        loads: Option<&'a Vec<CpuLoadRecord>>,
    ) -> Self {
        let cpu_loads = loads.map(|loads| loads.iter().map(CpuLoadJson::from).collect());
        Self { status: StatusJson::from(status), counters, cpu_loads }
    }
}

/// One CPU.
#[derive(Debug, Serialize)]
struct CpuLoadJson<'a> {
    cpu: u32,
    demand: f64,
    idle: Option<f64>,
    over_committed: bool,
    has_room: bool,
    guests: Vec<DemandJson<'a>>,
}

/// What one guest wants of a CPU.
#[derive(Debug, Serialize)]
struct DemandJson<'a> {
    guest: &'a str,
    uuid: &'a str,
    demand: f64,
}

impl<'a> From<&'a CpuLoadRecord> for CpuLoadJson<'a> {
    fn from(load: &'a CpuLoadRecord) -> Self {
        let demand =
            |d: &'a DemandRecord| DemandJson { guest: &d.guest_name, uuid: &d.guest, demand: d.demand };
        Self {
            cpu: load.cpu,
            demand: load.demand,
            idle: load.idle,
            over_committed: load.over_committed,
            has_room: load.has_room,
            guests: load.guests.iter().map(demand).collect(),
        }
    }
}
