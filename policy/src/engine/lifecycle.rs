//! Guests, knobs and CPUs that come, go and move under us. May not: decide what to try.

use super::trials::OpenTrial;
use super::{Engine, Known, SILENT};
use crate::decision::{Change, DecisionId, Effect, Override};
use crate::knob::{Family, Knob, KnobValue};
use crate::ledger::Moved;
use crate::sample::{GuestSample, Sample};
use crate::units::{GuestId, MonoNs};
use std::sync::Arc;

/// A guest missing for so long is gone; before that, its absence may be a hiccup of libvirt, and with the same pid it is
/// the same process with the same knobs.
const GONE_AFTER_MS: u64 = 10_000;
/// A guest that fell silent for so long ends its trial. Before that it may just be busy: where burners crowd the CPU that qemu's
/// monitor runs on, healthy guests were seen to miss their time-outs for two or three samples.
const SILENT_MAX_MS: u64 = 5_000;

impl Engine {
    /// What of a value can be set while some CPUs are away.
    pub(super) fn reachable(&self, value: KnobValue) -> KnobValue {
        match value {
            // Only what is there, also of CPUs that went while nobody looked. A set of which none went stays as it is: it may
            // name CPUs that this host never had.
            KnobValue::Cpus(set) if !set.and(&self.vanished).is_empty() => {
                let left = set.and(&self.topology.cpu_set());
                KnobValue::Cpus(if left.is_empty() { self.topology.cpu_set() } else { left })
            }
            other => other,
        }
    }

    /// CPUs went or came: pins that name vanished CPUs go back to what is left of their originals.
    pub(super) fn see_topology(&mut self, sample: &Sample) {
        if *sample.host.topology == *self.topology {
            return;
        }
        let first = self.topology.cpus.is_empty();
        let new = sample.host.topology.cpu_set();
        // At the start: those that our own pins name were usable when we set them.
        let old = if first { self.ledger.pinned_to().or(&new) } else { self.topology.cpu_set() };
        self.topology = Arc::clone(&sample.host.topology);
        if first && old == new {
            return;
        }
        let before = self.vanished.clone();
        self.vanished = self.vanished.or(&old).minus(&new);
        self.stable_since = self.stable_since.max(self.now);
        self.busy.retain(|&cpu, _| new.contains(cpu));
        self.note(None, format!("usable CPUs changed from {old} to {new}"));
        self.close_trial(&format!("usable CPUs changed from {old} to {new}"), None);
        let stale: Vec<(GuestId, Knob, KnobValue)> = self
            .ledger
            .originals()
            .filter_map(|o| {
                let will_be = o.back_to.as_ref().unwrap_or(&o.ours);
                let (KnobValue::Cpus(will_be), KnobValue::Cpus(original)) = (will_be, &o.value) else {
                    return None;
                };
                let lost = !will_be.and(&self.vanished).is_empty();
                let partly_back = !original.and(&before).is_empty() && *will_be == original.and(&old);
                (lost || partly_back).then(|| (o.guest, o.knob, o.value.clone()))
            })
            .collect();
        for (guest, knob, original) in stale {
            if self.ledger.handed_over(guest, knob.family()).is_none() {
                self.put_back(None, guest, knob, original);
            }
        }
    }

    /// Guests that appeared, restarted, were renamed or are gone.
    pub(super) fn see_guests(&mut self, sample: &Sample) {
        let mut remembered: Vec<GuestId> = self.ledger.remembered().map(|(id, _)| id).collect();
        // One after the other in the ledger, and there may be a hundred knobs to a guest.
        remembered.dedup();
        for id in remembered {
            let now = self.now;
            self.guests.entry(id).or_insert_with(|| Known::absent(now));
        }
        for (&id, guest) in &sample.guests {
            self.see_guest(id, guest);
        }
        let absent: Vec<GuestId> =
            self.guests.keys().filter(|id| !sample.guests.contains_key(id)).copied().collect();
        for id in absent {
            self.miss_guest(id);
        }
        self.resting.retain(|_, until| *until > self.now);
    }

    fn see_guest(&mut self, id: GuestId, guest: &GuestSample) {
        let silent = self.guests.get(&id).and_then(|known| known.silent_since);
        let new = Known {
            name: guest.name.clone(),
            pid: guest.pid,
            vcpus: guest.vcpus,
            state: guest.state,
            meta: Arc::clone(&guest.meta),
            job_active: guest.job_active,
            silent_since: guest.unresponsive.then(|| silent.unwrap_or(self.now)),
            seen_at: self.now,
            present: true,
        };
        let old = self.guests.insert(id, new);
        // The pid that our books are about, which for a guest first seen since our own start is in the store.
        let was = old.as_ref().and_then(|o| o.pid).or_else(|| self.ledger.remembered_pid(id));
        let was_aside = old.as_ref().is_some_and(|o| o.set_aside().is_some());
        if was.is_some() && guest.pid.is_some() && was != guest.pid {
            self.note(Some(id), format!("{} was restarted: its knobs are libvirt's again", guest.name));
            self.lose_guest(id, &format!("{} was restarted", guest.name));
        } else if let Some(old) = old.filter(|o| !o.name.is_empty() && o.name != guest.name) {
            self.note(Some(id), format!("{} is called {} now", old.name, guest.name));
        }
        if let Some(why) = self.ends_trial(id, was_aside) {
            self.close_trial(&format!("{} is to be left alone: {why}", guest.name), None);
        }
    }

