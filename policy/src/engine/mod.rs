//! The engine: samples, outcomes and commands in; effects out. Deterministic, single-threaded, no clock.
//!
//! ```text
//!            observe(Sample)                       applied(Outcome)                   command(Command)
//!                  |                                     |                                   |
//!   rates -> history -> findings -> score       hands: next change, or          close the trial, restore,
//!     lifecycle: gone, restarted, moved         the way back if refused         mode, configuration
//!     trial: settle, measure, judge
//!     else propose -> arbiter -> start
//!                  |                                     |                                   |
//!                  +--------------------> Vec<Effect>, to be performed in order <------------+
//!
//!   trial:  Applying --all done--> Settling --> Measuring --verdict--> kept
//!              |                      |             |
//!              +---- refused, guest lost, load changed, floor, command ----> Closing --all undone--> reverted
//! ```
//!
//! One `Apply` is in flight at a time; the next comes out of `applied`. `SaveOriginal` always precedes the `Apply` that it
//! is for. May not: perform anything, or read a clock.

mod closing;
mod command;
mod hands;
mod lifecycle;
mod look;
mod measure;
mod recovery;
mod trials;
mod watch;

pub use command::{Answer, Command, CommandError};

use crate::arbiter::Arbiter;
use crate::config::PolicyConfig;
use crate::decision::{Decision, DecisionId, Effect, Lesson, Mode, Original, Override};
use crate::identify::Finding;
use crate::identify::features::History;
use crate::knob::{Family, Knob, KnobValue};
use crate::knowledge::Knowledge;
use crate::ledger::Ledger;
use crate::model::{CpuUse, cpu_uses};
use crate::objective::Score;
use crate::rates::{Differ, Rates};
use crate::sample::{GuestMeta, GuestState, Sample};
use crate::topology::{CpuSet, Topology};
use crate::units::{GuestId, MonoNs, UnixMs};
use hands::Hands;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use trials::OpenTrial;
use watch::Watch;

/// What an engine starts from.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Configuration in force; must be valid.
    pub config: PolicyConfig,
    /// Number of the next decision: one more than the highest ever used.
    pub next_decision: DecisionId,
    /// Originals found in the store.
    pub originals: Vec<Original>,
    /// Lessons found in the store.
    pub lessons: Vec<Lesson>,
    /// Decisions that the last run left pending.
    pub pending: Vec<Decision>,
    /// Kept decisions; those that turned a knob which is still held are remembered, the others ignored.
    pub kept: Vec<Decision>,
    /// Knob families that the admin has taken over.
    pub overrides: Vec<Override>,
}

/// What one tick brought.
#[derive(Clone, Debug, Default)]
pub struct Tick {
    /// What was seen in the interval.
    pub rates: Rates,
    /// What is to be done, in this order.
    pub effects: Vec<Effect>,
}

/// What is said of a guest that does not answer.
const SILENT: &str = "does not answer";

/// A guest as the engine knows it.
#[derive(Clone, Debug)]
struct Known {
    name: String,
    pid: Option<i32>,
    vcpus: Option<u32>,
    state: GuestState,
    meta: Arc<GuestMeta>,
    job_active: bool,
    /// Since when it has not answered.
    silent_since: Option<MonoNs>,
    /// When it was last in a sample.
    seen_at: MonoNs,
    present: bool,
}

