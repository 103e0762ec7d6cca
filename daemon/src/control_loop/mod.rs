//! The loop's state machine: ticks, answers and requests in, work to be done out. The engine decides, this file feeds it.
//!
//! ```text
//! tick ──> host + threads read at once ──> bulk statistics asked ──┬─ answer ──┐
//!                                                                  └─ deadline ┴─> engine ──> effects ──> performer
//! ```
//! The rhythm never depends on libvirt: /proc is read when the tick falls, and the engine gets the sample at the latest
//! when the deadline falls, with or without fresh statistics.
//! May not: await anything, read a clock (`run` hands the time in), write to the store or turn a knob (the performer does).

pub mod guests;
mod questions;
pub mod requests;
#[cfg(test)]
mod tests;
mod undo;
mod view;

use crate::handle::{Reply, View};
use crate::libvirt::{GuestRef, GuestStats, LibvirtError, LibvirtEvent};
use crate::performer::{Batch, Performed};
use crate::sensors::Sensors;
use guests::{Ask, Tracked, reconcile};
use questions::Questions;
use requests::Question;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use trimtab_policy::decision::{Decision, Effect};
use trimtab_policy::engine::Engine;
use trimtab_policy::identify::Role;
use trimtab_policy::knob::{Knob, KnobValue};
use trimtab_policy::rates::Rates;
use trimtab_policy::sample::{HostSample, PsiSet, Sample, ThreadSample};
use trimtab_policy::units::{GuestId, MonoNs, UnixMs};

/// Ticks between two looks at the list of guests without any event: events can get lost, a minute of it is enough.
const RESYNC_TICKS: u64 = 30;
/// Ticks between two read-backs of a guest's knobs where no event asked for one.
const READBACK_TICKS: u64 = 30;
/// Same for a guest with a knob that Trimtab turned: an admin's change must be seen soon even if its event is lost.
const READBACK_TURNED_TICKS: u64 = 5;
/// Ticks between two looks for an active job, and for the metadata of a guest of which they are not known.
const JOB_TICKS: u64 = 5;

/// Ticks between two looks at the storage traffic of a guest's threads: reading it of every guest at every tick took as long as
/// two thirds of all else that is read.
const THREAD_IO_TICKS: u64 = 30;

/// What the loop wants to be done. Answers come back through the method named at each.
#[derive(Debug)]
pub enum Work {
    /// `on_guests`.
    ListGuests,
    /// `on_stats`.
    BulkStats,
    /// `on_knobs`, `on_metadata`, `on_job`, for the guest of this identity and present name.
    AskGuest(GuestId, String, Ask),
    /// `on_performed` for each change.
    Perform(Batch),
    /// The journal answers the asker itself.
    AskJournal(Question),
    /// `reconfigure`, if the configuration is good; the asker is told either way.
    Reload(Reply<()>),
    /// The engine has seen a sample: the service manager may be told that the loop is alive.
    Alive,
}

/// The sample under way.
#[derive(Debug)]
struct Partial {
    at: MonoNs,
    wall: UnixMs,
    host: HostSample,
    /// Of each guest, with the pressure in its cgroup.
    threads: BTreeMap<GuestId, (Vec<ThreadSample>, PsiSet)>,
}

/// Where libvirt keeps `NAME.pid`, and so on: what the loop has to know of its surroundings.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Directory of qemu's pid files.
    pub pid_dir: PathBuf,
    /// Samples go into the journal at every so many ticks.
    pub journal_every_ticks: u64,
    /// Questions about single guests that may be out at once: fewer than libvirt's call slots, so that the statistics of
    /// all guests find one free.
    pub questions: usize,
}

/// See the module.
#[derive(Debug)]
pub struct ControlLoop {
    engine: Engine,
    sensors: Sensors,
    around: Surroundings,
    guests: BTreeMap<GuestId, Tracked>,
    questions: Questions,
    tick: u64,
    partial: Option<Partial>,
    bulk_out: bool,
    list_out: bool,
    list_wanted: bool,
    libvirt: String,
    store_health: String,
    seen: Arc<Rates>,
    /// Shared with the views, which are made at every tick while decisions rarely change.
    decisions: Vec<Arc<Decision>>,
    undone: Vec<undo::Asker>,
    view: watch::Sender<Arc<View>>,
    policy_toml: String,
}

