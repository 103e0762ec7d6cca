//! How many calls may be in flight, and which guest is left in peace for a while.
//!
//! libvirt-dbus has a handful of worker threads and no time-outs of its own: a call to a hung qemu keeps its thread until
//! qemu answers or libvirt gives up after 30 s, whether or not anybody still waits. So a slot is given back when the
//! answer comes, not when the caller's patience ends (a call that is still out after its time-out is *stuck*); a guest
//! with a stuck call gets no second one; and the last free slot is kept for calls that cannot get stuck.
//! May not: make calls. Reads tokio's clock, for back-offs only.

use super::LibvirtError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use trimtab_policy::units::GuestId;

/// First back-off of a guest that did not answer: two samples at 1 Hz.
const FIRST_BACKOFF: Duration = Duration::from_secs(2);
/// Longest back-off: a guest that came back is seen within a minute even if no statistics tell.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// Whom a call concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// One guest, whose hang must not concern the others.
    Guest(GuestId),
    /// Statistics of all guests: may get stuck on any of them.
    Bulk,
    /// Something that asks no guest.
    Host,
}

#[derive(Debug, Default)]
struct Guest {
    stuck: usize,
    failures: u32,
    until: Option<Instant>,
    hung: bool,
}

#[derive(Debug, Default)]
struct State {
    guests: BTreeMap<GuestId, Guest>,
    stuck: usize,
    stuck_bulk: usize,
}

/// One call in flight, known to the one who waits for it and to the one who makes it.
#[derive(Debug)]
pub(super) struct Ticket {
    whom: Whom,
    progress: Mutex<Progress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Out,
    Stuck,
    Back,
}

/// Slots and back-offs.
#[derive(Debug)]
pub(super) struct Limits {
    slots: Arc<Semaphore>,
    nudge: Arc<Semaphore>,
    max: usize,
    state: Mutex<State>,
}

impl Limits {
    pub(super) fn new(max_in_flight: usize) -> Self {
        let max = max_in_flight.max(1);
        let semaphore = |slots| Arc::new(Semaphore::new(slots));
        Self { slots: semaphore(max), nudge: semaphore(1), max, state: Mutex::default() }
    }

    /// Whether a call may be made at all now.
    pub(super) fn admit(&self, whom: Whom, name: impl FnOnce() -> String) -> Result<(), LibvirtError> {
        let state = self.lock();
        if state.stuck >= self.max {
            return Err(LibvirtError::Away(format!("none of {} calls has been answered", state.stuck)));
        }
        let Whom::Guest(id) = whom else { return Ok(()) };
        let Some(guest) = state.guests.get(&id) else { return Ok(()) };
        let left =
            guest.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        if left.is_zero() && guest.stuck == 0 && !guest.hung {
            return Ok(());
        }
        let retry_in_ms = left.max(Duration::from_millis(1)).as_millis() as u64;
        Err(LibvirtError::BackedOff { whom: name(), retry_in_ms })
    }

    /// Whether no call gets through any more.
    pub(super) fn all_stuck(&self) -> bool {
        self.lock().stuck >= self.max
    }

