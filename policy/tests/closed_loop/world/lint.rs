//! An independent judge of everything the engine asks for: knows the rules, not the engine.

use super::host::Host;
use std::collections::{BTreeMap, BTreeSet};
use trimtab_policy::decision::{Decision, DecisionId, Effect, Mode, Original, Override, Verdict};
use trimtab_policy::knob::{Family, Knob, KnobValue, PriorityDomain};
use trimtab_policy::sample::GuestState;
use trimtab_policy::units::GuestId;

/// What an effect came of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A sample, or the outcome of a change.
    Loop,
    /// A sample that showed other CPUs than the last one.
    Cpus,
    /// A command.
    Command,
}

/// What held when an effect was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) cause: Cause,
    /// Mode `enforce`, and not paused: only then anything is turned of one's own accord.
    pub(crate) free: bool,
}

#[derive(Default)]
pub(crate) struct Lint {
    pub(crate) violations: Vec<String>,
    pub(crate) decisions: BTreeMap<DecisionId, Decision>,
    pub(crate) originals: BTreeMap<(GuestId, Knob), Original>,
    pub(crate) overrides: BTreeMap<(GuestId, Family), Override>,
    /// Knob values when the guest started, or as the admin set them since.
    pub(crate) truth: BTreeMap<(GuestId, Knob), KnobValue>,
    decided_ns: Vec<u64>,
    highest: DecisionId,
    /// Processes that a decision was about.
    pids: BTreeMap<(DecisionId, GuestId), i32>,
    /// Knobs that the admin moved: nothing may be turned there.
    pub(crate) admins: BTreeSet<(GuestId, Knob)>,
}

impl Lint {
    fn check(&mut self, ok: bool, what: impl FnOnce() -> String) {
        if !ok {
            self.violations.push(what());
        }
    }

    /// The budget is the daemon's own and does not outlive it.
    pub(crate) fn forget_budget(&mut self) {
        self.decided_ns.clear();
    }

    pub(crate) fn see(&mut self, effect: &Effect, asked: Asked, host: &Host, mode: Mode, per_min: u32) {
        match effect {
            Effect::Record(d) => self.record(d, host, mode, per_min),
            Effect::SaveOriginal(o) => {
                let truth = self.truth.get(&(o.guest, o.knob)).cloned();
                // The admin may have moved it since, unseen as long as the guest hangs.
                let moved = self.admins.contains(&(o.guest, o.knob));
                self.check(moved || truth.as_ref() == Some(&o.value), || {
                    format!("original {o:?} is really {truth:?}")
                });
                self.way_back(o, asked);
                self.originals.insert((o.guest, o.knob), o.clone());
            }
            Effect::ForgetOriginal { guest, knob } => {
                let gone = self.originals.remove(&(*guest, *knob));
                let value = host.guests.get(guest).and_then(|g| g.knobs.get(knob)).cloned();
                let back = match (&gone, &value) {
                    (Some(o), _) if o.pid != host.guests.get(guest).map(|g| g.pid) => true,
                    (Some(o), Some(v)) => o.value == *v || self.admins.contains(&(*guest, *knob)),
                    _ => true,
                };
                self.check(back, || format!("{knob} of {guest} is forgotten at {value:?}, was {gone:?}"));
            }
            Effect::Apply { decision, change } => self.apply(*decision, change, host, mode),
            Effect::SaveOverride(o) => {
                let moved = self.admins.iter().any(|(g, k)| *g == o.guest && k.family() == o.family);
                self.check(moved, || format!("nobody moved {} of {}", o.family, o.guest_name));
                self.overrides.insert((o.guest, o.family), o.clone());
            }
            Effect::ForgetOverride { guest, family } => {
                let known = self.overrides.remove(&(*guest, *family)).is_some();
                self.check(known, || format!("{family} of {guest} was nobody's"));
            }
            Effect::Learn(l) => {
                // An undoing by the admin counts as several failures.
                let sane = l.kept <= l.tried && l.failures <= l.tried + 8 && l.mean_gain.is_finite();
                self.check(sane, || format!("lesson {l:?}"));
            }
            Effect::Note { text, .. } => self.check(!text.is_empty(), || "empty note".to_owned()),
        }
    }

    /// A knob of ours that is to go back of a sudden: by whose wish?
    fn way_back(&mut self, o: &Original, asked: Asked) {
        let was = self.originals.get(&(o.guest, o.knob)).and_then(|o| o.back_to.clone());
        let Some(to) = o.back_to.as_ref().filter(|&to| Some(to) != was.as_ref()) else { return };
        // Also one whose trial was open when the daemon died.
        let mut open =
            self.decisions.values().filter(|d| d.verdict == Verdict::Pending).flat_map(|d| &d.changes);
        let closes = open.any(|c| (c.guest, c.knob, &c.from) == (o.guest, o.knob, to));
        let lost = asked.cause == Cause::Cpus && *to == o.value;
        self.check(asked.free || asked.cause == Cause::Command || closes || lost, || {
            format!(
                "{} of {} is turned back to {to} of Trimtab's own accord, not in enforce",
                o.knob, o.guest_name
            )
        });
    }