    /// Why the open trial cannot go on with this guest, if so. One that was left alone from the start is only watched, which may
    /// go on.
    fn ends_trial(&self, id: GuestId, was_aside: bool) -> Option<&'static str> {
        let known = self.guests.get(&id)?;
        let trial = self.trial.as_ref().filter(|t| t.concerns(id))?;
        if let Some(why) = known.set_aside() {
            return (!was_aside).then_some(why);
        }
        let since = known.silent_since.filter(|&since| since >= trial.opened)?;
        (self.now.since(since) >= SILENT_MAX_MS * 1_000_000).then_some(SILENT)
    }

    /// Whether a guest fell silent during this trial, so that what it does or does not do may be a hang's doing.
    pub(super) fn awaits_answer(&self, trial: &OpenTrial) -> bool {
        self.fell_silent(trial.opened, |id| trial.concerns(id))
    }

    /// Whether any of these guests has been silent from some time after `begin` until now.
    pub(super) fn fell_silent(&self, begin: MonoNs, concerns: impl Fn(GuestId) -> bool) -> bool {
        let silent = |known: &Known| known.silent_since.is_some_and(|since| since >= begin);
        self.guests.iter().any(|(&id, known)| silent(known) && concerns(id))
    }

    fn miss_guest(&mut self, id: GuestId) {
        let Some(known) = self.guests.get_mut(&id) else { return };
        let name = known.name.clone();
        if std::mem::replace(&mut known.present, false) && self.is_on_trial(id) {
            self.close_trial(&format!("{name} is gone"), None);
        }
        if self.now.since(self.guests.get(&id).map_or(MonoNs(0), |k| k.seen_at)) >= GONE_AFTER_MS * 1_000_000
        {
            self.guests.remove(&id);
            self.findings.remove(&id);
            self.lose_guest(id, "a guest is gone");
        }
    }

    /// The guest's process is gone, and with it every knob that we turned.
    fn lose_guest(&mut self, id: GuestId, why: &str) {
        self.history.forget(id);
        self.hands.drop_guest(id);
        self.effects.extend(self.ledger.forget(id));
        if self.is_on_trial(id) {
            self.close_trial(why, None);
        }
        self.finish_closing();
    }

    fn is_on_trial(&self, id: GuestId) -> bool {
        self.trial.as_ref().is_some_and(|t| t.concerns(id))
    }

    /// Compares read-backs with what we set: the admin's change wins.
    pub(super) fn see_knobs(&mut self, sample: &Sample) {
        let usable = self.topology.cpu_set();
        for (&id, guest) in &sample.guests {
            let Some(values) = &guest.knobs else { continue };
            let busy = self.hands.reaches_for(id);
            for moved in self.ledger.read_back(id, values, sample.at, &usable, busy) {
                self.yield_to_admin(id, &guest.name, &moved);
            }
            // The trial still has to put back what it turned, also what it turned to the original.
            let on_trial = |f| self.trial.as_ref().is_some_and(|t| t.turns(id, f));
            let idle = values.iter().filter(|(k, _)| !on_trial(k.family()));
            self.effects.extend(self.ledger.release(id, idle));
        }
    }

    pub(super) fn yield_to_admin(&mut self, id: GuestId, name: &str, moved: &Moved) {
        let Moved { knob, expected, found, was_held } = moved;
        let family: Family = knob.family();
        let whose = if *was_held { "Trimtab had set" } else { "it was" };
        let why = format!("{knob} was set to {found} by somebody else ({whose} {expected})");
        let text =
            format!("{name}: {why}; {family} of this guest is left alone until restore or its restart");
        let pid = self.guests.get(&id).and_then(|k| k.pid);
        let it = Override { guest: id, guest_name: name.to_owned(), pid, family, why, time: self.wall };
        self.effects.extend(self.ledger.hand_over(it));
        self.hands.drop_knob(id, *knob);
        if *was_held {
            self.effects.push(Effect::ForgetOriginal { guest: id, knob: *knob });
        }
        self.note(Some(id), text);
        if self.trial.as_ref().is_some_and(|t| t.turns(id, family)) {
            let found = found.clone();
            self.close_trial(&format!("{knob} of {name} was set to {found} by somebody else"), None);
        }
    }

    /// Sends a knob of ours back to a former value, which is stored first, so that also the next daemon would do it.
    pub(super) fn put_back(
        &mut self,
        decision: Option<DecisionId>,
        guest: GuestId,
        knob: Knob,
        to: KnobValue,
    ) -> Option<Change> {
        let held = self.ledger.held(guest, knob)?;
        let change = Change { guest, guest_name: self.name(guest), knob, from: held.ours.clone(), to };
        self.effects.extend(self.ledger.send_back(guest, knob, &change.to));
        self.hands.back(decision, change.clone());
        Some(change)
    }
}

impl Known {
    /// A guest known from the store only.
    fn absent(now: MonoNs) -> Self {
        Self {
            name: String::new(),
            pid: None,
            vcpus: None,
            state: crate::sample::GuestState::Other,
            meta: Arc::default(),
            job_active: false,
            silent_since: None,
            seen_at: now,
            present: false,
        }
    }
}
