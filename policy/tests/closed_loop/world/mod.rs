//! The closed loop: synthetic host, engine, store, linter.

pub(crate) mod host;
pub(crate) mod lint;

use host::{Host, Load};
use lint::{Asked, Cause, Lint};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use trimtab_policy::config::PolicyConfig;
use trimtab_policy::decision::{Change, Decision, Effect, Lesson, Mode, Outcome, Verdict};
use trimtab_policy::engine::{Command, Engine, Start, Tick};
use trimtab_policy::knob::{Family, Knob, KnobValue, PriorityDomain};
use trimtab_policy::sample::GuestMeta;
use trimtab_policy::topology::Topology;
use trimtab_policy::units::{GuestId, MonoNs, UnixMs};

pub(crate) struct World {
    pub(crate) host: Host,
    pub(crate) engine: Engine,
    pub(crate) config: PolicyConfig,
    pub(crate) lint: Lint,
    pub(crate) lessons: BTreeMap<(String, String), Lesson>,
    pub(crate) notes: Vec<String>,
    pub(crate) last: Tick,
    /// Knobs whose changes are refused.
    pub(crate) refuse: BTreeSet<(GuestId, Knob)>,
    /// Values that were refused, until a change of the knob is not: any of them may yet take effect, for all that is known.
    refused: BTreeMap<(GuestId, Knob), Vec<KnobValue>>,
    /// Whether what is refused is done all the same, as after a time-out.
    pub(crate) late: bool,
    /// Whether changes are never answered, nor made.
    pub(crate) mute: bool,
    /// Ticks that changes take, 0 = within the same tick.
    pub(crate) slow: u32,
    queue: VecDeque<(Effect, Asked)>,
    /// CPUs that the engine has seen.
    seen_cpus: Option<Arc<Topology>>,
    ticks: u64,
    read_back_due: bool,
    pub(crate) writes: usize,
    /// Die (kill -9) right after so many more changes.
    pub(crate) die_after: Option<usize>,
    pub(crate) crashed: bool,
}

impl World {
    pub(crate) fn new(cpus: u32, domain: PriorityDomain, mode: Mode, seed: u64) -> Self {
        let config = PolicyConfig { mode, ..PolicyConfig::default() };
        let start = Start { config: config.clone(), next_decision: 1, ..Start::default() };
        Self {
            host: Host::new(cpus, domain, seed),
            engine: Engine::new(start),
            config,
            lint: Lint::default(),
            lessons: BTreeMap::new(),
            notes: Vec::new(),
            last: Tick::default(),
            refuse: BTreeSet::new(),
            refused: BTreeMap::new(),
            late: false,
            mute: false,
            slow: 0,
            queue: VecDeque::new(),
            seen_cpus: None,
            ticks: 0,
            read_back_due: true,
            writes: 0,
            die_after: None,
            crashed: false,
        }
    }

    pub(crate) fn guest(&mut self, name: &str, load: Load, vcpus: u32, weight: u32) -> GuestId {
        self.guest_with(name, load, vcpus, GuestMeta { weight, ..GuestMeta::default() })
    }

    pub(crate) fn guest_with(&mut self, name: &str, load: Load, vcpus: u32, meta: GuestMeta) -> GuestId {
        let id = self.host.start(name, load, vcpus, meta);
        self.lint.admins.retain(|(g, _)| *g != id);
        self.refused.retain(|(g, _), _| *g != id);
        self.lint.truth.retain(|(g, _), _| *g != id);
        for (&knob, value) in &self.host.guests[&id].knobs {
            self.lint.truth.insert((id, knob), value.clone());
        }
        id
    }

    /// The noisy neighbour: a writer and two burners on two CPUs.
    pub(crate) fn neighbours(weight: u32, mode: Mode, seed: u64) -> (Self, GuestId, GuestId, GuestId) {
        Self::neighbours_without(&[], weight, mode, seed)
    }

    /// Those with priorities that are not Trimtab's to turn: every decision places threads, of several guests at once.
    pub(crate) fn pinned_neighbours() -> (Self, GuestId, GuestId, GuestId) {
        Self::neighbours_without(&[Family::Priority], 2048, Mode::Enforce, 1)
    }

    fn neighbours_without(
        families: &[Family],
        weight: u32,
        mode: Mode,
        seed: u64,
    ) -> (Self, GuestId, GuestId, GuestId) {
        let mut w = Self::new(2, PriorityDomain::CgroupV1, mode, seed);
        let excluded_knobs: BTreeSet<Family> = families.iter().copied().collect();
        let mut guest = |name: &str, load, weight| {
            let meta = GuestMeta { weight, excluded_knobs: excluded_knobs.clone(), ..GuestMeta::default() };
            w.guest_with(name, load, 2, meta)
        };
        let writer = guest("writer", Load::Writer, weight);
        let a = guest("burner-a", Load::Burner, 1024);
        let b = guest("burner-b", Load::Burner, 1024);
        (w, writer, a, b)
    }

