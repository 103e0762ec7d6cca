//! `FakeHypervisor`: libvirt in memory, for unit tests and for benches with many guests. Proves nothing about libvirt.
//!
//! Guests, their knobs and statistics are programmed; faults are switched on and off: delays, hung guests, refusals, a
//! lost link, an admin who turns knobs under us. Every write is recorded. May not: touch the host.

use super::events::EventSet;
use super::{GuestRef, GuestStats, Hypervisor, LibvirtError, LibvirtEvent};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use trimtab_policy::knob::{Knob, KnobValue};
use trimtab_policy::sample::GuestState;
use trimtab_policy::topology::CpuSet;
use trimtab_policy::units::GuestId;

/// One guest of the fake.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FakeGuest {
    /// Name.
    pub name: String,
    /// Present knob values.
    pub knobs: BTreeMap<Knob, KnobValue>,
    /// What the bulk statistics say (name, id are filled in).
    pub stats: GuestStats,
    /// Metadata element.
    pub metadata: Option<String>,
    /// A job is active.
    pub job: bool,
    /// qemu does not answer: calls time out, bulk statistics come without disks.
    pub hung: bool,
    /// The answer to a write never comes.
    pub lose_writes: bool,
    /// The write itself happens all the same, when its answer does not come or the guest is hung.
    pub writes_land: bool,
    /// Every write is refused with this text.
    pub refuse_writes: Option<String>,
}

impl FakeGuest {
    /// A running guest with `vcpus` vCPUs and one IOThread, all allowed on `host_cpus` CPUs, shares 1024, one disk.
    pub fn new(name: &str, vcpus: u32, host_cpus: u32) -> Self {
        let all = KnobValue::Cpus(CpuSet::first(host_cpus));
        let affinities = (0..vcpus)
            .map(Knob::VcpuAffinity)
            .chain([Knob::EmulatorAffinity, Knob::IothreadAffinity(1)])
            .map(|knob| (knob, all.clone()));
        let stats = GuestStats {
            state: GuestState::Running,
            vcpus: Some(vcpus),
            blocks: Some(vec![trimtab_policy::sample::BlockSample {
                name: "vda".to_owned(),
                ..Default::default()
            }]),
            nets: Some(Vec::new()),
            balloon_kib: Some(131_072),
            ..GuestStats::default()
        };
        let knobs = affinities.chain([(Knob::CpuShares, KnobValue::Shares(1024))]).collect();
        Self { name: name.to_owned(), knobs, stats, ..Self::default() }
    }
}

/// A write that reached the fake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeWrite {
    /// Whose knob.
    pub guest: GuestId,
    /// Which.
    pub knob: Knob,
    /// To what.
    pub value: KnobValue,
}

#[derive(Debug, Default)]
struct World {
    guests: BTreeMap<GuestId, FakeGuest>,
    writes: Vec<FakeWrite>,
    calls: u64,
    away: Option<String>,
    delay: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    world: Mutex<World>,
    events: EventSet,
}

/// libvirt in memory. A clone is another handle on the same host.
#[derive(Clone, Debug, Default)]
pub struct FakeHypervisor(Arc<Shared>);

/// How long a call to a hung guest takes to fail, so that tests are quick.
const HUNG_TIMEOUT: Duration = Duration::from_millis(20);

impl FakeHypervisor {
    /// A connected host without guests: `Connected` is the first event.
    pub fn new() -> Self {
        let fake = Self::default();
        fake.0.events.push(LibvirtEvent::Connected);
        fake
    }

    /// A host with `count` guests `g0`, `g1`, ... of `vcpus` vCPUs each.
    pub fn with_guests(count: u8, vcpus: u32, host_cpus: u32) -> Self {
        let fake = Self::new();
        for n in 0..count {
            fake.add(Self::id(n), FakeGuest::new(&format!("g{n}"), vcpus, host_cpus));
        }
        fake
    }

    /// The identity of guest number `n` of `with_guests`.
    pub fn id(n: u8) -> GuestId {
        GuestId([n; 16])
    }

