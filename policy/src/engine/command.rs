//! What an admin can ask for. Every command answers with one line per knob that it will turn. May not: wait.

use super::Engine;
use super::trials::Phase;
use crate::config::{ConfigError, PolicyConfig};
use crate::decision::{Change, Decision, DecisionId, Effect, Mode, Verdict};
use crate::knob::{Knob, KnobValue};
use crate::units::{GuestId, MonoNs, UnixMs};

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Another mode. Leaving `enforce` reverts the open trial; what was kept stays until `restore`, and is not watched any more.
    SetMode(Mode),
    /// Stop deciding; the open trial is reverted, and what was kept stays, as above.
    Pause,
    /// Decide again.
    Resume,
    /// Undo this decision, as the journal has it.
    Revert(Box<Decision>),
    /// Every knob of one guest, or of all, back to its original; what the admin took over is handed back to Trimtab.
    Restore(Option<GuestId>),
    /// Another configuration. Its mode takes effect only if it is another one than the last configuration had: a mode that was
    /// set by command outlives changes elsewhere.
    Reconfigure(Box<PolicyConfig>),
}

/// What a command set going.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// One line per knob or fact.
    pub lines: Vec<String>,
}

/// Why a command was not carried out. Nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CommandError {
    /// There is no such guest.
    #[error("no guest {0} is known")]
    NoGuest(GuestId),
    /// The decision is not in force.
    #[error("decision {0} is not in force: {1}")]
    NotInForce(DecisionId, String),
    /// The configuration has bad values; the old one stays.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    BadConfig(Vec<ConfigError>),
}

impl Engine {
    /// Carries a command out. `now` and `wall` are the present.
    ///
    /// # Errors
    /// See `CommandError`; nothing was changed then.
    pub fn command(
        &mut self,
        now: MonoNs,
        wall: UnixMs,
        command: Command,
    ) -> Result<(Vec<Effect>, Answer), CommandError> {
        self.now = self.now.max(now);
        self.wall = wall;
        self.take_over();
        let lines = match command {
            Command::SetMode(mode) => self.set_mode(mode),
            Command::Pause => {
                self.paused = true;
                self.rest_hands("paused by command");
                vec!["control is paused".to_owned()]
            }
            Command::Resume => {
                self.paused = false;
                vec!["control is resumed".to_owned()]
            }
            Command::Revert(decision) => self.revert(&decision)?,
            Command::Restore(guest) => self.restore(guest)?,
            Command::Reconfigure(config) => {
                config.validate().map_err(CommandError::BadConfig)?;
                let was = std::mem::replace(&mut self.configured_mode, config.mode);
                let mode = if config.mode == was { self.mode } else { config.mode };
                self.config = *config;
                self.set_mode(mode)
            }
        };
        self.pump();
        Ok((std::mem::take(&mut self.effects), Answer { lines }))
    }

    /// Prepares the end of the daemon: no further decision, the open trial is undone, what was kept stays. Call `applied` as
    /// usual until `is_busy` is false or the daemon's patience ends; what is left then is found by the next start.
    pub fn stop(&mut self, now: MonoNs, wall: UnixMs) -> Vec<Effect> {
        self.now = self.now.max(now);
        self.wall = wall;
        self.paused = true;
        self.rest_hands("trimtabd is stopping");
        self.pump();
        std::mem::take(&mut self.effects)
    }

    fn set_mode(&mut self, mode: Mode) -> Vec<String> {
        self.mode = mode;
        self.config.mode = mode;
        if mode != Mode::Enforce {
            self.rest_hands("the mode is not enforce any more");
        }
        vec![format!("mode is {}", format!("{mode:?}").to_lowercase())]
    }

    /// From here on nothing is turned of our own accord, neither forward nor back, but what was begun is undone.
    fn rest_hands(&mut self, why: &str) {
        self.watch = None;
        self.close_trial(why, None);
    }