impl ControlLoop {
    /// A loop at rest. `newest` are the newest decisions of the journal, newest first.
    pub fn new(
        engine: Engine,
        sensors: Sensors,
        around: Surroundings,
        newest: Vec<Decision>,
        policy_toml: String,
        view: watch::Sender<Arc<View>>,
    ) -> Self {
        Self {
            engine,
            sensors,
            questions: Questions::new(around.questions),
            around,
            guests: BTreeMap::new(),
            tick: 0,
            partial: None,
            bulk_out: false,
            list_out: false,
            list_wanted: true,
            libvirt: "connecting".to_owned(),
            store_health: "ok".to_owned(),
            seen: Arc::default(),
            decisions: newest.into_iter().map(Arc::new).collect(),
            undone: Vec::new(),
            view,
            policy_toml,
        }
    }

    /// Shows what is known before the first tick: mode, policy, journal.
    pub fn begin(&mut self, wall: UnixMs, store_health: String) {
        self.store_health = store_health;
        self.publish(wall);
    }

    /// A tick falls: read the host, ask for the rest.
    pub fn on_tick(&mut self, at: MonoNs, wall: UnixMs, store_health: String) -> Vec<Work> {
        let mut work = Vec::new();
        self.answer_undone(at);
        self.store_health = store_health;
        self.finish(&mut work);
        self.tick += 1;
        for (&id, guest) in &mut self.guests {
            guest.tick();
            self.questions.want(id, guest, []);
        }
        let host = self.sensors.host();
        let mut threads = BTreeMap::new();
        for (slot, (&id, guest)) in self.guests.iter_mut().enumerate() {
            let Some(pid) = guest.pid else { continue };
            let role = self.engine.finding(id).map(|found| found.role);
            // Two ticks in a row make a rate.
            let turn = (self.tick + slot as u64) % THREAD_IO_TICKS < 2;
            self.sensors.want_thread_io(pid, turn && matches!(role, Some(Role::Io | Role::Mixed)));
            match self.sensors.guest(pid) {
                Some(sampled) => drop(threads.insert(id, (sampled, self.sensors.guest_psi(pid)))),
                None => {
                    // The process ended; libvirt will say what became of the guest.
                    guest.pid = None;
                    self.list_wanted = true;
                }
            }
        }
        self.partial = Some(Partial { at, wall, host, threads });
        self.schedule(&mut work);
        if self.libvirt == view::CONNECTED {
            if !self.bulk_out {
                self.bulk_out = true;
                work.push(Work::BulkStats);
            }
        } else {
            // Nobody knows which guests run: the engine would take the missing ones for gone.
            self.partial = None;
            self.publish(wall);
            work.push(Work::Alive);
        }
        work
    }

    /// The statistics did not come in time: go on without.
    pub fn on_deadline(&mut self, tick: u64) -> Vec<Work> {
        let mut work = Vec::new();
        if tick == self.tick {
            self.finish(&mut work);
        }
        work
    }

    /// Number of the last tick.
    pub fn tick(&self) -> u64 {
        self.tick
    }

    /// Guests that are being watched.
    pub fn guest_count(&self) -> usize {
        self.guests.len()
    }

