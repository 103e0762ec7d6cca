//! What an admin can ask for. Every command answers with one line per knob that it will turn. May not: wait.

use super::Engine;
use crate::config::{ConfigError, PolicyConfig};
use crate::decision::{Change, Decision, DecisionId, Effect, Mode, Verdict};
use crate::units::{GuestId, MonoNs, UnixMs};

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Another mode. Leaving `enforce` reverts the open trial; what was kept stays until `restore`.
    SetMode(Mode),
    /// Stop deciding; the open trial is reverted.
    Pause,
    /// Decide again.
    Resume,
    /// Undo this decision, as the journal has it.
    Revert(Box<Decision>),
    /// Every knob of one guest, or of all, back to its original; what the admin took over is handed back to Trimtab.
    Restore(Option<GuestId>),
    /// Another configuration. Its mode takes effect too.
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
        let lines = match command {
            Command::SetMode(mode) => self.set_mode(mode),
            Command::Pause => {
                self.paused = true;
                self.close_trial("paused by command", None);
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
                let mode = config.mode;
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
        self.close_trial("trimtabd is stopping", None);
        self.pump();
        std::mem::take(&mut self.effects)
    }

    fn set_mode(&mut self, mode: Mode) -> Vec<String> {
        self.mode = mode;
        self.config.mode = mode;
        if mode != Mode::Enforce {
            self.close_trial("the mode is not enforce any more", None);
        }
        vec![format!("mode is {}", format!("{mode:?}").to_lowercase())]
    }

    fn revert(&mut self, decision: &Decision) -> Result<Vec<String>, CommandError> {
        let id = decision.id;
        if self.trial.as_ref().is_some_and(|t| t.decision.id == id) {
            let lines = decision.changes.iter().rev().map(|c| line(c, &c.to, &c.from)).collect();
            self.rest_guests(decision.changes.iter().map(|c| c.guest));
            self.close_trial("by command", Some(true));
            return Ok(lines);
        }
        if decision.verdict != Verdict::Kept {
            let what = format!("{:?}", decision.verdict).to_lowercase();
            return Err(CommandError::NotInForce(id, what));
        }
        let mut lines = Vec::new();
        let mut any = false;
        for c in decision.changes.iter().rev() {
            let ours = self.ledger.held(c.guest, c.knob).map(|o| o.ours.clone());
            if ours.as_ref() == Some(&c.to) {
                any = true;
                lines.push(line(c, &c.to, &c.from));
                self.put_back(Some(id), c.guest, c.knob, c.from.clone());
            } else {
                let is = ours
                    .map_or_else(|| "not Trimtab's any more".to_owned(), |v| format!("turned again, to {v}"));
                lines.push(format!("{} of {}: left, {is}", c.knob, c.guest_name));
            }
        }
        if !any {
            return Err(CommandError::NotInForce(id, lines.join("; ")));
        }
        self.watch = None;
        self.close_trial("an earlier decision was reverted by command", None);
        self.rest_guests(decision.changes.iter().map(|c| c.guest));
        let mut reverted = decision.clone();
        reverted.verdict = Verdict::Reverted;
        reverted.outcome = format!("reverted by command; before that, {}", decision.outcome);
        self.reverting.push(reverted);
        self.finish_closing();
        Ok(lines)
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
        let handed_back = self.ledger.take_back(guest);
        if handed_back > 0 {
            lines
                .push(format!("{handed_back} knob families that were left to the admin are Trimtab's again"));
        }
        let guests: Vec<GuestId> = self.guests.keys().copied().filter(|&id| wanted(id)).collect();
        self.rest_guests(guests);
        if lines.is_empty() {
            lines.push("nothing to restore: every knob is as it was before Trimtab".to_owned());
        }
        Ok(lines)
    }

    fn rest_guests(&mut self, guests: impl IntoIterator<Item = GuestId>) {
        let until =
            MonoNs(self.now.0.saturating_add(self.config.arbiter.after_command_ms.saturating_mul(1_000_000)));
        self.resting.extend(guests.into_iter().map(|g| (g, until)));
    }
}

fn line(c: &Change, from: &crate::knob::KnobValue, to: &crate::knob::KnobValue) -> String {
    format!("{} of {}: {from} -> {to}", c.knob, c.guest_name)
}
