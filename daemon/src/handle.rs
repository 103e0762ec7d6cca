//! The control loop as the D-Bus side sees it: a view to read and requests to send.
//!
//! May not: reach libvirt, the store or a sensor; everything goes through the loop.

use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use trimtab_policy::decision::{Decision, DecisionId, Mode, Original};
use trimtab_policy::model::CpuUse;
use trimtab_policy::rates::Rates;
use trimtab_policy::sample::GuestState;
use trimtab_policy::units::{GuestId, UnixMs};

/// What the loop shows of itself, replaced whole once a tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct View {
    /// Daemon version.
    pub version: String,
    /// Ticks since start.
    pub ticks: u64,
    /// Wall time of the last tick.
    pub time: UnixMs,
    /// Mode in force.
    pub mode: Mode,
    /// Control is paused by command (sensing goes on).
    pub paused: bool,
    /// `connected`, or why libvirt cannot be reached.
    pub libvirt: String,
    /// `ok`, or what the journal lost and why.
    pub store: String,
    /// Names of the sensors in use and the ones that this host lacks, e.g. `perf` -> `software`.
    pub sensors: BTreeMap<String, String>,
    /// Usable host CPUs, list format.
    pub cpus: String,
    /// Busy share of all usable CPUs, 0..=1.
    pub host_busy: Option<f64>,
    /// Share of the last interval in which some task waited for a CPU (PSI), 0..=1.
    pub host_pressure: Option<f64>,
    /// Live objective of the last interval, 0..=1 (docs/algorithms/objective.md).
    pub objective: Option<f64>,
    /// Everything sensed in the last interval.
    pub rates: Arc<Rates>,
    /// Guests by identity.
    pub guests: BTreeMap<GuestId, GuestView>,
    /// The newest decisions, newest first, at most 100.
    pub decisions: Vec<Arc<Decision>>,
    /// Configuration in force, as TOML.
    pub policy_toml: String,
}

/// One guest as last seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GuestView {
    /// Name.
    pub name: String,
    /// State.
    pub state: GuestState,
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
    /// Bytes written per second, all disks.
    pub write_bps: Option<f64>,
    /// Bytes read per second, all disks.
    pub read_bps: Option<f64>,
    /// Estimated speed relative to running alone, 0..=1.
    pub speed: Option<f64>,
    /// Bottleneck named by the policy: `none`, `cpu`, `io-service`, ...
    pub bottleneck: String,
    /// Workload profile key.
    pub profile: String,
    /// Why the guest is left alone, if it is: excluded, job active, unresponsive, admin override, paused.
    pub left_alone: Option<String>,
    /// Knob values as last read back, text form by knob name. Shared, as the originals are: they rarely change.
    pub knobs: Arc<BTreeMap<String, String>>,
    /// Knobs that Trimtab has turned and their originals.
    pub originals: Vec<Arc<Original>>,
}

/// A remark of the daemon that belongs to no decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When.
    pub time: UnixMs,
    /// The guest concerned, if one is.
    pub guest: Option<String>,
    /// The remark.
    pub text: String,
}

/// Why a request failed. Becomes `org.trimtab1.Error.*`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No such guest or decision.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense in the present state (e.g. revert of a reverted decision).
    #[error("{0}")]
    Conflict(String),
    /// Bad argument.
    #[error("{0}")]
    InvalidArgs(String),
    /// Knobs that were to go back are not there yet: which, and why. It is gone on with.
    #[error("{0}")]
    Unfinished(String),
    /// libvirt, the store or an actuator failed; what was and was not done.
    #[error("{0}")]
    Failed(String),
}

/// Answer channel of a request.
pub type Reply<T> = oneshot::Sender<Result<T, RequestError>>;

/// What can be asked of the loop.
#[derive(Debug)]
pub enum Request {
    /// Change the mode until the next start, or a reload that finds another mode in the configuration than the last one.
    SetMode(Mode, Reply<()>),
    /// Stop deciding (a running trial is closed: reverted); sensing goes on.
    Pause(Reply<()>),
    /// Decide again.
    Resume(Reply<()>),
    /// Decisions from the journal, newest first.
    Decisions {
        /// Only of this guest.
        guest: Option<GuestId>,
        /// At most so many.
        limit: u32,
        /// Answer.
        reply: Reply<Vec<Decision>>,
    },
    /// One decision from the journal.
    Decision(DecisionId, Reply<Decision>),
    /// Notes from the journal, newest first.
    Notes {
        /// Only about this guest.
        guest: Option<GuestId>,
        /// At most so many.
        limit: u32,
        /// Answer.
        reply: Reply<Vec<Note>>,
    },
    /// What is wanted of each usable CPU and by whom. Asked for, since it costs too much to be made at every tick.
    CpuUses(Reply<Vec<CpuUse>>),
    /// Undo one kept or pending decision; answers with one line per change when its knobs are back.
    Revert(DecisionId, Reply<Vec<String>>),
    /// Put every knob of one guest, or of all, back to its original; answers with one line per knob when they are back.
    Restore(Option<GuestId>, Reply<Vec<String>>),
    /// Read the configuration again; a bad one is refused and the old one stays.
    Reload(Reply<()>),
}

/// Handle of the control loop.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Requests to the loop.
    pub requests: mpsc::Sender<Request>,
    /// What the loop shows.
    pub view: watch::Receiver<Arc<View>>,
}
