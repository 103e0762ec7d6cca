//! Requests from the API: what the engine answers at once, and what is answered when its effects are performed.
//!
//! May not: touch the journal itself; questions to it go out as work.

use super::{ControlLoop, Work};
use crate::handle::{Note, Reply, Request, RequestError};
use crate::libvirt::metadata;
use trimtab_policy::config::PolicyConfig;
use trimtab_policy::decision::{Decision, DecisionId};
use trimtab_policy::engine::{Command, CommandError};
use trimtab_policy::sample::GuestMeta;
use trimtab_policy::units::{GuestId, MonoNs, UnixMs};

/// What is to be asked of the journal, with the channel for its answer.
#[derive(Debug)]
pub enum Question {
    /// Decisions, newest first.
    Decisions {
        /// Only of this guest.
        guest: Option<GuestId>,
        /// At most so many.
        limit: u32,
        /// What to answer if the journal cannot: those of them that the loop has at hand.
        at_hand: Vec<Decision>,
        /// Answer.
        reply: Reply<Vec<Decision>>,
    },
    /// One decision.
    Decision(DecisionId, Reply<Decision>),
    /// Notes, newest first.
    Notes {
        /// Only about this guest.
        guest: Option<GuestId>,
        /// At most so many.
        limit: u32,
        /// Answer.
        reply: Reply<Vec<Note>>,
    },
    /// One decision, to be handed to `on_revert`.
    ToRevert(DecisionId, Reply<Vec<String>>),
}

impl From<CommandError> for RequestError {
    fn from(error: CommandError) -> Self {
        let text = error.to_string();
        match error {
            CommandError::NoGuest(_) => Self::NotFound(text),
            CommandError::NotInForce(..) => Self::Conflict(text),
            CommandError::BadConfig(_) => Self::InvalidArgs(text),
        }
    }
}

impl ControlLoop {
    /// A request of the API.
    pub fn on_request(&mut self, now: MonoNs, wall: UnixMs, request: Request) -> Vec<Work> {
        let mut work = Vec::new();
        match request {
            Request::SetMode(mode, reply) => {
                self.command(now, wall, Command::SetMode(mode), reply, &mut work);
            }
            Request::Pause(reply) => self.command(now, wall, Command::Pause, reply, &mut work),
            Request::Resume(reply) => self.command(now, wall, Command::Resume, reply, &mut work),
            Request::Revert(id, reply) => match self.at_hand(id) {
                Some(decision) => {
                    self.undo(now, wall, &Command::Revert(Box::new(decision)), reply, &mut work);
                }
                None => work.push(Work::AskJournal(Question::ToRevert(id, reply))),
            },
            Request::Restore(guest, reply) => {
                self.undo(now, wall, &Command::Restore(guest), reply, &mut work);
            }
            Request::Decisions { guest, limit, reply } => {
                let wanted = self.decisions.iter().filter(|d| guest.is_none_or(|guest| concerns(d, guest)));
                let at_hand = wanted.take(limit as usize).map(|d| Decision::clone(d)).collect();
                work.push(Work::AskJournal(Question::Decisions { guest, limit, at_hand, reply }));
            }
            // The asker may have given up.
            Request::Decision(id, reply) => match self.at_hand(id) {
                Some(decision) => drop(reply.send(Ok(decision))),
                None => work.push(Work::AskJournal(Question::Decision(id, reply))),
            },
            Request::Notes { guest, limit, reply } => {
                work.push(Work::AskJournal(Question::Notes { guest, limit, reply }));
            }
            Request::CpuUses(reply) => drop(reply.send(Ok(self.engine.cpu_uses()))),
            Request::Reload(reply) => work.push(Work::Reload(reply)),
        }
        self.publish(wall);
        work
    }

    /// One of the newest decisions: no journal is needed for them.
    fn at_hand(&self, id: DecisionId) -> Option<Decision> {
        self.decisions.iter().find(|d| d.id == id).map(|d| Decision::clone(d))
    }

    /// A new configuration that was read and found good.
    pub fn reconfigure(
        &mut self,
        now: MonoNs,
        wall: UnixMs,
        config: PolicyConfig,
        toml: String,
    ) -> Vec<Work> {
        let mut work = Vec::new();
        self.policy_toml = toml;
        match self.engine.command(now, wall, Command::Reconfigure(Box::new(config))) {
            Ok((effects, _)) => self.perform(wall, effects, &mut work),
            Err(error) => tracing::error!(%error, "configuration not taken over"),
        }
        self.publish(wall);
        work
    }

    /// The decision that somebody wants to be reverted, from the journal.
    pub fn on_revert(
        &mut self,
        now: MonoNs,
        wall: UnixMs,
        decision: Result<Decision, RequestError>,
        reply: Reply<Vec<String>>,
    ) -> Vec<Work> {
        let mut work = Vec::new();
        match decision {
            Ok(decision) => self.undo(now, wall, &Command::Revert(Box::new(decision)), reply, &mut work),
            Err(error) => drop(reply.send(Err(error))),
        }
        work
    }

    fn command(
        &mut self,
        now: MonoNs,
        wall: UnixMs,
        command: Command,
        reply: Reply<()>,
        work: &mut Vec<Work>,
    ) {
        let answer = match self.engine.command(now, wall, command) {
            Ok((effects, _)) => {
                self.perform(wall, effects, work);
                Ok(())
            }
            Err(error) => Err(error.into()),
        };
        // The asker may have given up.
        let _ = reply.send(answer);
    }
}

/// Whether the decision is for the guest or turned knobs of it, as the journal has it.
fn concerns(decision: &Decision, guest: GuestId) -> bool {
    decision.guest == guest || decision.changes.iter().any(|change| change.guest == guest)
}

/// The admin's wishes from the metadata element; what could not be read as meant is said.
pub(super) fn meta_of(name: &str, xml: Option<&str>) -> GuestMeta {
    let (meta, problems) = xml.map(|xml| metadata::parse(name, xml)).unwrap_or_default();
    for problem in problems {
        tracing::warn!("{problem}");
    }
    meta
}
