//! Restore and revert: the asker is answered when the knobs that it asked for are back, or told which are not.
//!
//! Only its own knobs count: one guest that hangs keeps nobody waiting who asks for another. May not: put anything back itself.

use super::{ControlLoop, Work, view};
use crate::handle::{Reply, RequestError};
use std::collections::{BTreeMap, BTreeSet};
use trimtab_policy::decision::Original;
use trimtab_policy::engine::Command;
use trimtab_policy::knob::Knob;
use trimtab_policy::units::{GuestId, MonoNs, UnixMs};

/// An asker waits so long for the next of its knobs to come back: a guest that answers gives one in far less.
const PATIENCE_S: f64 = 10.0;
/// And so long in all, though they come back one after the other: below the limit of the D-Bus side, which could not name them.
const LONGEST_S: f64 = 50.0;

/// One who waits.
#[derive(Debug)]
pub(super) struct Asker {
    since: MonoNs,
    /// When one of the knobs came back last.
    progress: MonoNs,
    /// How many were to come back.
    count: usize,
    /// Those that have not.
    left: BTreeSet<(GuestId, Knob)>,
    lines: Vec<String>,
    reply: Reply<Vec<String>>,
}

impl ControlLoop {
    /// Carries out what puts knobs back; the answer follows when they are back.
    pub(super) fn undo(
        &mut self,
        now: MonoNs,
        wall: UnixMs,
        command: &Command,
        reply: Reply<Vec<String>>,
        work: &mut Vec<Work>,
    ) {
        match self.engine.command(now, wall, command.clone()) {
            Ok((effects, answer)) => {
                self.perform(wall, effects, work);
                let mine = self.engine.originals().filter(|o| o.back_to.is_some() && concerns(command, o));
                let left: BTreeSet<_> = mine.map(|o| (o.guest, o.knob)).collect();
                let (count, lines) = (left.len(), answer.lines);
                self.undone.push(Asker { since: now, progress: now, count, left, lines, reply });
                self.answer_undone(now);
            }
            // The asker may have given up.
            Err(error) => drop(reply.send(Err(error.into()))),
        }
    }

    /// Answers those whose knobs are back, and those whose patience is over.
    pub(super) fn answer_undone(&mut self, now: MonoNs) {
        for mut asker in std::mem::take(&mut self.undone) {
            let before = asker.left.len();
            asker.left.retain(|&(guest, knob)| self.goes_back(guest, knob));
            if asker.left.len() < before {
                asker.progress = now;
            }
            let waits =
                now.secs_since(asker.progress) <= PATIENCE_S && now.secs_since(asker.since) <= LONGEST_S;
            let answer = match asker.left.is_empty() {
                true => Ok(asker.lines),
                false if waits => {
                    self.undone.push(asker);
                    continue;
                }
                false => Err(RequestError::Unfinished(self.what_is_left(&asker))),
            };
            // The asker may have given up.
            let _ = asker.reply.send(answer);
        }
    }

    fn goes_back(&self, guest: GuestId, knob: Knob) -> bool {
        self.engine.originals_of(guest).any(|o| o.knob == knob && o.back_to.is_some())
    }

    /// `2 of 5 knobs are not back yet ...: cpu.shares, vcpu0.affinity of db1 (does not answer)`.
    fn what_is_left(&self, asker: &Asker) -> String {
        let mut by_guest: BTreeMap<GuestId, Vec<String>> = BTreeMap::new();
        for (guest, knob) in &asker.left {
            by_guest.entry(*guest).or_default().push(knob.to_string());
        }
        let of_guest = |(id, knobs): (GuestId, Vec<String>)| {
            let stored = self.engine.originals_of(id).next().map(|o| o.guest_name.clone());
            let name = self.guests.get(&id).map(|guest| guest.name.clone()).or(stored);
            format!("{} of {} ({})", knobs.join(", "), name.unwrap_or_default(), self.obstacle(id))
        };
        let knobs: Vec<String> = by_guest.into_iter().map(of_guest).collect();
        let (left, count) = (asker.left.len(), asker.count);
        format!("{left} of {count} knobs are not back yet; trimtabd goes on trying: {}", knobs.join("; "))
    }

    /// What keeps the knobs of a guest from going back, as far as it can be seen from here.
    fn obstacle(&self, id: GuestId) -> &'static str {
        match self.guests.get(&id) {
            _ if self.libvirt != view::CONNECTED => "libvirt is away",
            None => "libvirt does not list it",
            Some(guest) if guest.unresponsive => "does not answer",
            Some(guest) if guest.job_active => "a libvirt job is active",
            Some(_) => "under way, or refused by libvirt: see the log",
        }
    }
}

/// Whether the knob is one that the command puts back.
fn concerns(command: &Command, held: &Original) -> bool {
    match command {
        Command::Revert(decision) => {
            decision.changes.iter().any(|c| (c.guest, c.knob) == (held.guest, held.knob))
        }
        Command::Restore(guest) => guest.is_none_or(|guest| guest == held.guest),
        _ => false,
    }
}