    /// Statistics of all guests. Those that come after the deadline go into the next sample, with the time they came at.
    pub fn on_stats(&mut self, now: MonoNs, answer: Result<Vec<GuestStats>, LibvirtError>) -> Vec<Work> {
        let mut work = Vec::new();
        self.bulk_out = false;
        match answer {
            Ok(stats) => {
                for record in stats {
                    match record.id.and_then(|id| self.guests.get_mut(&id)) {
                        Some(guest) => guest.take_stats(record, now),
                        None => self.list_wanted = true,
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "no statistics"),
        }
        self.finish(&mut work);
        work
    }

    /// The list of active domains.
    pub fn on_guests(&mut self, answer: Result<Vec<GuestRef>, LibvirtError>) -> Vec<Work> {
        self.list_out = false;
        let mut work = Vec::new();
        let active = match answer {
            Ok(active) => active,
            Err(error) => {
                tracing::warn!(%error, "cannot list the guests");
                self.list_wanted = true;
                return work;
            }
        };
        let (new, gone) = reconcile(&mut self.guests, active);
        for id in gone {
            tracing::info!(guest = %id, "guest is gone");
            self.questions.ended(id);
        }
        for id in &new {
            tracing::info!(guest = %id, name = self.guests[id].name, "guest found");
        }
        for (&id, guest) in &mut self.guests {
            let pid = crate::libvirt::qemu_pid(&self.around.pid_dir, &guest.name);
            if let Some(pid) = pid.filter(|_| pid != guest.pid) {
                guest.restarted(pid);
                self.questions.ended(id);
            }
            self.questions.want(id, guest, []);
        }
        self.questions.ask(&mut self.guests, &mut work);
        work
    }

    /// Knob values of one guest.
    pub fn on_knobs(
        &mut self,
        id: GuestId,
        answer: Result<BTreeMap<Knob, KnobValue>, LibvirtError>,
    ) -> Vec<Work> {
        if let Some(guest) = self.answered(id, Ask::Knobs, &answer) {
            match answer {
                // Asked for again meanwhile: this may be older than what made us ask, such as a change of our own.
                Ok(_) if guest.wanted.contains(&Ask::Knobs) => {}
                Ok(knobs) => guest.take_knobs(knobs),
                Err(error) => tracing::debug!(%error, "knobs not read back"),
            }
        }
        self.asked_on(id)
    }

    /// Metadata of one guest. Where libvirt refuses to tell them the guest is left alone until it does: its wishes are unknown.
    pub fn on_metadata(&mut self, id: GuestId, answer: Result<Option<String>, LibvirtError>) -> Vec<Work> {
        if let Some(guest) = self.answered(id, Ask::Metadata, &answer) {
            guest.take_metadata(answer);
        }
        self.asked_on(id)
    }

    /// Whether one guest has an active job.
    pub fn on_job(&mut self, id: GuestId, answer: &Result<bool, LibvirtError>) -> Vec<Work> {
        if let Some(guest) = self.answered(id, Ask::Job, answer)
            && let Ok(active) = answer
        {
            guest.job_active = *active;
        }
        self.asked_on(id)
    }

    /// The guest that an answer is about: nobody if it is gone, or was another process when it was asked.
    fn answered<T>(
        &mut self,
        id: GuestId,
        ask: Ask,
        answer: &Result<T, LibvirtError>,
    ) -> Option<&mut Tracked> {
        let current = self.questions.answered(id, ask);
        let guest = self.guests.get_mut(&id).filter(|_| current)?;
        guest.answered(ask, answer);
        Some(guest)
    }

    /// Something happened in libvirt.
    pub fn on_libvirt(&mut self, event: LibvirtEvent) -> Vec<Work> {
        let mut work = Vec::new();
        match event {
            LibvirtEvent::Connected => {
                tracing::info!("libvirt is connected");
                self.libvirt = view::CONNECTED.to_owned();
                self.list_wanted = true;
                for (&id, guest) in &mut self.guests {
                    self.questions.want(id, guest, [Ask::Metadata, Ask::Knobs, Ask::Job]);
                }
                self.list_guests(&mut work);
            }
            LibvirtEvent::Disconnected(why) => {
                tracing::warn!(why, "libvirt is away; sensing goes on, nothing is turned");
                self.libvirt = why;
            }
            LibvirtEvent::Lifecycle(id) => {
                if let Some(guest) = self.guests.get_mut(&id) {
                    self.questions.want(id, guest, [Ask::Knobs, Ask::Job]);
                }
                self.list_wanted = true;
                self.list_guests(&mut work);
            }
            LibvirtEvent::Tunable(id) => self.want(id, Ask::Knobs, &mut work),
            LibvirtEvent::Metadata(id) => self.want(id, Ask::Metadata, &mut work),
        }
        work
    }

    /// One change was carried out or refused.
    pub fn on_performed(&mut self, now: MonoNs, wall: UnixMs, done: &Performed) -> Vec<Work> {
        let mut work = Vec::new();
        if let Some(guest) = self.guests.get_mut(&done.change.guest) {
            guest.forget_read_back();
        }
        self.want(done.change.guest, Ask::Knobs, &mut work);
        let effects = self.engine.applied(now, wall, done.decision, &done.change, &done.outcome);
        self.perform(wall, effects, &mut work);
        self.answer_undone(now);
        work
    }

    /// The daemon is to stop: a trial that is not over is undone, everything else stays as it is.
    pub fn on_stop(&mut self, now: MonoNs, wall: UnixMs) -> Vec<Work> {
        let mut work = Vec::new();
        let effects = self.engine.stop(now, wall);
        self.perform(wall, effects, &mut work);
        work
    }

    /// Whether changes are on their way.
    pub fn is_busy(&self) -> bool {
        self.engine.is_busy()
    }

    fn want(&mut self, id: GuestId, ask: Ask, work: &mut Vec<Work>) {
        if let Some(guest) = self.guests.get_mut(&id) {
            self.questions.want(id, guest, [ask]);
        }
        self.questions.ask(&mut self.guests, work);
    }

    /// An answer about this guest made room for the next question.
    fn asked_on(&mut self, id: GuestId) -> Vec<Work> {
        let mut work = Vec::new();
        if let Some(guest) = self.guests.get_mut(&id) {
            self.questions.want(id, guest, []);
        }
        self.questions.ask(&mut self.guests, &mut work);
        work
    }

    fn list_guests(&mut self, work: &mut Vec<Work>) {
        if self.list_wanted && !self.list_out && self.libvirt == view::CONNECTED {
            self.list_wanted = false;
            self.list_out = true;
            work.push(Work::ListGuests);
        }
    }

    /// Questions that are due by the calendar, spread over the ticks by the guest's place in the table.
    fn schedule(&mut self, work: &mut Vec<Work>) {
        if self.libvirt != view::CONNECTED {
            return;
        }
        if self.tick.is_multiple_of(RESYNC_TICKS) {
            self.list_wanted = true;
        }
        self.list_guests(work);
        for (slot, (&id, guest)) in self.guests.iter_mut().enumerate() {
            let phase = self.tick + slot as u64;
            let may_be_turned = phase.is_multiple_of(READBACK_TURNED_TICKS);
            let turned = may_be_turned && self.engine.originals_of(id).next().is_some();
            let knobs = (turned || phase.is_multiple_of(READBACK_TICKS)).then_some(Ask::Knobs);
            let often = phase.is_multiple_of(JOB_TICKS);
            let job = often.then_some(Ask::Job);
            let metadata = (often && guest.meta.is_none()).then_some(Ask::Metadata);
            self.questions.want(id, guest, knobs.into_iter().chain(job).chain(metadata));
        }
        self.questions.ask(&mut self.guests, work);
    }

    /// Completes the sample under way, if there is one, lets the engine decide and shows the result.
    fn finish(&mut self, work: &mut Vec<Work>) {
        let Some(Partial { at, wall, host, mut threads }) = self.partial.take() else { return };
        let guests = self
            .guests
            .iter_mut()
            .map(|(&id, guest)| {
                let (threads, psi) = threads.remove(&id).unwrap_or_default();
                (id, guest.sample(threads, psi))
            })
            .collect();
        let tick = self.engine.observe(Sample { at, wall, host, guests });
        self.see(tick.rates);
        self.perform(wall, tick.effects, work);
        if self.tick.is_multiple_of(self.around.journal_every_ticks) {
            let rows = self.sample_rows(wall);
            work.push(Work::Perform(Batch { samples: rows, ..Batch::default() }));
        }
        self.publish(wall);
        work.push(Work::Alive);
    }

    /// Shows these rates from now on. Switches, migrations and threads' traffic are counted rarely and shown until they are
    /// counted anew.
    fn see(&mut self, mut rates: Rates) {
        for (id, now) in &mut rates.guests {
            let Some(before) = self.seen.guests.get(id) else { continue };
            let (before, storage_bps) = (before.perf, before.storage_bps);
            now.perf.context_switches = now.perf.context_switches.or(before.context_switches);
            now.perf.cpu_migrations = now.perf.cpu_migrations.or(before.cpu_migrations);
            now.storage_bps = now.storage_bps.or(storage_bps);
        }
        self.seen = Arc::new(rates);
    }

    /// Hands effects to the performer, in order.
    fn perform(&mut self, wall: UnixMs, effects: Vec<Effect>, work: &mut Vec<Work>) {
        self.remember_all(&effects);
        if !effects.is_empty() {
            work.push(Work::Perform(Batch { wall, effects, samples: Vec::new() }));
        }
    }

    fn remember_all(&mut self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Record(decision) = effect {
                self.remember(decision.clone());
            }
        }
    }

    /// Keeps the newest decisions at hand, newest first.
    fn remember(&mut self, decision: Decision) {
        match self.decisions.iter_mut().find(|d| d.id == decision.id) {
            Some(known) => *known = Arc::new(decision),
            None => self.decisions.insert(0, Arc::new(decision)),
        }
        self.decisions.truncate(view::DECISIONS);
    }
}