    fn revert(&mut self, decision: &Decision) -> Result<Vec<String>, CommandError> {
        let id = decision.id;
        if self.trial.as_ref().is_some_and(|t| t.decision.id == id) {
            let lines = decision.changes.iter().rev().map(|c| line(c, &c.to, &c.from)).collect();
            self.rest_guests(decision.changes.iter().map(|c| c.guest));
            if let Some(open) = self.trial.as_ref().map(|t| t.decision.clone()) {
                self.veto(&open);
            }
            self.close_trial("by command", None);
            return Ok(lines);
        }
        if decision.verdict != Verdict::Kept {
            let what = format!("{:?}", decision.verdict).to_lowercase();
            return Err(CommandError::NotInForce(id, what));
        }
        let mut lines = Vec::new();
        let mut in_force = Vec::new();
        for c in decision.changes.iter().rev() {
            let value = self.value_without_trial(c.guest, c.knob);
            if value.as_ref() == Some(&c.to) {
                in_force.push(c);
                lines.push(line(c, &c.to, &c.from));
            } else {
                let is = value
                    .map_or_else(|| "not Trimtab's any more".to_owned(), |v| format!("turned again, to {v}"));
                lines.push(format!("{} of {}: left, {is}", c.knob, c.guest_name));
            }
        }
        if in_force.is_empty() {
            return Err(CommandError::NotInForce(id, lines.join("; ")));
        }
        self.watch = None;
        // First the trial on top, whose knobs go back to what this decision set; ours then takes the place of that.
        self.close_trial("an earlier decision was reverted by command", None);
        for c in in_force {
            self.put_back(Some(id), c.guest, c.knob, c.from.clone());
        }
        self.rest_guests(decision.changes.iter().map(|c| c.guest));
        self.undo_kept(decision.clone(), "reverted");
        self.finish_closing();
        Ok(lines)
    }

    /// What a held knob will be when the open trial, if any, is undone and everything is back that is on its way back.
    fn value_without_trial(&self, guest: GuestId, knob: Knob) -> Option<KnobValue> {
        let held = self.ledger.held(guest, knob)?;
        let trial = self.trial.iter().filter(|t| t.phase != Phase::Closing);
        let turned = trial.flat_map(|t| &t.decision.changes).find(|c| c.guest == guest && c.knob == knob);
        let value = turned.map(|c| &c.from).or_else(|| self.hands.goal(guest, knob));
        Some(value.unwrap_or(&held.ours).clone())
    }

    fn restore(&mut self, guest: Option<GuestId>) -> Result<Vec<String>, CommandError> {
        if let Some(id) = guest.filter(|id| !self.guests.contains_key(id)) {
            return Err(CommandError::NoGuest(id));
        }
        self.watch = None;
        self.close_trial("restored by command", None);
        let wanted = |id: GuestId| guest.is_none_or(|g| g == id);
        let held: Vec<_> = self.ledger.originals().filter(|o| wanted(o.guest)).cloned().collect();
        let mut lines = Vec::new();
        for original in held {
            if let Some(change) = self.put_back(None, original.guest, original.knob, original.value.clone()) {
                lines.push(line(&change, &change.from, &change.to));
            }
        }
        self.undo_all_kept(&wanted);
        let handed_back = self.ledger.take_back(guest);
        if !handed_back.is_empty() {
            lines.push(match handed_back.len() {
                1 => "1 knob family that was left to the admin is Trimtab's again".to_owned(),
                n => format!("{n} knob families that were left to the admin are Trimtab's again"),
            });
        }
        self.effects.extend(handed_back);
        let guests: Vec<GuestId> = self.guests.keys().copied().filter(|&id| wanted(id)).collect();
        self.rest_guests(guests);
        self.finish_closing();
        if lines.is_empty() {
            lines.push("nothing to restore: every knob is as it was before Trimtab".to_owned());
        }
        Ok(lines)
    }

    /// Closes every kept decision of which no knob stays turned, and notes at the others what was restored of them.
    fn undo_all_kept(&mut self, wanted: &impl Fn(GuestId) -> bool) {
        for (id, mut decision) in std::mem::take(&mut self.kept) {
            let held = |c: &&Change| self.ledger.held(c.guest, c.knob).is_some();
            let (restored, left): (Vec<_>, Vec<_>) =
                decision.changes.iter().filter(held).partition(|c| wanted(c.guest));
            match (restored.first(), left.is_empty()) {
                (None, true) => {} // Not ours any more: the guest is gone, or the admin took over.
                (Some(_), true) => self.undo_kept(decision, "reverted: restored"),
                (None, false) => drop(self.kept.insert(id, decision)),
                (Some(some), false) => {
                    let what = format!("; the knobs of {} were restored by command", some.guest_name);
                    if !decision.outcome.contains(&what) {
                        decision.outcome.push_str(&what);
                        self.effects.push(Effect::Record(decision.clone()));
                    }
                    self.kept.insert(id, decision);
                }
            }
        }
    }

    fn rest_guests(&mut self, guests: impl IntoIterator<Item = GuestId>) {
        let until =
            MonoNs(self.now.0.saturating_add(self.config.arbiter.after_command_ms.saturating_mul(1_000_000)));
        self.resting.extend(guests.into_iter().map(|g| (g, until)));
    }
}

fn line(c: &Change, from: &KnobValue, to: &KnobValue) -> String {
    format!("{} of {}: {from} -> {to}", c.knob, c.guest_name)
}
