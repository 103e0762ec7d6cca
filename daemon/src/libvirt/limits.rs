//! How many calls may be in flight, and which guest is left in peace for a while.
//!
//! libvirt-dbus has a handful of worker threads and no time-outs of its own: a call to a hung qemu keeps its thread until
//! qemu answers or libvirt gives up after 30 s, whether or not anybody still waits. So a slot is given back when the
//! answer comes, not when the caller's patience ends (a call that is still out after its time-out is *stuck*). A guest has one
//! call out at a time and none while one of it is stuck, so that it takes one slot, however much is wanted of it. Once every
//! slot is stuck there is one more, the *reserve*, for guests whose last call was answered, in time or late, and for what asks
//! no guest. Late is no failure: such a call waited behind others and not for its guest. Nudges (see `calls`) have one slot of
//! their own and never one of these: they would use up what the calls need that they are to help.
//! May not: make calls. Reads tokio's clock, for back-offs only.

use super::LibvirtError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use trimtab_policy::units::GuestId;

/// First back-off of a guest that did not answer: two samples at 1 Hz.
const FIRST_BACKOFF: Duration = Duration::from_secs(2);
/// Longest back-off: a guest that came back is seen within a minute even if no statistics tell.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// A guest whose part of the statistics is missing for less than this is busy and not hung. Assumption: nobody but a hung qemu
/// holds a domain's job for most of a second; a job of ours takes milliseconds (seen: a guest under TCG on a crowded host was
/// without its part in one sample and complete in the next).
const BUSY_MAX: Duration = Duration::from_millis(900);

/// A guest that seems to hang while the bulk statistics cannot tell is looked at so often: each look is one short call.
const LOOK_AGAIN: Duration = Duration::from_secs(4);

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
    /// Calls that were not answered since the last one that was.
    failures: u32,
    until: Option<Instant>,
    /// Since when its part of the statistics is missing while a bulk call is stuck: it holds that up, or is just busy.
    missing: Option<Instant>,
    /// It was missing for too long to be just busy. Until then it is not looked at again.
    hung: Option<Instant>,
    /// That was said.
    said: bool,
}

/// What a guest is taken for whose part of the statistics is missing while a bulk call is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It may be about to answer.
    Busy,
    /// It hangs; `news`: that was not said yet.
    Hung { news: bool },
}

#[derive(Debug, Default)]
struct State {
    guests: BTreeMap<GuestId, Guest>,
    /// The turn of each guest that has a call out, or waiting for it.
    turns: BTreeMap<GuestId, Weak<Semaphore>>,
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

/// What a call holds until its answer is there.
#[derive(Debug)]
pub(super) struct Place {
    slot: OwnedSemaphorePermit,
    _turn: Option<OwnedSemaphorePermit>,
}

/// Slots and back-offs.
#[derive(Debug)]
pub(super) struct Limits {
    /// `max` of them, and one more as long as that many are stuck.
    slots: Arc<Semaphore>,
    /// One.
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
        if state.stuck > self.max {
            return Err(LibvirtError::Away(format!("none of {} calls has been answered", state.stuck)));
        }
        let Whom::Guest(id) = whom else { return Ok(()) };
        let Some(guest) = state.guests.get(&id) else { return Ok(()) };
        let now = Instant::now();
        let wait = |until: Option<Instant>| {
            until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
        };
        let left = wait(guest.until.max(guest.hung));
        let only_the_reserve = state.stuck >= self.max;
        let on_probation = guest.failures > 0 && only_the_reserve;
        // The bulk statistics tell when it answers again, unless they may not ask monitors: then it is looked at itself.
        let told_by_others = guest.hung.is_some() && !only_the_reserve;
        if left.is_zero() && guest.stuck == 0 && !told_by_others && !on_probation {
            return Ok(());
        }
        let retry_in_ms = left.max(Duration::from_millis(1)).as_millis() as u64;
        Err(LibvirtError::BackedOff { whom: name(), retry_in_ms })
    }

    /// Whether no call gets through any more.
    pub(super) fn all_stuck(&self) -> bool {
        self.lock().stuck > self.max
    }

    /// A place, waited for: the guest's turn first, so that who waits for a guest takes no slot.
    pub(super) async fn place(&self, whom: Whom) -> Option<Place> {
        let turn = match whom {
            Whom::Guest(id) => Some(self.turn(id).acquire_owned().await.ok()?),
            Whom::Bulk | Whom::Host => None,
        };
        let slot = self.slots.clone().acquire_owned().await.ok()?;
        Some(Place { slot, _turn: turn })
    }

