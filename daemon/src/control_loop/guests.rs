//! What the loop remembers of each guest between ticks: who it is, its wishes, what libvirt said last.
//!
//! May not: call anybody; a tick works with what is known, answers arrive when they arrive.

use crate::libvirt::{GuestRef, GuestStats, LibvirtError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use trimtab_policy::knob::{Knob, KnobValue};
use trimtab_policy::sample::{
    BlockSample, GuestMeta, GuestSample, GuestState, NetSample, PsiSet, ThreadSample,
};
use trimtab_policy::units::{GuestId, MonoNs};

/// A question about a guest; each is asked once at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// Knob values.
    Knobs,
    /// Metadata element.
    Metadata,
    /// Active job.
    Job,
}

/// One guest.
#[derive(Clone, Debug, Default)]
pub struct Tracked {
    /// Present name.
    pub name: String,
    /// qemu's pid, once found.
    pub pid: Option<i32>,
    /// The admin's wishes; while they are not known the guest is treated as excluded.
    pub meta: Option<Arc<GuestMeta>>,
    /// State by the last statistics.
    pub state: GuestState,
    /// vCPUs online, once libvirt has told.
    pub vcpus: Option<u32>,
    /// Disks by the last statistics that had them, until a sample has taken them.
    pub blocks: Vec<BlockSample>,
    /// Interfaces, likewise.
    pub nets: Vec<NetSample>,
    /// Balloon, KiB.
    pub balloon_kib: Option<u64>,
    /// When these statistics came, until a sample has taken them.
    pub stats_at: Option<MonoNs>,
    /// A libvirt job is active.
    pub job_active: bool,
    /// The last question was not answered in time.
    pub unresponsive: bool,
    /// Knobs read back since the last tick.
    pub fresh_knobs: Option<BTreeMap<Knob, KnobValue>>,
    /// Those of before it, for the sample under way: they are not newer than its host. A read-back that has seen CPUs
    /// vanish of which the host's side does not know yet would look like an admin's hand.
    pub due_knobs: Option<BTreeMap<Knob, KnobValue>>,
    /// Knobs as last read back, as text: shown at every tick, read rarely.
    pub knobs: Arc<BTreeMap<String, String>>,
    /// Questions to ask as soon as there is room.
    pub wanted: BTreeSet<Ask>,
    /// Questions to ask again at the next tick, because this one was not answered in time.
    pub again: BTreeSet<Ask>,
    /// It is in the line of those who wait for a question to be asked.
    pub in_line: bool,
}

impl Tracked {
    /// A guest that was just found: everything about it is to be asked.
    pub fn new(name: String) -> Self {
        Self { name, wanted: [Ask::Metadata, Ask::Knobs, Ask::Job].into(), ..Self::default() }
    }

    /// The guest has another process: another life, everything about it may differ, its wishes too.
    pub fn restarted(&mut self, pid: i32) {
        let name = std::mem::take(&mut self.name);
        *self = Self { pid: Some(pid), in_line: self.in_line, ..Self::new(name) };
    }

    /// Notes whether the guest answered at all.
    pub fn answered<T>(&mut self, ask: Ask, answer: &Result<T, LibvirtError>) {
        match answer {
            Ok(_) => self.unresponsive = false,
            Err(LibvirtError::Timeout { .. } | LibvirtError::BackedOff { .. }) => {
                self.unresponsive = true;
                self.again.insert(ask);
            }
            // It waited behind others or was busy: that says nothing about this guest.
            Err(LibvirtError::NoSlot { .. } | LibvirtError::Busy { .. }) => {
                self.again.insert(ask);
            }
            // Asked again by the resync that follows a reconnect or a lifecycle event.
            Err(LibvirtError::Gone(_) | LibvirtError::Away(_)) => {}
            Err(LibvirtError::Refused { .. }) => {}
        }
    }

    /// Takes over what the bulk statistics said at `at`; those of a busy domain lack disks, and are no statistics then.
    pub fn take_stats(&mut self, stats: GuestStats, at: MonoNs) {
        self.name = stats.name;
        self.state = stats.state;
        self.vcpus = stats.vcpus.or(self.vcpus);
        let Some(blocks) = stats.blocks else { return };
        self.stats_at = Some(at);
        self.blocks = blocks;
        if let Some(nets) = stats.nets {
            self.nets = nets;
        }
        if stats.balloon_kib.is_some() {
            self.balloon_kib = stats.balloon_kib;
        }
    }

    /// A tick falls, the host is read after this: what was read back until now is due, and so is what was not answered.
    pub fn tick(&mut self) {
        if let Some(knobs) = self.fresh_knobs.take() {
            self.due_knobs = Some(knobs);
        }
        self.wanted.append(&mut self.again);
    }

    /// Takes over what was read back.
    pub fn take_knobs(&mut self, knobs: BTreeMap<Knob, KnobValue>) {
        let text = |(knob, value): (&Knob, &KnobValue)| (knob.to_string(), value.to_string());
        self.knobs = Arc::new(knobs.iter().map(text).collect());
        self.fresh_knobs = Some(knobs);
    }

    /// Takes over the answer to the question for its metadata. Who was not answered in time keeps to what is known and is asked
    /// again; who was refused an answer knows nothing any more.
    pub fn take_metadata(&mut self, answer: Result<Option<String>, LibvirtError>) {
        match answer {
            Ok(xml) => self.meta = Some(Arc::new(super::requests::meta_of(&self.name, xml.as_deref()))),
            Err(error) => {
                tracing::warn!(%error, guest = self.name, "metadata not read");
                if matches!(error, LibvirtError::Refused { .. }) {
                    self.meta = None;
                }
            }
        }
    }

    /// A knob was turned: what was read back before that would look like somebody else's hand.
    pub fn forget_read_back(&mut self) {
        self.fresh_knobs = None;
        self.due_knobs = None;
    }

    /// The guest as part of this tick's sample. Statistics and knobs that were read back are handed over once.
    pub fn sample(&mut self, threads: Vec<ThreadSample>, psi: PsiSet) -> GuestSample {
        let unknown = || Arc::new(GuestMeta { excluded: true, ..GuestMeta::default() });
        GuestSample {
            name: self.name.clone(),
            state: self.state,
            pid: self.pid,
            meta: self.meta.clone().unwrap_or_else(unknown),
            vcpus: self.vcpus,
            threads,
            blocks: std::mem::take(&mut self.blocks),
            nets: std::mem::take(&mut self.nets),
            balloon_kib: self.balloon_kib,
            stats_at: self.stats_at.take(),
            job_active: self.job_active,
            unresponsive: self.unresponsive,
            psi,
            knobs: self.due_knobs.take(),
        }
    }
}

/// Brings the table in line with the list of active domains. Returns the guests that are new and those that are gone.
pub fn reconcile(
    table: &mut BTreeMap<GuestId, Tracked>,
    active: Vec<GuestRef>,
) -> (Vec<GuestId>, Vec<GuestId>) {
    let present: BTreeSet<GuestId> = active.iter().map(|g| g.id).collect();
    let gone: Vec<GuestId> = table.keys().filter(|id| !present.contains(id)).copied().collect();
    for id in &gone {
        table.remove(id);
    }
    let mut new = Vec::new();
    for GuestRef { id, name } in active {
        match table.get_mut(&id) {
            Some(guest) => guest.name = name,
            None => {
                table.insert(id, Tracked::new(name));
                new.push(id);
            }
        }
    }
    (new, gone)
}
