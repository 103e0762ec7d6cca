//! What travels: the dictionaries of `org.trimtab1`, typed. A key that a record does not know is ignored, so that an
//! older `trimtabctl` reads a newer daemon; an absent value is a missing key.
//! May not: interpret anything.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use zbus::{DeserializeDict, SerializeDict, Type};

/// One knob of one guest going from one value to another. Wire: `(sssss)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct ChangeRecord {
    /// UUID of the guest.
    pub guest: String,
    /// Its name when the decision was made.
    pub guest_name: String,
    /// Knob, e.g. `vcpu0.affinity`, `cpu.shares`.
    pub knob: String,
    /// Value before, in the knob's text form (a CPU list or a number).
    pub from: String,
    /// Value asked for.
    pub to: String,
}

/// One decision. Wire: `a{sv}` with these names as keys.
#[derive(Clone, Debug, PartialEq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}")]
pub struct DecisionRecord {
    /// Its number; grows by one, never reused.
    pub id: u64,
    /// When it was made, milliseconds since the Unix epoch.
    pub time: i64,
    /// UUID of the guest that should gain.
    pub guest: String,
    /// That guest's name at the time.
    pub guest_name: String,
    /// Knob family: `placement`, `priority`.
    pub knob: String,
    /// Every single change in the order of application.
    pub changes: Vec<ChangeRecord>,
    /// The bottleneck and the reasoning.
    pub why: String,
    /// Workload profile under which it was tried.
    pub profile: String,
    /// Expected relative gain of the objective, 0.10 = +10 %.
    pub expected: f64,
    /// Live objective before, 0..=1, if measured.
    pub before: Option<f64>,
    /// Live objective after, 0..=1, if measured.
    pub after: Option<f64>,
    /// `pending`, `kept`, `reverted` or `advised`.
    pub verdict: String,
    /// Why that verdict.
    pub outcome: String,
    /// When the verdict fell, milliseconds since the Unix epoch.
    pub closed: Option<i64>,
}

/// A knob that Trimtab has turned. Wire: `(sss)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct OriginalRecord {
    /// Knob.
    pub knob: String,
    /// Value before Trimtab first touched it: what `restore` puts back.
    pub original: String,
    /// Value that Trimtab set last.
    pub ours: String,
}

/// What one guest wants of one CPU. Wire: `(ssd)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct DemandRecord {
    /// UUID of the guest.
    pub guest: String,
    /// Its present name.
    pub guest_name: String,
    /// CPUs that its threads want of it.
    pub demand: f64,
}

/// One usable CPU and who wants it. Wire: `a{sv}` with these names as keys.
#[derive(Clone, Debug, PartialEq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}")]
pub struct CpuLoadRecord {
    /// Its number.
    pub cpu: u32,
    /// CPUs that guests' threads want of it.
    pub demand: f64,
    /// Share of the time in which nothing ran on it, if known.
    pub idle: Option<f64>,
    /// Guests want clearly more of it than it has.
    pub over_committed: bool,
    /// A good part of it is left over.
    pub has_room: bool,
    /// Who wants it, the most first.
    pub guests: Vec<DemandRecord>,
}

/// A remark of the daemon. Wire: `a{sv}` with these names as keys.
#[derive(Clone, Debug, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}")]
pub struct NoteRecord {
    /// When, milliseconds since the Unix epoch.
    pub time: i64,
    /// UUID of the guest concerned, if one is.
    pub guest: Option<String>,
    /// The remark.
    pub text: String,
}

/// Properties of the manager (`org.trimtab1.Manager`).
#[derive(Clone, Debug, PartialEq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub struct ManagerRecord {
    /// Version of the daemon.
    pub version: String,
    /// `observe`, `advise` or `enforce`.
    pub mode: String,
    /// Control is paused by command.
    pub paused: bool,
    /// `connected`, or why libvirt cannot be reached.
    pub libvirt: String,
    /// `ok`, or what the journal lost and why.
    pub store: String,
    /// Sensor -> what it is based on, or why this host lacks it.
    pub sensors: BTreeMap<String, String>,
    /// Usable host CPUs, list format.
    pub cpus: String,
    /// Busy share of all usable CPUs, 0..=1.
    pub host_busy: Option<f64>,
    /// Share of the last interval in which some task waited for a CPU (PSI), 0..=1.
    pub host_pressure: Option<f64>,
    /// Live objective of the last interval, 0..=1.
    pub objective: Option<f64>,
    /// Guests at the last tick.
    pub guest_count: u32,
    /// Ticks since start.
    pub ticks: u64,
    /// Wall time of the last tick, milliseconds since the Unix epoch; absent before the first one.
    pub last_tick: Option<i64>,
}

/// Properties of a guest (`org.trimtab1.Guest`).
#[derive(Clone, Debug, PartialEq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub struct GuestRecord {
    /// UUID.
    pub uuid: String,
    /// Name.
    pub name: String,
    /// `running`, `paused` or `other`.
    pub state: String,
    /// qemu's pid.
    pub pid: Option<i32>,
    /// vCPUs online, once libvirt has told.
    pub vcpus: Option<u32>,
    /// Weight from the metadata.
    pub weight: u32,
    /// Job (gang) from the metadata.
    pub job: Option<String>,
    /// CPU time per second of all its threads, in CPUs.
    pub cpu_cores: Option<f64>,
    /// Share of wanted CPU time spent waiting in a run queue, 0..=1.
    pub run_delay: Option<f64>,
    /// Bytes read per second, all disks.
    pub read_bytes_per_second: Option<f64>,
    /// Bytes written per second, all disks.
    pub write_bytes_per_second: Option<f64>,
    /// Estimated speed relative to running alone, 0..=1.
    pub speed: Option<f64>,
    /// Bottleneck: `none`, `cpu`, ...
    pub bottleneck: String,
    /// Workload profile.
    pub profile: String,
    /// Why the guest is left alone, if it is.
    pub left_alone: Option<String>,
    /// Knob values as last read back, by knob.
    pub knobs: BTreeMap<String, String>,
    /// Knobs that Trimtab has turned.
    pub originals: Vec<OriginalRecord>,
    /// Those of them that are on their way back, and where to.
    pub going_back: BTreeMap<String, String>,
}
