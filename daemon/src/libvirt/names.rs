//! Names and identities of guests, remembered. A name is a label that moves from guest to guest; a UUID stays.
//!
//! Forgotten for a guest at each lifecycle event of it, and altogether when the link is new. May not: call libvirt.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use trimtab_policy::units::GuestId;

#[derive(Debug, Default)]
struct Maps {
    ids: HashMap<String, GuestId>,
    names: HashMap<GuestId, String>,
}

/// The memory.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<Maps>);

impl Names {
    pub(super) fn id_of(&self, name: &str) -> Option<GuestId> {
        self.lock().ids.get(name).copied()
    }

    pub(super) fn name_of(&self, id: GuestId) -> Option<String> {
        self.lock().names.get(&id).cloned()
    }

    /// The name, or the UUID where the name is not known: for messages.
    pub(super) fn label(&self, id: GuestId) -> String {
        self.name_of(id).unwrap_or_else(|| id.to_string())
    }

    pub(super) fn learn(&self, id: GuestId, name: &str) {
        let mut maps = self.lock();
        if let Some(old) = maps.names.insert(id, name.to_owned())
            && old != name
        {
            maps.ids.remove(&old);
        }
        if let Some(other) = maps.ids.insert(name.to_owned(), id)
            && other != id
        {
            maps.names.remove(&other);
        }
    }

    pub(super) fn forget(&self, id: GuestId) {
        let mut maps = self.lock();
        if let Some(name) = maps.names.remove(&id) {
            maps.ids.remove(&name);
        }
    }

    pub(super) fn clear(&self) {
        *self.lock() = Maps::default();
    }

    fn lock(&self) -> MutexGuard<'_, Maps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_follows_a_rename_and_a_reuse() {
        let (a, b) = (GuestId([1; 16]), GuestId([2; 16]));
        let names = Names::default();
        names.learn(a, "one");
        names.learn(a, "uno");
        assert_eq!((names.id_of("one"), names.id_of("uno")), (None, Some(a)));
        names.learn(b, "uno");
        assert_eq!((names.id_of("uno"), names.name_of(a)), (Some(b), None));
        names.forget(b);
        assert_eq!(names.id_of("uno"), None);
        assert_eq!(names.label(b), b.to_string());
    }
}
