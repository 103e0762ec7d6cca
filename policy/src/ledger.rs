//! Who set what: the originals of every knob that Trimtab holds, what was read back last, and whose word counts.
//!
//! A knob is *held* from the first change on until it is back at its original, its guest is gone, or the admin moved it.
//! If a read-back shows a value that we did not set, the admin's change wins: the whole family of that guest is *handed
//! over* until `restore` or a restart of the guest. May not: emit effects or know about trials.

use crate::decision::{Change, Effect, Original, Override};
use crate::knob::{Family, Knob, KnobValue};
use crate::topology::CpuSet;
use crate::units::{GuestId, MonoNs};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One knob that is not at its original.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// Original and what we set last; shared with whoever shows it, which is at every tick.
    pub(crate) original: Arc<Original>,
    /// Value before our last change, which a read-back that crossed it may still show.
    previous: KnobValue,
    /// Value of a refused change: it may have been set all the same (time-out).
    unsure: Option<KnobValue>,
    /// When we set it last; older read-backs say nothing.
    set_at: MonoNs,
    /// Read-backs in a row that showed `previous`.
    doubts: u8,
}

impl Held {
    /// Notes what we set; returns what it was before.
    fn replace_ours(&mut self, ours: KnobValue) -> KnobValue {
        std::mem::replace(&mut Arc::make_mut(&mut self.original).ours, ours)
    }
}

/// A knob that moved under us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) knob: Knob,
    pub(crate) expected: KnobValue,
    pub(crate) found: KnobValue,
    /// Whether we held it, so that its original is to be forgotten.
    pub(crate) was_held: bool,
}

/// The books.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    seen: BTreeMap<GuestId, BTreeMap<Knob, KnobValue>>,
    held: BTreeMap<(GuestId, Knob), Held>,
    handed_over: BTreeMap<(GuestId, Family), Override>,
}

/// Whether two values mean the same on the usable CPUs: libvirt lists CPUs that do not exist here, and the kernel takes
/// offline ones away. If none of the expected ones is left, the kernel had to put the thread elsewhere.
pub(crate) fn same(expected: &KnobValue, found: &KnobValue, usable: &CpuSet) -> bool {
    match (expected, found) {
        (KnobValue::Cpus(expected), KnobValue::Cpus(found)) => {
            let left = expected.and(usable);
            left.is_empty() || left == found.and(usable)
        }
        _ => expected == found,
    }
}

impl Ledger {
    /// Originals and overrides found in the store at start.
    pub(crate) fn load(originals: Vec<Original>, overrides: Vec<Override>) -> Self {
        let held = originals.into_iter().map(|o| {
            let (previous, unsure) = (o.ours.clone(), o.back_to.clone());
            let key = (o.guest, o.knob);
            (key, Held { original: Arc::new(o), previous, unsure, set_at: MonoNs(0), doubts: 0 })
        });
        let handed_over = overrides.into_iter().map(|o| ((o.guest, o.family), o));
        Self { held: held.collect(), handed_over: handed_over.collect(), ..Self::default() }
    }

    /// Last known values of a guest's knobs; `None` before the first read-back.
    pub(crate) fn knobs(&self, guest: GuestId) -> Option<&BTreeMap<Knob, KnobValue>> {
        self.seen.get(&guest)
    }

    /// Originals of all held knobs.
    pub(crate) fn originals(&self) -> impl Iterator<Item = &Original> {
        self.held.values().map(|h| &*h.original)
    }

    /// Originals of one guest's held knobs.
    pub(crate) fn originals_of(&self, guest: GuestId) -> BTreeMap<Knob, KnobValue> {
        self.held_of(guest).map(|o| (o.knob, o.value.clone())).collect()
    }

    /// Records of one guest's held knobs.
    pub(crate) fn held_of(&self, guest: GuestId) -> impl Iterator<Item = &Arc<Original>> {
        // The first knob in the order of knobs.
        let mine =
            self.held.range((guest, Knob::VcpuAffinity(0))..).take_while(move |((g, _), _)| *g == guest);
        mine.map(|(_, h)| &h.original)
    }

    pub(crate) fn held(&self, guest: GuestId, knob: Knob) -> Option<&Original> {
        self.held.get(&(guest, knob)).map(|h| &*h.original)
    }

    /// Why a family of a guest belongs to the admin, if it does.
    pub(crate) fn handed_over(&self, guest: GuestId, family: Family) -> Option<&str> {
        self.handed_over.get(&(guest, family)).map(|o| o.why.as_str())
    }