    pub(crate) fn admin_sets(&mut self, guest: GuestId, knob: Knob, value: KnobValue) {
        if self.refused.get(&(guest, knob)).is_some_and(|refused| refused.contains(&value)) {
            return; // Nobody could tell it from the change that was refused (docs/OPERATIONS.md).
        }
        let was = self.host.guests.get_mut(&guest).unwrap().knobs.insert(knob, value.clone());
        if was.as_ref() == Some(&value) {
            return; // Not a change: it leaves no trace that anybody could see.
        }
        self.lint.truth.insert((guest, knob), value);
        self.lint.admins.insert((guest, knob));
        // libvirt tells of a turned knob, and the driver reads it back at the next tick.
        self.read_back_due = true;
    }

    pub(crate) fn seconds(&mut self, n: u32) {
        for _ in 0..n {
            self.tick();
        }
    }

    pub(crate) fn tick(&mut self) {
        self.host.run_ms(1000);
        self.ticks += 1;
        let with_knobs = std::mem::take(&mut self.read_back_due) || self.ticks.is_multiple_of(5);
        self.last = self.engine.observe(self.host.sample(with_knobs));
        let effects = std::mem::take(&mut self.last.effects);
        let seen = self.seen_cpus.replace(Arc::clone(&self.host.topology));
        self.ask(effects, if seen.as_ref() == Some(&self.host.topology) { Cause::Loop } else { Cause::Cpus });
        if self.slow == 0 || self.ticks.is_multiple_of(u64::from(self.slow) + 1) {
            self.perform();
        }
    }

    pub(crate) fn command(&mut self, command: Command) -> Vec<String> {
        let now = MonoNs(self.host.now_ns);
        if let Command::Restore(guest) = &command {
            let guest = *guest;
            // What has not been seen yet is not handed back either.
            let seen = |g: GuestId, k: Knob| self.lint.overrides.contains_key(&(g, k.family()));
            self.lint.admins.retain(|(g, k)| guest.is_some_and(|only| *g != only) || !seen(*g, *k));
        }
        let (effects, answer) = self.engine.command(now, UnixMs(0), command).unwrap();
        self.ask(effects, Cause::Command);
        self.perform();
        answer.lines
    }

    pub(crate) fn restore(&mut self, guest: Option<GuestId>) {
        if guest.is_none_or(|id| self.host.guests.contains_key(&id) && self.engine.knobs(id).is_some()) {
            self.command(Command::Restore(guest));
        }
    }

    /// Reverts a kept decision, `age` 0 being the newest.
    pub(crate) fn revert_kept(&mut self, age: usize) {
        let kept = self.decisions().rev().filter(|d| d.verdict == Verdict::Kept).nth(age).cloned();
        if let Some(kept) = kept {
            let now = MonoNs(self.host.now_ns);
            // Refused if somebody else has turned the knobs since.
            if let Ok((effects, _)) = self.engine.command(now, UnixMs(0), Command::Revert(Box::new(kept))) {
                self.ask(effects, Cause::Command);
                self.perform();
            }
        }
    }

    /// The end of the daemon begins.
    pub(crate) fn stop(&mut self) {
        let effects = self.engine.stop(MonoNs(self.host.now_ns), UnixMs(0));
        self.ask(effects, Cause::Command);
        self.perform();
    }

    fn ask(&mut self, effects: Vec<Effect>, cause: Cause) {
        let free = self.engine.mode() == Mode::Enforce && !self.engine.is_paused();
        self.queue.extend(effects.into_iter().map(|effect| (effect, Asked { cause, free })));
    }