impl Known {
    /// Why nothing of the guest may be turned now, if so.
    fn left_alone(&self) -> Option<&'static str> {
        self.set_aside().or(self.silent_since.map(|_| SILENT))
    }
    /// The same, whether or not it answers.
    fn set_aside(&self) -> Option<&'static str> {
        if self.meta.excluded {
            Some("excluded by its metadata")
        } else if self.state == GuestState::Paused {
            Some("paused")
        } else if self.state != GuestState::Running {
            Some("not running")
        } else if self.job_active {
            Some("a libvirt job is active")
        } else {
            None
        }
    }
    /// Whether libvirt could turn a knob of it now (also to put it back).
    fn is_reachable(&self) -> bool {
        self.present && !self.job_active && self.silent_since.is_none()
    }
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    config: PolicyConfig,
    mode: Mode,
    /// Mode of the last configuration; a command may have set another since.
    configured_mode: Mode,
    paused: bool,
    next_decision: DecisionId,
    /// Now on both clocks, as of the last call.
    now: MonoNs,
    wall: UnixMs,
    differ: Differ,
    history: History,
    guests: BTreeMap<GuestId, Known>,
    topology: Arc<Topology>,
    /// CPUs that have been usable at some time and are not now.
    vanished: CpuSet,
    /// Busy share per CPU, smoothed.
    busy: BTreeMap<u32, f64>,
    /// CPUs delivered to guests or idle, per tick.
    capacity: VecDeque<(MonoNs, f64)>,
    domain: crate::knob::PriorityDomain,
    findings: BTreeMap<GuestId, Finding>,
    score: Score,
    profile: String,
    /// Since when the profile is what it is.
    profile_since: MonoNs,
    /// End of the last disturbance by ourselves: what was measured before describes another host.
    stable_since: MonoNs,
    ledger: Ledger,
    hands: Hands,
    arbiter: Arbiter,
    /// Lessons as loaded, until the first sample tells the time.
    loaded: Option<Vec<Lesson>>,
    knowledge: Knowledge,
    trial: Option<OpenTrial>,
    /// The newest kept decision, as long as it is young.
    watch: Option<Watch>,
    /// Decisions that the last run left pending, until the first sample or command takes them over.
    pending: Option<Vec<Decision>>,
    /// When the first sample was taken.
    born: Option<MonoNs>,
    /// Kept decisions of which a knob is still held, so that a `restore` can close them.
    kept: BTreeMap<DecisionId, Decision>,
    /// Decisions that are reverted without a trial (by command, under watch, at the start) and not recorded yet, because their
    /// changes are on their way back.
    reverting: Vec<Decision>,
    /// Guests at rest after a command.
    resting: BTreeMap<GuestId, MonoNs>,
    /// Advice given, by profile and recipe, and when it may be repeated.
    advised: BTreeMap<(String, String), MonoNs>,
    effects: Vec<Effect>,
}