    /// A guest appears.
    pub fn add(&self, id: GuestId, guest: FakeGuest) {
        self.world().guests.insert(id, guest);
        self.0.events.push(LibvirtEvent::Lifecycle(id));
    }

    /// A guest disappears.
    pub fn remove(&self, id: GuestId) {
        self.world().guests.remove(&id);
        self.0.events.push(LibvirtEvent::Lifecycle(id));
    }

    /// A guest gets another name.
    pub fn rename(&self, id: GuestId, name: &str) {
        self.edit(id, |guest| name.clone_into(&mut guest.name));
        self.0.events.push(LibvirtEvent::Lifecycle(id));
    }

    /// An admin turns a knob (`virsh vcpupin` and the like).
    pub fn admin_sets(&self, id: GuestId, knob: Knob, value: KnobValue) {
        self.edit(id, |guest| drop(guest.knobs.insert(knob, value)));
        self.0.events.push(LibvirtEvent::Tunable(id));
    }

    /// An admin writes the metadata.
    pub fn admin_writes_metadata(&self, id: GuestId, xml: Option<&str>) {
        self.edit(id, |guest| guest.metadata = xml.map(str::to_owned));
        self.0.events.push(LibvirtEvent::Metadata(id));
    }

    /// Change anything about a guest without an event; nothing if there is no such guest.
    pub fn edit(&self, id: GuestId, change: impl FnOnce(&mut FakeGuest)) {
        if let Some(guest) = self.world().guests.get_mut(&id) {
            change(guest);
        }
    }

    /// A copy of a guest as it is now.
    pub fn guest(&self, id: GuestId) -> Option<FakeGuest> {
        self.world().guests.get(&id).cloned()
    }

    /// Every answer takes this long.
    pub fn set_delay(&self, delay: Duration) {
        self.world().delay = delay;
    }

    /// The link is lost (`Some`: calls fail with this text) or is there again.
    pub fn set_away(&self, why: Option<&str>) {
        self.world().away = why.map(str::to_owned);
        self.0.events.push(match why {
            Some(why) => LibvirtEvent::Disconnected(why.to_owned()),
            None => LibvirtEvent::Connected,
        });
    }

    /// Writes so far, in order.
    pub fn writes(&self) -> Vec<FakeWrite> {
        self.world().writes.clone()
    }