    /// Guests of which something is remembered, with qemu's pid at the time.
    pub(crate) fn remembered(&self) -> impl Iterator<Item = (GuestId, Option<i32>)> {
        let held = self.held.values().map(|h| (h.original.guest, h.original.pid));
        held.chain(self.handed_over.values().map(|o| (o.guest, o.pid)))
    }

    /// qemu's pid at the time when something of this guest was last remembered.
    pub(crate) fn remembered_pid(&self, guest: GuestId) -> Option<i32> {
        let mut handed_over = self.handed_over.range((guest, Family::Placement)..=(guest, Family::Priority));
        match self.held_of(guest).next() {
            Some(held) => held.pid,
            None => handed_over.next().and_then(|(_, o)| o.pid),
        }
    }

    /// Value that a held knob has as far as we know, if it is not to become `to`: what a change to `to` starts from.
    pub(crate) fn start_of(&self, guest: GuestId, knob: Knob, to: &KnobValue) -> Option<&KnobValue> {
        let held = self.held.get(&(guest, knob))?;
        let ours = &held.original.ours;
        Some(if ours == to { held.unsure.as_ref().unwrap_or(ours) } else { ours })
    }

    /// Announces a change: the record to store before it is made.
    pub(crate) fn prepare(
        &mut self,
        guest: (GuestId, &str, Option<i32>),
        knob: Knob,
        from: &KnobValue,
        to: &KnobValue,
    ) -> Original {
        let (id, name, pid) = guest;
        let held = self.held.entry((id, knob)).or_insert_with(|| Held {
            original: Arc::new(Original {
                guest: id,
                guest_name: name.to_owned(),
                pid,
                knob,
                value: from.clone(),
                ours: from.clone(),
                back_to: None,
            }),
            previous: from.clone(),
            unsure: None,
            set_at: MonoNs(0),
            doubts: 0,
        });
        // Until the change is confirmed either value may be read back.
        held.unsure = Some(to.clone());
        Original { ours: to.clone(), ..Original::clone(&held.original) }
    }

    /// Announces a way back: the record to store, so that a restart does not forget it.
    pub(crate) fn send_back(&mut self, guest: GuestId, knob: Knob, to: &KnobValue) -> Option<Effect> {
        let ours = self.start_of(guest, knob, to)?.clone();
        let held = self.held.get_mut(&(guest, knob))?;
        let original = Arc::make_mut(&mut held.original);
        original.back_to = Some(to.clone());
        Some(Effect::SaveOriginal(Original { ours, ..original.clone() }))
    }

    /// A way back ended where it should. Returns what to store.
    pub(crate) fn arrive(&mut self, guest: GuestId, knob: Knob) -> Option<Effect> {
        Arc::make_mut(&mut self.held.get_mut(&(guest, knob))?.original).back_to = None;
        self.settle(guest, knob)
    }

    /// A change was refused, which may take effect all the same (time-out).
    pub(crate) fn refused(&mut self, guest: GuestId, knob: Knob, to: &KnobValue) {
        if let Some(held) = self.held.get_mut(&(guest, knob)).filter(|h| h.original.ours != *to) {
            held.unsure = Some(to.clone());
        }
    }

    /// All CPUs that are named by pins of ours.
    pub(crate) fn pinned_to(&self) -> CpuSet {
        let pins = self.originals().filter(|o| o.ours != o.value).filter_map(|o| match &o.ours {
            KnobValue::Cpus(set) => Some(set),
            _ => None,
        });
        pins.fold(CpuSet::new(), |all, set| all.or(set))
    }

    /// Whether a knob of a guest is on its way back.
    pub(crate) fn goes_back(&self, guest: GuestId) -> bool {
        self.held_of(guest).any(|o| o.back_to.is_some())
    }

    /// The knob has this value now.
    pub(crate) fn set(&mut self, guest: GuestId, knob: Knob, value: &KnobValue, now: MonoNs) {
        self.seen.entry(guest).or_default().insert(knob, value.clone());
        if let Some(held) = self.held.get_mut(&(guest, knob)) {
            held.previous = held.replace_ours(value.clone());
            held.unsure = None;
            held.set_at = now;
            held.doubts = 0;
        }
    }

    /// Whether the last read-back showed the value before our last change: it crossed that change, or the admin took it back.
    /// The next one tells.
    pub(crate) fn is_doubted(&self, guest: GuestId, knob: Knob) -> bool {
        self.held.get(&(guest, knob)).is_some_and(|h| h.doubts > 0)
    }

    /// What to store of a knob whose fate is decided: one that is back at its original is let go.
    pub(crate) fn settle(&mut self, guest: GuestId, knob: Knob) -> Option<Effect> {
        let held = self.held.get(&(guest, knob))?;
        if held.original.ours == held.original.value {
            self.held.remove(&(guest, knob));
            return Some(Effect::ForgetOriginal { guest, knob });
        }
        Some(Effect::SaveOriginal(Original::clone(&held.original)))
    }