    /// A slot, waited for.
    pub(super) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        self.slots.clone().acquire_owned().await.ok()
    }

    /// A slot for a nudge: a free one, or the one kept for nudges, which keep it for some milliseconds.
    pub(super) fn nudge_slot(&self) -> Option<OwnedSemaphorePermit> {
        let free = |slots: &Arc<Semaphore>| slots.clone().try_acquire_owned().ok();
        free(&self.slots).or_else(|| free(&self.nudge))
    }

    /// Whether the bulk statistics may ask monitors: not when getting stuck would take the last slot.
    pub(super) fn bulk_may_ask_monitors(&self) -> bool {
        self.lock().stuck + 1 < self.max.max(2)
    }

    /// Whether some bulk call is stuck, so that a guest whose part is missing is hung and not just busy.
    pub(super) fn bulk_is_stuck(&self) -> bool {
        self.lock().stuck_bulk > 0
    }

    pub(super) fn ticket(whom: Whom) -> Arc<Ticket> {
        Arc::new(Ticket { whom, progress: Mutex::new(Progress::Out) })
    }

    /// The one who waited gives up.
    pub(super) fn timed_out(&self, ticket: &Ticket) {
        let mut state = self.lock();
        let mut progress = lock(&ticket.progress);
        if *progress != Progress::Out {
            return;
        }
        *progress = Progress::Stuck;
        state.stuck += 1;
        match ticket.whom {
            Whom::Guest(id) => {
                let guest = state.guests.entry(id).or_default();
                guest.stuck += 1;
                guest.failures = guest.failures.saturating_add(1);
                guest.until = Some(Instant::now() + backoff(guest.failures));
            }
            Whom::Bulk => state.stuck_bulk += 1,
            Whom::Host => {}
        }
    }

    /// The answer is there, in time or late. `answered`: it is an answer and not a failure of the guest's monitor.
    pub(super) fn back(&self, ticket: &Ticket, answered: bool) {
        let mut state = self.lock();
        let mut progress = lock(&ticket.progress);
        let was_stuck = std::mem::replace(&mut *progress, Progress::Back) == Progress::Stuck;
        state.stuck -= usize::from(was_stuck);
        match ticket.whom {
            Whom::Guest(id) => {
                let Some(guest) = state.guests.get_mut(&id) else { return };
                guest.stuck -= usize::from(was_stuck);
                if answered && was_stuck {
                    guest.until = None;
                }
                if answered && !was_stuck && guest.stuck == 0 && !guest.hung {
                    state.guests.remove(&id);
                }
            }
            Whom::Bulk => state.stuck_bulk -= usize::from(was_stuck),
            Whom::Host => {}
        }
    }

    /// What the bulk statistics say of a guest. True if this is news.
    pub(super) fn seen(&self, id: GuestId, hung: bool) -> bool {
        let mut state = self.lock();
        if hung {
            return !std::mem::replace(&mut state.guests.entry(id).or_default().hung, true);
        }
        let Some(guest) = state.guests.get_mut(&id) else { return false };
        guest.until = None;
        let news = std::mem::replace(&mut guest.hung, false);
        if guest.stuck == 0 {
            state.guests.remove(&id);
        }
        news
    }

    /// A new link: forget what is held against guests, but not which calls are still out.
    pub(super) fn forgive(&self) {
        let mut state = self.lock();
        state.guests.retain(|_, guest| guest.stuck > 0);
    }

    /// The guest is gone.
    pub(super) fn gone(&self, id: GuestId) {
        let mut state = self.lock();
        if state.guests.get(&id).is_some_and(|guest| guest.stuck == 0) {
            state.guests.remove(&id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn backoff(failures: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: GuestId = GuestId([1; 16]);
    const B: GuestId = GuestId([2; 16]);

    fn admit(limits: &Limits, id: GuestId) -> Result<(), u64> {
        limits.admit(Whom::Guest(id), || "a".to_owned()).map_err(|e| match e {
            LibvirtError::BackedOff { retry_in_ms, .. } => retry_in_ms,
            other => panic!("{other}"),
        })
    }

    fn give_up(limits: &Limits, whom: Whom) -> Arc<Ticket> {
        let ticket = Limits::ticket(whom);
        limits.timed_out(&ticket);
        ticket
    }

    #[tokio::test(start_paused = true)]
    async fn back_off_grows_for_one_guest_and_leaves_the_others_alone() {
        let limits = Limits::new(3);
        let mut waits = Vec::new();
        for _ in 0..7 {
            let ticket = give_up(&limits, Whom::Guest(A));
            let wait = admit(&limits, A).unwrap_err();
            limits.back(&ticket, false);
            waits.push(wait);
            assert_eq!(admit(&limits, B), Ok(()));
            tokio::time::advance(Duration::from_millis(wait)).await;
            assert_eq!(admit(&limits, A), Ok(()));
        }
        assert_eq!(waits, [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        limits.back(&Limits::ticket(Whom::Guest(A)), true);
        give_up(&limits, Whom::Guest(A));
        assert_eq!(admit(&limits, A), Err(2_000), "an answer resets the back-off");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_call_keeps_the_guest_backed_off_until_it_comes_back() {
        let limits = Limits::new(3);
        let ticket = give_up(&limits, Whom::Guest(A));
        tokio::time::advance(Duration::from_secs(1000)).await;
        assert!(admit(&limits, A).is_err());
        limits.back(&ticket, true);
        assert_eq!(admit(&limits, A), Ok(()));
    }

    #[test]
    fn an_answer_that_raced_with_the_time_out_is_not_stuck() {
        let limits = Limits::new(1);
        let ticket = Limits::ticket(Whom::Guest(A));
        limits.back(&ticket, true);
        limits.timed_out(&ticket);
        assert_eq!(admit(&limits, A), Ok(()));
    }

    #[test]
    fn everything_stuck_is_said_at_once_and_the_last_slot_is_not_risked() {
        let limits = Limits::new(3);
        assert!(limits.bulk_may_ask_monitors());
        let one = give_up(&limits, Whom::Bulk);
        assert!(limits.bulk_may_ask_monitors() && limits.bulk_is_stuck());
        let _two = give_up(&limits, Whom::Bulk);
        assert!(!limits.bulk_may_ask_monitors());
        assert!(limits.admit(Whom::Host, String::new).is_ok());
        let _three = give_up(&limits, Whom::Host);
        assert!(matches!(limits.admit(Whom::Host, String::new), Err(LibvirtError::Away(_))));
        limits.back(&one, true);
        assert!(limits.admit(Whom::Host, String::new).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn statistics_mark_and_clear_a_hung_guest() {
        let limits = Limits::new(3);
        assert!(limits.seen(A, true) && !limits.seen(A, true));
        assert!(admit(&limits, A).is_err());
        assert!(limits.seen(A, false) && !limits.seen(A, false));
        assert_eq!(admit(&limits, A), Ok(()));
    }
}