    /// Calls so far, of any kind.
    pub fn calls(&self) -> u64 {
        self.world().calls
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens to every call first.
    async fn enter(&self) -> Result<(), LibvirtError> {
        let (delay, away) = {
            let mut world = self.world();
            world.calls += 1;
            (world.delay, world.away.clone())
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        away.map_or(Ok(()), |why| Err(LibvirtError::Away(why)))
    }

    /// A call about one guest.
    async fn about<T>(
        &self,
        call: &'static str,
        id: GuestId,
        answer: impl FnOnce(&mut World, GuestId) -> Result<T, LibvirtError>,
    ) -> Result<T, LibvirtError> {
        let write = call == super::knobs::method(Knob::CpuShares) || call.starts_with("Pin");
        self.enter().await?;
        let whom = {
            let mut world = self.world();
            let guest = world.guests.get(&id).ok_or_else(|| LibvirtError::Gone(id.to_string()))?;
            let silent = guest.hung || (write && guest.lose_writes);
            if !silent {
                return answer(&mut world, id);
            }
            guest.name.clone()
        };
        tokio::time::sleep(HUNG_TIMEOUT).await;
        Err(LibvirtError::Timeout { call, whom, timeout_ms: HUNG_TIMEOUT.as_millis() as u64 })
    }
}

impl World {
    fn read<T>(&self, id: GuestId, what: impl FnOnce(&FakeGuest) -> T) -> Result<T, LibvirtError> {
        self.guests.get(&id).map(what).ok_or_else(|| LibvirtError::Gone(id.to_string()))
    }
}

impl Hypervisor for FakeHypervisor {
    async fn guests(&self) -> Result<Vec<GuestRef>, LibvirtError> {
        self.enter().await?;
        Ok(self.world().guests.iter().map(|(&id, guest)| GuestRef { id, name: guest.name.clone() }).collect())
    }

    async fn bulk_stats(&self) -> Result<Vec<GuestStats>, LibvirtError> {
        self.enter().await?;
        let world = self.world();
        let stats = world.guests.iter().map(|(&id, guest)| {
            let blocks = guest.stats.blocks.clone().filter(|_| !guest.hung);
            GuestStats { name: guest.name.clone(), id: Some(id), blocks, ..guest.stats.clone() }
        });
        Ok(stats.collect())
    }

    async fn knobs(&self, id: GuestId) -> Result<BTreeMap<Knob, KnobValue>, LibvirtError> {
        self.about("GetVcpuPinInfo", id, |world, id| world.read(id, |guest| guest.knobs.clone())).await
    }

    async fn set_knob(&self, id: GuestId, knob: Knob, value: &KnobValue) -> Result<(), LibvirtError> {
        let written = |world: &mut World| {
            if let Some(guest) = world.guests.get_mut(&id) {
                guest.knobs.insert(knob, value.clone());
                world.writes.push(FakeWrite { guest: id, knob, value: value.clone() });
            }
        };
        let call = super::knobs::method(knob);
        let result = self
            .about(call, id, |world, id| {
                let (name, refuse, known) = world
                    .read(id, |g| (g.name.clone(), g.refuse_writes.clone(), g.knobs.contains_key(&knob)))?;
                let text = refuse.or_else(|| (!known).then(|| format!("no {knob}")));
                if let Some(text) = text {
                    return Err(LibvirtError::Refused { call, whom: name, text });
                }
                written(world);
                Ok(())
            })
            .await;
        if result.is_ok() {
            self.0.events.push(LibvirtEvent::Tunable(id));
        } else if self.world().guests.get(&id).is_some_and(|guest| guest.writes_land) {
            written(&mut self.world());
        }
        result
    }

    async fn metadata(&self, id: GuestId) -> Result<Option<String>, LibvirtError> {
        self.about("GetMetadata", id, |world, id| world.read(id, |guest| guest.metadata.clone())).await
    }

    async fn job_active(&self, id: GuestId) -> Result<bool, LibvirtError> {
        self.about("GetJobInfo", id, |world, id| world.read(id, |guest| guest.job)).await
    }

    async fn next_event(&self) -> LibvirtEvent {
        self.0.events.next().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_hundred_guests_one_of_them_hung() {
        let fake = FakeHypervisor::with_guests(200, 4, 8);
        let hung = FakeHypervisor::id(7);
        fake.edit(hung, |guest| guest.hung = true);
        assert_eq!(fake.guests().await.unwrap().len(), 200);
        let stats = fake.bulk_stats().await.unwrap();
        let without_disks: Vec<_> = stats.iter().filter(|s| s.blocks.is_none()).map(|s| s.id).collect();
        assert_eq!((stats.len(), without_disks), (200, vec![Some(hung)]));
        assert!(matches!(fake.knobs(hung).await, Err(LibvirtError::Timeout { .. })));
        assert_eq!(fake.knobs(FakeHypervisor::id(8)).await.unwrap().len(), 7);
    }

    #[tokio::test]
    async fn the_admin_is_seen_and_writes_are_recorded() {
        let fake = FakeHypervisor::with_guests(1, 1, 2);
        let id = FakeHypervisor::id(0);
        assert_eq!(fake.next_event().await, LibvirtEvent::Connected);
        assert_eq!(fake.next_event().await, LibvirtEvent::Lifecycle(id));
        let value = KnobValue::Shares(7);
        fake.admin_sets(id, Knob::CpuShares, value.clone());
        assert_eq!(fake.next_event().await, LibvirtEvent::Tunable(id));
        assert_eq!(fake.writes(), []);
        fake.set_knob(id, Knob::CpuShares, &KnobValue::Shares(8)).await.unwrap();
        assert_eq!(
            fake.writes(),
            [FakeWrite { guest: id, knob: Knob::CpuShares, value: KnobValue::Shares(8) }]
        );
        fake.set_away(Some("cut"));
        assert!(matches!(fake.guests().await, Err(LibvirtError::Away(why)) if why == "cut"));
    }
}