    fn record(&mut self, d: &Decision, host: &Host, mode: Mode, per_min: u32) {
        self.check(!d.why.is_empty() && d.expected.is_finite(), || format!("no reason: {d:?}"));
        self.check(!d.changes.is_empty(), || format!("nothing to do: {d:?}"));
        self.check(d.changes.iter().all(|c| c.knob.family() == d.knob), || format!("mixed families: {d:?}"));
        self.check(d.changes.iter().all(|c| c.from != c.to), || format!("empty change: {d:?}"));
        let open = d.verdict == Verdict::Pending;
        self.check(open != d.closed.is_some() && open == d.outcome.is_empty(), || {
            format!("half closed: {d:?}")
        });
        if !self.decisions.contains_key(&d.id) {
            self.check(d.id > self.highest, || format!("number {} used again", d.id));
            self.highest = self.highest.max(d.id);
            let pids =
                d.changes.iter().filter_map(|c| Some(((d.id, c.guest), host.guests.get(&c.guest)?.pid)));
            self.pids.extend(pids);
            self.check(mode != Mode::Observe, || "decided in observe".to_owned());
            self.check((mode == Mode::Advise) == (d.verdict == Verdict::Advised), || {
                format!("{mode:?}: {d:?}")
            });
            let others = self.decisions.values().filter(|o| o.verdict == Verdict::Pending).count();
            self.check(others == 0, || format!("decision {} while another is open", d.id));
            self.decided_ns.push(host.now_ns);
            let recent = self.decided_ns.iter().filter(|&&t| host.now_ns - t < 60_000_000_000).count();
            self.check(recent <= per_min as usize, || format!("{recent} decisions within a minute"));
            self.check_floor(d);
        }
        if d.verdict == Verdict::Reverted && !d.outcome.contains("as soon as") {
            for c in &d.changes {
                let is = host.guests.get(&c.guest).and_then(|g| g.knobs.get(&c.knob));
                let truth = self.truth.get(&(c.guest, c.knob));
                // CPUs that are away cannot be set; they come back when they come back.
                let here = |v: &KnobValue| match v {
                    KnobValue::Cpus(set) => KnobValue::Cpus(set.and(&host.topology.cpu_set())),
                    other => other.clone(),
                };
                let undone = is.is_none_or(|v| here(v) == here(&c.from) || Some(here(v)) == truth.map(here));
                let restarted = self.pids.get(&(d.id, c.guest)) != host.guests.get(&c.guest).map(|g| &g.pid);
                let undone = undone || restarted || self.admins.contains(&(c.guest, c.knob));
                let later = self.decisions.values().any(|o| o.id > d.id && o.verdict == Verdict::Kept);
                self.check(undone || later, || {
                    format!("{} of {} is {is:?} after {}", c.knob, c.guest_name, d.outcome)
                });
            }
        }
        self.decisions.insert(d.id, d.clone());
    }

    fn check_floor(&mut self, d: &Decision) {
        let says = d.why.split("closest to its floor is ").nth(1);
        self.check(says.is_some(), || format!("no word on the floor: {}", d.why));
    }

    fn apply(
        &mut self,
        decision: Option<DecisionId>,
        c: &trimtab_policy::decision::Change,
        host: &Host,
        mode: Mode,
    ) {
        let Some(g) = host.guests.get(&c.guest) else {
            self.violations.push(format!("{} is not here", c.guest_name));
            return;
        };
        let original = self.originals.get(&(c.guest, c.knob)).cloned();
        self.check(original.is_some(), || format!("{} of {} without a stored original", c.knob, g.name));
        let forward = decision.is_some_and(|id| {
            self.decisions.get(&id).is_some_and(|d| d.verdict == Verdict::Pending && d.changes.contains(c))
        });
        let announced = original.as_ref().is_some_and(|o| o.back_to.is_some());
        self.check(forward || announced, || format!("a way back that was not stored: {c:?}"));
        // A way back may not know yet what the admin set while the guest hung: the actuator, which looks, then leaves it.
        let overwrites = g.knobs.get(&c.knob) == Some(&c.from) && c.from != c.to;
        self.check(!(overwrites && self.admins.contains(&(c.guest, c.knob))), || {
            format!("{} of {} is the admin's", c.knob, g.name)
        });
        self.check(!g.unresponsive && !g.job_active, || format!("{} cannot be reached", g.name));
        if forward {
            self.check(mode == Mode::Enforce, || format!("turned in {mode:?}"));
            self.check(original.is_some_and(|o| o.ours == c.to), || {
                format!("original not announced for {c:?}")
            });
            self.check(!g.meta.excluded && g.state == GuestState::Running, || {
                format!("{} is off limits", g.name)
            });
            let family = c.knob.family();
            self.check(!g.meta.excluded_knobs.contains(&family), || {
                format!("{family} of {} is off limits", g.name)
            });
            let is = g.knobs.get(&c.knob).cloned();
            self.check(is.as_ref() == Some(&c.from), || format!("{c:?} starts from {is:?}"));
        }
        let valid = match (&c.to, host.domain) {
            // An original may name CPUs that are away: the kernel takes the part that is there.
            (KnobValue::Cpus(_), _) if self.truth.get(&(c.guest, c.knob)) == Some(&c.to) => true,
            (KnobValue::Cpus(set), _) => !set.is_empty() && set.minus(&host.topology.cpu_set()).is_empty(),
            (KnobValue::Shares(s), PriorityDomain::CgroupV1) => (2..=262_144).contains(s),
            (KnobValue::Shares(s), PriorityDomain::CgroupV2) => (2..=10_000).contains(s),
            (KnobValue::Nice(n), PriorityDomain::Nice) => (0..=19).contains(n),
            _ => false,
        };
        self.check(valid, || format!("value out of range: {c:?}"));
    }
}