    /// Enters what was read back at `at` and gives the knobs that moved under us. `busy` names the knob that a change is
    /// on its way to, about which the read-back says nothing.
    pub(crate) fn read_back(
        &mut self,
        guest: GuestId,
        values: &BTreeMap<Knob, KnobValue>,
        at: MonoNs,
        usable: &CpuSet,
        busy: Option<Knob>,
    ) -> Vec<Moved> {
        let mut moved = Vec::new();
        let seen = self.seen.entry(guest).or_default();
        for (&knob, value) in values.iter().filter(|(k, _)| Some(**k) != busy) {
            let was = seen.insert(knob, value.clone());
            let Some(held) = self.held.get_mut(&(guest, knob)) else {
                if let Some(was) = was.filter(|w| !same(w, value, usable)) {
                    moved.push(Moved { knob, expected: was, found: value.clone(), was_held: false });
                }
                continue;
            };
            let ours = &held.original.ours;
            if same(ours, value, usable) {
                held.doubts = 0;
                // The belief stays in our own words, so that `from` of a later change is what we set.
                seen.insert(knob, ours.clone());
            } else if at < held.set_at {
                // Older than our change.
            } else if let Some(late) = held.unsure.take_if(|u| same(u, value, usable)) {
                // A refused change that took effect after all.
                seen.insert(knob, late.clone());
                held.previous = held.replace_ours(late);
            } else if same(&held.previous, value, usable) && held.doubts == 0 {
                held.doubts = 1;
            } else {
                moved.push(Moved { knob, expected: ours.clone(), found: value.clone(), was_held: true });
            }
        }
        seen.retain(|k, _| values.contains_key(k) || Some(*k) == busy);
        for m in moved.iter().filter(|m| m.was_held) {
            self.held.remove(&(guest, m.knob));
        }
        moved
    }