impl Engine {
    /// An engine that has seen nothing yet.
    pub fn new(start: Start) -> Self {
        let ledger = Ledger::load(start.originals, start.overrides);
        let held = |d: &Decision| d.changes.iter().any(|c| ledger.held(c.guest, c.knob).is_some());
        let kept = start.kept.into_iter().filter(held).map(|d| (d.id, d)).collect();
        Self {
            mode: start.config.mode,
            configured_mode: start.config.mode,
            config: start.config,
            paused: false,
            next_decision: start.next_decision,
            now: MonoNs(0),
            wall: UnixMs(0),
            differ: Differ::default(),
            history: History::default(),
            guests: BTreeMap::new(),
            topology: Arc::default(),
            vanished: CpuSet::new(),
            busy: BTreeMap::new(),
            capacity: VecDeque::new(),
            domain: crate::knob::PriorityDomain::None,
            findings: BTreeMap::new(),
            score: Score::default(),
            profile: String::new(),
            profile_since: MonoNs(0),
            stable_since: MonoNs(0),
            ledger,
            hands: Hands::default(),
            arbiter: Arbiter::default(),
            loaded: Some(start.lessons),
            knowledge: Knowledge::default(),
            trial: None,
            watch: None,
            pending: Some(start.pending),
            born: None,
            kept,
            reverting: Vec::new(),
            resting: BTreeMap::new(),
            advised: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    /// Takes one sample: at most one decision comes of it.
    ///
    /// Samples must hold every guest that runs: a guest missing from one is taken for gone. When libvirt is away, do not
    /// call. A sample that is not later than the last is ignored, but for the effects that wait.
    pub fn observe(&mut self, sample: Sample) -> Tick {
        if self.differ.last().is_some_and(|last| sample.at <= last.at) {
            return self.tick(Rates { at: sample.at, wall: sample.wall, ..Rates::default() });
        }
        self.now = sample.at;
        self.born.get_or_insert(self.now);
        self.wall = sample.wall;
        if let Some(lessons) = self.loaded.take() {
            self.knowledge = Knowledge::load(lessons, (self.now, self.wall), &self.config.arbiter);
        }
        self.domain = sample.host.priority;
        self.see_guests(&sample);
        self.take_over();
        self.see_topology(&sample);
        self.see_knobs(&sample);
        let rates = self.differ.next(sample, self.config.identify.gap_max_ms);
        self.look(&rates);
        self.finish_closing();
        self.step_trial(&rates);
        self.step_watch();
        self.consider();
        self.pump();
        self.tick(rates)
    }

    fn tick(&mut self, rates: Rates) -> Tick {
        Tick { rates, effects: std::mem::take(&mut self.effects) }
    }

    /// What was found out of a guest at the last tick.
    pub fn finding(&self, guest: GuestId) -> Option<&Finding> {
        self.findings.get(&guest)
    }

    /// What is wanted of each usable CPU, by whom, and how much of it is idle: which are over-committed, which could take more.
    /// Costs as much as a look for proposals, so it is for those who ask, not for every tick.
    pub fn cpu_uses(&self) -> Vec<CpuUse> {
        cpu_uses(&self.state())
    }

    /// Live objective over the window that ended with the last tick.
    pub fn score(&self) -> &Score {
        &self.score
    }

    /// Mode in force.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether control is paused by command.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Configuration in force.
    pub fn config(&self) -> &PolicyConfig {
        &self.config
    }

    /// Number that the next decision will get.
    pub fn next_decision(&self) -> DecisionId {
        self.next_decision
    }

    /// The decision whose trial is open.
    pub fn open_decision(&self) -> Option<&Decision> {
        self.trial.as_ref().map(|t| &t.decision)
    }

    /// Whether changes are on their way or wait for a guest: on shutdown, wait until this is false, but not for ever.
    pub fn is_busy(&self) -> bool {
        self.hands.is_busy()
    }

    /// Originals of every knob that Trimtab holds.
    pub fn originals(&self) -> impl Iterator<Item = &Original> {
        self.ledger.originals()
    }

    /// Those of one guest.
    pub fn originals_of(&self, guest: GuestId) -> impl Iterator<Item = &Arc<Original>> {
        self.ledger.held_of(guest)
    }

    /// Values of a guest's knobs as last read back or set.
    pub fn knobs(&self, guest: GuestId) -> Option<&BTreeMap<Knob, KnobValue>> {
        self.ledger.knobs(guest)
    }

    /// Why a guest, or some of its knob families, are left alone; `None` if all may be turned.
    pub fn left_alone(&self, guest: GuestId) -> Option<String> {
        let known = self.guests.get(&guest)?;
        if let Some(why) = known.left_alone() {
            return Some(why.to_owned());
        }
        let reasons: Vec<String> = [Family::Placement, Family::Priority]
            .into_iter()
            .filter_map(|family| self.frozen(guest, family).map(|why| format!("{family}: {why}")))
            .collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Why a family of a guest must not be turned now, if so.
    fn frozen(&self, guest: GuestId, family: Family) -> Option<String> {
        let Some(known) = self.guests.get(&guest).filter(|k| k.present) else {
            return Some("not here".to_owned());
        };
        if let Some(why) = known.left_alone() {
            return Some(why.to_owned());
        }
        if known.meta.excluded_knobs.contains(&family) {
            return Some("excluded by its metadata".to_owned());
        }
        if let Some(why) = self.ledger.handed_over(guest, family) {
            return Some(why.to_owned());
        }
        if self.ledger.goes_back(guest) {
            return Some("knobs of it are on their way back".to_owned());
        }
        self.resting
            .get(&guest)
            .filter(|&&until| until > self.now)
            .map(|_| "at rest after a command".to_owned())
    }

    fn note(&mut self, guest: Option<GuestId>, text: String) {
        self.effects.push(Effect::Note { guest, text });
    }

    fn name(&self, guest: GuestId) -> String {
        self.guests.get(&guest).map_or_else(|| guest.to_string(), |k| k.name.clone())
    }
}
