//! Events of libvirt, coalesced: however many arrive, what is kept is at most one line per guest and kind.
//!
//! That is why signals can always be taken off the bus at once and never hold up anything. A `Connected` (= resync)
//! makes everything before it superfluous. May not: talk to libvirt.

use super::LibvirtEvent;
use std::collections::BTreeSet;
use std::sync::Mutex;
use tokio::sync::Notify;
use trimtab_policy::units::GuestId;

#[derive(Debug, Default)]
struct Pending {
    disconnected: Option<String>,
    connected: bool,
    lifecycle: BTreeSet<GuestId>,
    metadata: BTreeSet<GuestId>,
    tunable: BTreeSet<GuestId>,
}

/// The coalescing set between those who see events and the one who asks for them.
#[derive(Debug, Default)]
pub(super) struct EventSet {
    pending: Mutex<Pending>,
    arrived: Notify,
}

impl EventSet {
    /// Put one in. Never waits.
    pub(super) fn push(&self, event: LibvirtEvent) {
        {
            let mut p = self.lock();
            match event {
                LibvirtEvent::Connected => {
                    let disconnected = p.disconnected.take();
                    *p = Pending { disconnected, connected: true, ..Pending::default() };
                }
                LibvirtEvent::Disconnected(why) => {
                    p.connected = false;
                    p.disconnected = Some(why);
                }
                LibvirtEvent::Lifecycle(id) => {
                    p.lifecycle.insert(id);
                }
                LibvirtEvent::Metadata(id) => {
                    p.metadata.insert(id);
                }
                LibvirtEvent::Tunable(id) => {
                    p.tunable.insert(id);
                }
            }
        }
        self.arrived.notify_one();
    }

    /// Take the next one out, waiting for it. Cancelling loses nothing.
    pub(super) async fn next(&self) -> LibvirtEvent {
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            self.arrived.notified().await;
        }
    }

    /// Link first, then lifecycle (whoever is gone needs no look at its knobs), metadata, tunables.
    fn take(&self) -> Option<LibvirtEvent> {
        let mut p = self.lock();
        if let Some(why) = p.disconnected.take() {
            return Some(LibvirtEvent::Disconnected(why));
        }
        if std::mem::take(&mut p.connected) {
            return Some(LibvirtEvent::Connected);
        }
        p.lifecycle
            .pop_first()
            .map(LibvirtEvent::Lifecycle)
            .or_else(|| p.metadata.pop_first().map(LibvirtEvent::Metadata))
            .or_else(|| p.tunable.pop_first().map(LibvirtEvent::Tunable))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: GuestId = GuestId([1; 16]);
    const B: GuestId = GuestId([2; 16]);

    fn drain(set: &EventSet) -> Vec<LibvirtEvent> {
        std::iter::from_fn(|| set.take()).collect()
    }

    #[test]
    fn a_flood_is_one_event_per_guest_and_kind() {
        let set = EventSet::default();
        for _ in 0..10_000 {
            set.push(LibvirtEvent::Tunable(B));
            set.push(LibvirtEvent::Tunable(A));
            set.push(LibvirtEvent::Lifecycle(B));
        }
        assert_eq!(
            drain(&set),
            [LibvirtEvent::Lifecycle(B), LibvirtEvent::Tunable(A), LibvirtEvent::Tunable(B)]
        );
    }

    #[test]
    fn connected_swallows_what_was_before_but_not_the_loss() {
        let set = EventSet::default();
        set.push(LibvirtEvent::Metadata(A));
        set.push(LibvirtEvent::Disconnected("x".into()));
        set.push(LibvirtEvent::Connected);
        set.push(LibvirtEvent::Tunable(A));
        assert_eq!(
            drain(&set),
            [LibvirtEvent::Disconnected("x".into()), LibvirtEvent::Connected, LibvirtEvent::Tunable(A)]
        );
    }

    #[test]
    fn a_loss_takes_back_an_unread_connected() {
        let set = EventSet::default();
        set.push(LibvirtEvent::Connected);
        set.push(LibvirtEvent::Disconnected("y".into()));
        assert_eq!(drain(&set), [LibvirtEvent::Disconnected("y".into())]);
    }

    #[tokio::test]
    async fn next_wakes_up_for_an_event_pushed_while_waiting() {
        let set = std::sync::Arc::new(EventSet::default());
        let waiting = tokio::spawn({
            let set = set.clone();
            async move { set.next().await }
        });
        tokio::task::yield_now().await;
        set.push(LibvirtEvent::Lifecycle(A));
        assert_eq!(waiting.await.unwrap(), LibvirtEvent::Lifecycle(A));
    }
}