    /// Lets go of knobs that were read back at their originals while nothing was announced: a way back was made after all.
    pub(crate) fn release<'a>(
        &mut self,
        guest: GuestId,
        values: impl Iterator<Item = (&'a Knob, &'a KnobValue)>,
    ) -> Vec<Effect> {
        // One that is to go back elsewhere, to what an earlier decision had set, is still needed.
        let is_back = |h: &Held| {
            h.unsure.is_none() && h.original.back_to.is_none() && h.original.ours == h.original.value
        };
        let back: Vec<Knob> = values
            .filter(|(k, v)| {
                self.held.get(&(guest, **k)).is_some_and(|h| is_back(h) && h.original.value == **v)
            })
            .map(|(k, _)| *k)
            .collect();
        back.into_iter().filter_map(|knob| self.settle(guest, knob)).collect()
    }

    /// A change that was announced is not made after all. Returns what to store instead.
    pub(crate) fn cancel(&mut self, guest: GuestId, knob: Knob) -> Option<Effect> {
        self.held.get_mut(&(guest, knob))?.unsure = None;
        self.settle(guest, knob)
    }

    /// Of a knob that a decision of the last run was turning, either value is expected.
    pub(crate) fn expect(&mut self, change: &Change) {
        if let Some(held) = self.held.get_mut(&(change.guest, change.knob)) {
            held.replace_ours(change.to.clone());
            held.unsure = Some(change.from.clone());
        }
    }

    /// Hands a family over to the admin. Returns what to store, unless it was his already.
    pub(crate) fn hand_over(&mut self, it: Override) -> Option<Effect> {
        let key = (it.guest, it.family);
        if self.handed_over.contains_key(&key) {
            return None;
        }
        self.handed_over.insert(key, it.clone());
        Some(Effect::SaveOverride(it))
    }

    /// The admin gives back what was handed over, of one guest or of all. Returns what to forget.
    pub(crate) fn take_back(&mut self, guest: Option<GuestId>) -> Vec<Effect> {
        let given = self.handed_over.extract_if(.., |(g, _), _| guest.is_none_or(|only| *g == only));
        given.map(|((guest, family), _)| Effect::ForgetOverride { guest, family }).collect()
    }

    /// The guest is gone or restarted: its live knobs died with the process. Returns what to forget.
    pub(crate) fn forget(&mut self, guest: GuestId) -> Vec<Effect> {
        self.seen.remove(&guest);
        let mut effects = self.take_back(Some(guest));
        let held = self.held.extract_if(.., |(g, _), _| *g == guest);
        effects.extend(held.map(|((guest, knob), _)| Effect::ForgetOriginal { guest, knob }));
        effects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const G: GuestId = GuestId([1; 16]);
    const K: Knob = Knob::CpuShares;

    fn values(shares: u64) -> BTreeMap<Knob, KnobValue> {
        BTreeMap::from([(K, KnobValue::Shares(shares))])
    }

    fn held() -> Ledger {
        let mut l = Ledger::default();
        assert!(l.read_back(G, &values(1024), MonoNs(1), &CpuSet::first(2), None).is_empty());
        let saved = l.prepare((G, "g", Some(7)), K, &KnobValue::Shares(1024), &KnobValue::Shares(8192));
        assert_eq!((saved.value, saved.ours), (KnobValue::Shares(1024), KnobValue::Shares(8192)));
        l.set(G, K, &KnobValue::Shares(8192), MonoNs(2));
        l
    }

    #[test]
    fn a_foreign_value_is_the_admins_at_once() {
        let mut l = held();
        assert!(l.read_back(G, &values(8192), MonoNs(3), &CpuSet::first(2), None).is_empty());
        let moved = l.read_back(G, &values(512), MonoNs(4), &CpuSet::first(2), None);
        assert_eq!(moved[0].found, KnobValue::Shares(512));
        assert!(moved[0].was_held && l.held(G, K).is_none());
    }

    #[test]
    fn the_previous_value_needs_to_be_seen_twice() {
        let mut l = held();
        assert!(l.read_back(G, &values(1024), MonoNs(3), &CpuSet::first(2), None).is_empty());
        assert!(l.is_doubted(G, K));
        assert_eq!(l.read_back(G, &values(1024), MonoNs(4), &CpuSet::first(2), None).len(), 1);
    }

    #[test]
    fn an_untouched_knob_that_moves_is_the_admins_too() {
        let mut l = Ledger::default();
        l.read_back(G, &values(1024), MonoNs(1), &CpuSet::first(2), None);
        let moved = l.read_back(G, &values(2048), MonoNs(2), &CpuSet::first(2), None);
        assert!(!moved[0].was_held);
    }

    #[test]
    fn a_change_on_its_way_is_no_move() {
        let mut l = held();
        assert!(l.read_back(G, &values(77), MonoNs(3), &CpuSet::first(2), Some(K)).is_empty());
        l.prepare((G, "g", Some(7)), K, &KnobValue::Shares(8192), &KnobValue::Shares(4096));
        assert!(
            l.read_back(G, &values(4096), MonoNs(4), &CpuSet::first(2), None).is_empty(),
            "refused, yet set"
        );
        assert_eq!(l.held(G, K).map(|o| &o.ours), Some(&KnobValue::Shares(4096)));
    }

    #[test]
    fn cpus_that_do_not_exist_do_not_count() {
        let mut l = Ledger::default();
        let wide =
            |text: &str| BTreeMap::from([(Knob::VcpuAffinity(0), KnobValue::Cpus(text.parse().unwrap()))]);
        l.read_back(G, &wide("0-63"), MonoNs(1), &CpuSet::first(2), None);
        assert!(l.read_back(G, &wide("0-1"), MonoNs(2), &CpuSet::first(2), None).is_empty());
    }

    #[test]
    fn back_at_the_original_is_let_go() {
        let mut l = held();
        l.set(G, K, &KnobValue::Shares(4096), MonoNs(5));
        assert!(matches!(l.settle(G, K), Some(Effect::SaveOriginal(o)) if o.ours == KnobValue::Shares(4096)));
        l.set(G, K, &KnobValue::Shares(1024), MonoNs(6));
        assert_eq!(l.settle(G, K), Some(Effect::ForgetOriginal { guest: G, knob: K }));
        assert_eq!(l.originals().count(), 0);
    }

    #[test]
    fn the_admin_gives_back() {
        let mut l = Ledger::default();
        let it = Override {
            guest: G,
            guest_name: "g".to_owned(),
            pid: Some(7),
            family: Family::Priority,
            why: "moved".to_owned(),
            time: crate::units::UnixMs(1),
        };
        assert_eq!(l.hand_over(it.clone()), Some(Effect::SaveOverride(it.clone())));
        assert_eq!(l.hand_over(it.clone()), None, "it was his already");
        let mut l = Ledger::load(Vec::new(), vec![it]);
        assert_eq!(l.handed_over(G, Family::Priority), Some("moved"));
        assert_eq!(l.take_back(Some(GuestId([2; 16]))), []);
        assert_eq!(l.take_back(None), [Effect::ForgetOverride { guest: G, family: Family::Priority }]);
        assert_eq!(l.handed_over(G, Family::Priority), None);
    }
}