    fn perform(&mut self) {
        while let Some((effect, asked)) = self.queue.pop_front() {
            let (mode, per_min) = (self.engine.mode(), self.config.arbiter.decisions_per_min);
            self.lint.see(&effect, asked, &self.host, mode, per_min);
            match effect {
                Effect::Apply { .. } if self.mute => {}
                Effect::Apply { decision, change } => {
                    if self.die_after == Some(0) {
                        self.die_after = None;
                        self.crashed = true;
                        self.crash();
                        return;
                    }
                    let outcome = self.turn(&change);
                    let key = (change.guest, change.knob);
                    match &outcome {
                        Outcome::Refused(_) => self.refused.entry(key).or_default().push(change.to.clone()),
                        _ => drop(self.refused.remove(&key)),
                    }
                    self.read_back_due = true;
                    self.die_after = self.die_after.map(|n| n - 1);
                    let more =
                        self.engine.applied(MonoNs(self.host.now_ns), UnixMs(0), decision, &change, &outcome);
                    self.ask(more, Cause::Loop);
                }
                Effect::Learn(l) => {
                    self.lessons.insert((l.profile.clone(), l.recipe.clone()), l);
                }
                Effect::Note { text, .. } => self.notes.push(text),
                // The linter is the store.
                Effect::Record(_)
                | Effect::SaveOriginal(_)
                | Effect::ForgetOriginal { .. }
                | Effect::SaveOverride(_)
                | Effect::ForgetOverride { .. } => {}
            }
        }
    }

    /// Like the real actuator: a knob that is neither where it should start from nor where it should go is left.
    fn turn(&mut self, change: &Change) -> Outcome {
        let Change { guest, knob, from, to, .. } = change;
        let refused = self.refuse.contains(&(*guest, *knob));
        if refused && !self.late {
            return Outcome::Refused("made to fail".to_owned());
        }
        let Some(g) = self.host.guests.get_mut(guest) else {
            return Outcome::Refused("no such guest".to_owned());
        };
        match g.knobs.get(knob) {
            Some(is) if is == to => return Outcome::AlreadySo,
            Some(is) if is != from => {
                return Outcome::Refused(format!("somebody moved it: it is {is} and not {from}"));
            }
            _ => drop(g.knobs.insert(*knob, to.clone())),
        }
        self.writes += 1;
        if refused { Outcome::Refused("no answer in time".to_owned()) } else { Outcome::Done }
    }

    /// kill -9 and a new start from what is in the store; effects not performed yet are lost.
    pub(crate) fn crash(&mut self) {
        self.queue.clear();
        self.seen_cpus = None;
        self.lint.forget_budget();
        let with = |verdict| self.lint.decisions.values().filter(move |d| d.verdict == verdict).cloned();
        let next_decision = self.lint.decisions.keys().last().map_or(1, |id| id + 1);
        self.engine = Engine::new(Start {
            config: self.config.clone(),
            next_decision,
            originals: self.lint.originals.values().cloned().collect(),
            lessons: self.lessons.values().cloned().collect(),
            pending: with(Verdict::Pending).collect(),
            kept: with(Verdict::Kept).collect(),
            overrides: self.lint.overrides.values().cloned().collect(),
        });
        self.read_back_due = true;
    }

    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.lint.decisions.values().filter(|d| d.verdict == verdict).count()
    }

    pub(crate) fn decisions(&self) -> impl DoubleEndedIterator<Item = &Decision> {
        self.lint.decisions.values()
    }

    /// Bytes per second and CPUs of a guest over the next seconds.
    pub(crate) fn measure(&mut self, guest: GuestId, seconds: u32) -> (f64, f64) {
        let state = |w: &Self| (w.host.guests[&guest].bytes, w.host.guests[&guest].cpu_ns());
        let begin = state(self);
        self.seconds(seconds);
        let end = state(self);
        let s = f64::from(seconds);
        ((end.0 - begin.0) as f64 / s, (end.1 - begin.1) as f64 / 1e9 / s)
    }

    pub(crate) fn at_originals(&self) -> bool {
        self.lint
            .truth
            .iter()
            .all(|((g, k), v)| self.host.guests.get(g).is_none_or(|g| g.knobs.get(k) == Some(v)))
    }

    pub(crate) fn differences(&self) -> String {
        let mut text = String::new();
        for ((g, k), v) in &self.lint.truth {
            let is = self.host.guests.get(g).and_then(|g| g.knobs.get(k));
            if is.is_some_and(|is| is != v) {
                text.push_str(&format!("{k} of {g} is {is:?}, was {v}\n"));
            }
        }
        text
    }

    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert!(self.lint.violations.is_empty(), "{}\n{}", self.lint.violations.join("\n"), self.story());
    }

    pub(crate) fn story(&self) -> String {
        let mut text = String::new();
        for d in self.decisions() {
            text.push_str(&format!(
                "#{} {:?} {}\n  why: {}\n  {}\n",
                d.id, d.verdict, d.profile, d.why, d.outcome
            ));
            for c in &d.changes {
                text.push_str(&format!("    {} {}: {} -> {}\n", c.guest_name, c.knob, c.from, c.to));
            }
        }
        text.push_str(&self.notes.join("\n"));
        text
    }
}