    fn turn(&self, id: GuestId) -> Arc<Semaphore> {
        let mut state = self.lock();
        state.turns.retain(|_, turn| turn.strong_count() > 0);
        let known = state.turns.get(&id).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turn = Arc::new(Semaphore::new(1));
            state.turns.insert(id, Arc::downgrade(&turn));
            turn
        })
    }

    /// The slot for nudges, unless one is out. To be kept until it is answered: what libvirt has not answered it has not
    /// forgotten, and a nudge after it would only wait behind it.
    pub(super) fn nudge_slot(&self) -> Option<OwnedSemaphorePermit> {
        self.nudge.clone().try_acquire_owned().ok()
    }

    /// Whether the bulk statistics may ask monitors: not when getting stuck would take the reserve.
    pub(super) fn bulk_may_ask_monitors(&self) -> bool {
        self.lock().stuck < self.max
    }

    /// Whether this guest may hold up a bulk call: it was seen to, or one is stuck on a guest that is not known yet.
    pub(super) fn may_hang(&self, id: GuestId) -> bool {
        let state = self.lock();
        let hung = |guest: &Guest| guest.hung.is_some();
        state.guests.get(&id).is_some_and(hung)
            || state.stuck_bulk > state.guests.values().filter(|guest| hung(guest)).count()
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
        if state.stuck == self.max {
            self.slots.add_permits(1);
        }
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

    /// The answer is there, in time or late. `answered`: it is an answer and not a failure of the guest's monitor. True if calls
    /// get through again that did not before.
    pub(super) fn back(&self, ticket: &Ticket, place: Place, answered: bool) -> bool {
        let mut state = self.lock();
        let none_got_through = state.stuck > self.max;
        let mut progress = lock(&ticket.progress);
        let was_stuck = std::mem::replace(&mut *progress, Progress::Back) == Progress::Stuck;
        state.stuck -= usize::from(was_stuck);
        let again = none_got_through && state.stuck <= self.max;
        if was_stuck && state.stuck + 1 == self.max {
            // One of the slots works again: the reserve is taken in.
            place.slot.forget();
        }
        match ticket.whom {
            Whom::Guest(id) => {
                let Some(guest) = state.guests.get_mut(&id) else { return again };
                guest.stuck -= usize::from(was_stuck);
                if answered && guest.stuck == 0 {
                    (guest.failures, guest.until) = (0, None);
                    // A look that found its part missing is answered as well.
                    if guest.missing.is_none() && guest.hung.is_none() && !guest.said {
                        state.guests.remove(&id);
                    }
                }
            }
            Whom::Bulk if was_stuck => {
                state.stuck_bulk -= 1;
                if state.stuck_bulk == 0 {
                    // Whoever still hangs stops the next one.
                    state.guests.values_mut().for_each(|guest| (guest.missing, guest.hung) = (None, None));
                }
            }
            Whom::Bulk | Whom::Host => {}
        }
        again
    }

    /// The guest's part of the statistics is missing, while a bulk call is stuck.
    pub(super) fn missing(&self, id: GuestId) -> Missing {
        let mut state = self.lock();
        let (now, guest) = (Instant::now(), state.guests.entry(id).or_default());
        let since = *guest.missing.get_or_insert(now);
        if guest.hung.is_none() && !guest.said && now - since < BUSY_MAX {
            return Missing::Busy;
        }
        guest.hung = Some(now + LOOK_AGAIN);
        Missing::Hung { news: !std::mem::replace(&mut guest.said, true) }
    }

    /// The guest's part of the statistics is complete. True if it was said to hang.
    pub(super) fn complete(&self, id: GuestId) -> bool {
        let mut state = self.lock();
        let Some(guest) = state.guests.get_mut(&id) else { return false };
        (guest.until, guest.missing, guest.hung) = (None, None, None);
        let news = std::mem::replace(&mut guest.said, false);
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

    /// A call that is out.
    fn call(limits: &Limits, whom: Whom) -> (Arc<Ticket>, Place) {
        let slot = limits.slots.clone().try_acquire_owned().unwrap();
        (Limits::ticket(whom), Place { slot, _turn: None })
    }

    fn give_up(limits: &Limits, whom: Whom) -> (Arc<Ticket>, Place) {
        let (ticket, place) = call(limits, whom);
        limits.timed_out(&ticket);
        (ticket, place)
    }

    /// A guest's part is missing for as long as it takes.
    async fn hang(limits: &Limits, id: GuestId) {
        assert_eq!(limits.missing(id), Missing::Busy);
        tokio::time::advance(BUSY_MAX).await;
        assert_eq!(limits.missing(id), Missing::Hung { news: true });
    }

    fn back(limits: &Limits, (ticket, place): (Arc<Ticket>, Place), answered: bool) -> bool {
        limits.back(&ticket, place, answered)
    }

    #[tokio::test(start_paused = true)]
    async fn back_off_grows_for_one_guest_and_leaves_the_others_alone() {
        let limits = Limits::new(3);
        let mut waits = Vec::new();
        for _ in 0..7 {
            let stuck = give_up(&limits, Whom::Guest(A));
            let wait = admit(&limits, A).unwrap_err();
            back(&limits, stuck, false);
            waits.push(wait);
            assert_eq!(admit(&limits, B), Ok(()));
            tokio::time::advance(Duration::from_millis(wait)).await;
            assert_eq!(admit(&limits, A), Ok(()));
        }
        assert_eq!(waits, [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        back(&limits, call(&limits, Whom::Guest(A)), true);
        give_up(&limits, Whom::Guest(A));
        assert_eq!(admit(&limits, A), Err(2_000), "an answer resets the back-off");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_call_keeps_the_guest_backed_off_until_it_comes_back() {
        let limits = Limits::new(3);
        let stuck = give_up(&limits, Whom::Guest(A));
        tokio::time::advance(Duration::from_secs(1000)).await;
        assert!(admit(&limits, A).is_err());
        back(&limits, stuck, true);
        assert_eq!(admit(&limits, A), Ok(()));
    }

    #[test]
    fn a_nudge_takes_no_slot_of_the_calls() {
        let limits = Limits::new(3);
        let nudge = limits.nudge_slot().unwrap();
        assert_eq!(limits.slots.available_permits(), 3);
        assert!(limits.nudge_slot().is_none(), "one at a time, also while slots are free");
        drop(nudge);
        assert!(limits.nudge_slot().is_some());
    }

    #[test]
    fn an_answer_that_raced_with_the_time_out_is_not_stuck() {
        let limits = Limits::new(1);
        let (ticket, place) = call(&limits, Whom::Guest(A));
        limits.back(&ticket, place, true);
        limits.timed_out(&ticket);
        assert_eq!(admit(&limits, A), Ok(()));
        assert_eq!(limits.slots.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_has_one_call_out_however_much_is_wanted_of_it() {
        let limits = Limits::new(3);
        let first = limits.place(Whom::Guest(A)).await.unwrap();
        let second = tokio::time::timeout(Duration::from_secs(60), limits.place(Whom::Guest(A)));
        assert!(second.await.is_err());
        assert_eq!(limits.slots.available_permits(), 2, "who waits for a guest holds no slot");
        let other = limits.place(Whom::Guest(B)).await.unwrap();
        drop(first);
        let again = limits.place(Whom::Guest(A)).await.unwrap();
        drop((other, again));
        limits.turn(B);
        assert_eq!(limits.lock().turns.len(), 1, "only who waits or is out is remembered");
    }

    #[tokio::test(start_paused = true)]
    async fn once_all_are_stuck_there_is_one_more_for_who_has_not_failed() {
        let limits = Limits::new(3);
        back(&limits, give_up(&limits, Whom::Guest(B)), false);
        tokio::time::advance(LONGEST_BACKOFF).await;
        assert_eq!(admit(&limits, B), Ok(()));
        let one = give_up(&limits, Whom::Bulk);
        let two = give_up(&limits, Whom::Bulk);
        assert!(limits.bulk_may_ask_monitors() && limits.bulk_is_stuck());
        assert_eq!(limits.slots.available_permits(), 1);
        let three = give_up(&limits, Whom::Guest(A));
        assert!(!limits.bulk_may_ask_monitors() && !limits.all_stuck());
        assert_eq!(limits.slots.available_permits(), 1, "the reserve");
        assert!(limits.admit(Whom::Host, String::new).is_ok());
        assert_eq!(admit(&limits, GuestId([3; 16])), Ok(()));
        assert!(admit(&limits, B).is_err(), "it failed before: not with the reserve");
        let four = give_up(&limits, Whom::Host);
        assert!(limits.all_stuck());
        assert!(matches!(limits.admit(Whom::Host, String::new), Err(LibvirtError::Away(_))));
        // They come back in any order, and in the end there are as many slots as in the beginning.
        for (stuck, free, news) in [(two, 1, true), (four, 1, false), (one, 2, false), (three, 3, false)] {
            assert_eq!(back(&limits, stuck, true), news);
            assert!(limits.admit(Whom::Host, String::new).is_ok());
            assert_eq!(limits.slots.available_permits(), free);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_late_hangs_less_than_who_does_not_answer() {
        let limits = Limits::new(3);
        // Both calls were overdue; one waited behind others, the other was given up by libvirt.
        let (late, failed) = (give_up(&limits, Whom::Guest(A)), give_up(&limits, Whom::Guest(B)));
        back(&limits, failed, false);
        let _stuck = [give_up(&limits, Whom::Bulk), give_up(&limits, Whom::Bulk)];
        tokio::time::advance(LONGEST_BACKOFF).await;
        assert!(!limits.bulk_may_ask_monitors() && admit(&limits, A).is_err());
        back(&limits, late, true);
        let _third = give_up(&limits, Whom::Bulk);
        assert!(!limits.bulk_may_ask_monitors());
        assert_eq!(admit(&limits, A), Ok(()), "it may use the reserve");
        assert!(admit(&limits, B).is_err(), "it may not");
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_taken_for_hung_is_looked_at_again_also_with_the_reserve() {
        let limits = Limits::new(3);
        let _stuck = [(); 3].map(|()| give_up(&limits, Whom::Bulk));
        // It was busy for long when it was looked at.
        hang(&limits, A).await;
        assert!(admit(&limits, A).is_err());
        tokio::time::advance(LOOK_AGAIN).await;
        assert_eq!(admit(&limits, A), Ok(()));
        assert!(limits.may_hang(A), "but carefully");
        assert_eq!(limits.missing(A), Missing::Hung { news: false });
        assert!(admit(&limits, A).is_err());
        tokio::time::advance(LOOK_AGAIN).await;
        assert!(limits.complete(A), "answers again");
        assert_eq!(admit(&limits, A), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_busy_for_a_moment_is_not_hung() {
        let limits = Limits::new(3);
        let bulk = give_up(&limits, Whom::Bulk);
        for _ in 0..3 {
            assert_eq!(limits.missing(A), Missing::Busy);
            tokio::time::advance(BUSY_MAX / 2).await;
            assert_eq!(limits.missing(A), Missing::Busy, "two looks in one moment are one");
            assert_eq!(admit(&limits, A), Ok(()));
            assert!(limits.may_hang(A), "it is looked at before it is called");
            tokio::time::advance(BUSY_MAX / 2 - Duration::from_millis(1)).await;
            assert!(!limits.complete(A), "nothing was said");
        }
        // Who is missing for longer is hung, whatever happens to others meanwhile, and though each look is itself answered.
        back(&limits, call(&limits, Whom::Guest(A)), true);
        assert_eq!(limits.missing(A), Missing::Busy);
        assert!(!limits.complete(B));
        tokio::time::advance(BUSY_MAX).await;
        back(&limits, call(&limits, Whom::Guest(A)), true);
        assert_eq!(limits.missing(A), Missing::Hung { news: true });
        assert!(admit(&limits, A).is_err());
        // Another stuck call is another moment.
        assert_eq!(limits.missing(B), Missing::Busy);
        back(&limits, bulk, true);
        let _bulk = give_up(&limits, Whom::Bulk);
        tokio::time::advance(BUSY_MAX).await;
        assert_eq!(limits.missing(B), Missing::Busy);
    }

    #[tokio::test(start_paused = true)]
    async fn statistics_mark_and_clear_a_hung_guest() {
        let limits = Limits::new(3);
        let bulk = give_up(&limits, Whom::Bulk);
        assert!(limits.may_hang(A) && limits.may_hang(B));
        hang(&limits, A).await;
        assert_eq!(limits.missing(A), Missing::Hung { news: false });
        assert!(limits.may_hang(A) && !limits.may_hang(B));
        assert!(admit(&limits, A).is_err());
        assert!(limits.complete(A) && !limits.complete(A));
        assert_eq!(admit(&limits, A), Ok(()));
        // The bulk call that it held up has come back: it may be asked, and its answer is news.
        hang(&limits, A).await;
        back(&limits, bulk, true);
        assert_eq!(admit(&limits, A), Ok(()));
        assert!(limits.complete(A));
    }
}
