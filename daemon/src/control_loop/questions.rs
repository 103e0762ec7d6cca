//! Questions about single guests that wait for room: whoever waits for a call slot would seem not to answer.
//!
//! First come first served, one question a turn, so that a crowd is asked in time that grows with the crowd and no guest keeps
//! another waiting. May not: know what a question means.

use super::Work;
use super::guests::{Ask, Tracked};
use std::collections::{BTreeMap, VecDeque};
use trimtab_policy::units::GuestId;

/// See the module.
#[derive(Debug)]
pub(super) struct Questions {
    limit: usize,
    /// Questions that are out, also of guests that are gone meanwhile.
    out: usize,
    /// Guests that want something that is not out already.
    line: VecDeque<GuestId>,
}

impl Questions {
    /// At most `limit` are out at once.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, out: 0, line: VecDeque::new() }
    }

    /// A guest wants to be asked; or, without `asks`, may want it.
    pub(super) fn want(&mut self, id: GuestId, guest: &mut Tracked, asks: impl IntoIterator<Item = Ask>) {
        guest.wanted.extend(asks);
        if !guest.in_line && guest.next_ask().is_some() {
            guest.in_line = true;
            self.line.push_back(id);
        }
    }

    /// One answer came; its guest may be gone.
    pub(super) fn answered(&mut self, id: GuestId, guest: Option<&mut Tracked>) {
        self.out = self.out.saturating_sub(1);
        if let Some(guest) = guest {
            self.want(id, guest, []);
        }
    }

    /// Asks as much as there is room for.
    pub(super) fn ask(&mut self, guests: &mut BTreeMap<GuestId, Tracked>, work: &mut Vec<Work>) {
        while self.out < self.limit {
            let Some(id) = self.line.pop_front() else { return };
            let Some(guest) = guests.get_mut(&id) else { continue };
            guest.in_line = false;
            let Some(ask) = guest.next_ask() else { continue };
            guest.wanted.remove(&ask);
            guest.asked.insert(ask);
            self.out += 1;
            work.push(Work::AskGuest(id, guest.name.clone(), ask));
            self.want(id, guest, []);
        }
    }
}
