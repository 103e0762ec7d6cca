//! Questions about single guests that wait for room: whoever waits for a call slot would seem not to answer.
//!
//! First come first served, one question a turn, so that a crowd is asked in time that grows with the crowd and no guest keeps
//! another waiting. What is out is remembered also when its guest is gone or has another process: the answer still takes a place
//! until it comes, and is then about nobody. May not: know what a question means.

use super::Work;
use super::guests::{Ask, Tracked};
use std::collections::{BTreeMap, VecDeque};
use trimtab_policy::units::GuestId;

/// Whether the process that a question is about has ended.
type Ended = bool;

/// See the module.
#[derive(Debug)]
pub(super) struct Questions {
    limit: usize,
    /// Questions that are out, each once at a time, and whether their guests have ended since.
    out: BTreeMap<(GuestId, Ask), Ended>,
    /// Guests that want something that is not out already.
    line: VecDeque<GuestId>,
}

impl Questions {
    /// At most `limit` are out at once.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, out: BTreeMap::new(), line: VecDeque::new() }
    }

    /// A guest wants to be asked; or, without `asks`, may want it.
    pub(super) fn want(&mut self, id: GuestId, guest: &mut Tracked, asks: impl IntoIterator<Item = Ask>) {
        guest.wanted.extend(asks);
        if !guest.in_line && self.next(id, guest).is_some() {
            guest.in_line = true;
            self.line.push_back(id);
        }
    }

    /// The next question to ask. One that is out already has to come back first: what it will say may be older than what made
    /// us ask again.
    fn next(&self, id: GuestId, guest: &Tracked) -> Option<Ask> {
        guest.wanted.iter().find(|ask| !self.out.contains_key(&(id, **ask))).copied()
    }

    /// One answer came. True if it is about the guest as it is now.
    pub(super) fn answered(&mut self, id: GuestId, ask: Ask) -> bool {
        self.out.remove(&(id, ask)) != Some(true)
    }

    /// The guest's process is gone: what is out about it is about no other.
    pub(super) fn ended(&mut self, id: GuestId) {
        let of_guest = (id, Ask::Knobs)..=(id, Ask::Job);
        self.out.range_mut(of_guest).for_each(|(_, ended)| *ended = true);
    }

    /// Asks as much as there is room for.
    pub(super) fn ask(&mut self, guests: &mut BTreeMap<GuestId, Tracked>, work: &mut Vec<Work>) {
        while self.out.len() < self.limit {
            let Some(id) = self.line.pop_front() else { return };
            let Some(guest) = guests.get_mut(&id) else { continue };
            guest.in_line = false;
            let Some(ask) = self.next(id, guest) else { continue };
            guest.wanted.remove(&ask);
            self.out.insert((id, ask), false);
            work.push(Work::AskGuest(id, guest.name.clone(), ask));
            self.want(id, guest, []);
        }
    }
}
