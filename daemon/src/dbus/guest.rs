//! `org.trimtab1.Guest`. The doc comments of the members are the API's documentation: they appear in the introspection.
//!
//! May not: change anything.

use super::doc::InterfaceDoc;
use super::proxy::{Error, OriginalRecord};
use super::record::{cpus, share, state_text};
use crate::handle::{GuestView, Handle, View};
use std::collections::BTreeMap;
use std::sync::Arc;
use trimtab_policy::decision::Original;
use trimtab_policy::units::GuestId;
use zbus::interface;

/// The object of one guest.
pub(super) struct Guest {
    handle: Handle,
    id: GuestId,
}

impl Guest {
    pub(super) fn new(handle: Handle, id: GuestId) -> Self {
        Self { handle, id }
    }

    /// What `take` makes of the guest as last seen. NotFound if the guest is gone, in the moment before its object is
    /// removed, or if `take` finds nothing.
    fn seen<T>(&self, name: &str, take: impl FnOnce(&GuestView) -> Option<T>) -> Result<T, Error> {
        let view: Arc<View> = self.handle.view.borrow().clone();
        let Some(guest) = view.guests.get(&self.id) else {
            return Err(Error::NotFound(format!("guest {} is gone", self.id)));
        };
        take(guest)
            .ok_or_else(|| Error::NotFound(format!("guest {} has no {name} at the moment", guest.name)))
    }
}

impl InterfaceDoc for Guest {
    const DOC: &'static str = "One active libvirt domain. A property that the guest does not have is missing from GetAll; \
        Get answers org.trimtab1.Error.NotFound for it, and PropertiesChanged lists it as invalidated when it disappears.";
}

#[interface(name = "org.trimtab1.Guest")]
impl Guest {
    /// libvirt's UUID of the domain: its identity, also when renamed.
    #[zbus(property(emits_changed_signal = "const"))]
    fn uuid(&self) -> String {
        self.id.to_string()
    }

    /// Present name of the domain.
    #[zbus(property)]
    fn name(&self) -> Result<String, Error> {
        self.seen("Name", |g| Some(g.name.clone()))
    }

    /// running, paused or other.
    #[zbus(property)]
    fn state(&self) -> Result<String, Error> {
        self.seen("State", |g| Some(state_text(g.state).to_owned()))
    }

    /// qemu's process id; missing where libvirt does not tell.
    #[zbus(property)]
    fn pid(&self) -> Result<i32, Error> {
        self.seen("Pid", |g| g.pid)
    }

    /// vCPUs online; missing until libvirt has told.
    #[zbus(property)]
    fn vcpus(&self) -> Result<u32, Error> {
        self.seen("Vcpus", |g| g.vcpus)
    }

    /// Weight from the domain's metadata, 1024 unless told.
    #[zbus(property)]
    fn weight(&self) -> Result<u32, Error> {
        self.seen("Weight", |g| Some(g.weight))
    }

    /// Job (gang) from the domain's metadata; missing if there is none.
    #[zbus(property)]
    fn job(&self) -> Result<String, Error> {
        self.seen("Job", |g| g.job.clone())
    }

    /// CPU time per second of all its threads, in CPUs, rounded to 0.01.
    #[zbus(property)]
    fn cpu_cores(&self) -> Result<f64, Error> {
        self.seen("CpuCores", |g| g.cpu_cores.map(cpus))
    }

    /// Share of the wanted CPU time spent waiting in a run queue, 0 to 1, rounded to 0.001. Missing while it wants less than 0.01.
    #[zbus(property)]
    fn run_delay(&self) -> Result<f64, Error> {
        self.seen("RunDelay", |g| g.run_delay.map(share))
    }

    /// Bytes read per second from all disks, rounded to 1.
    #[zbus(property)]
    fn read_bytes_per_second(&self) -> Result<f64, Error> {
        self.seen("ReadBytesPerSecond", |g| g.read_bps.map(f64::round))
    }

    /// Bytes written per second to all disks, rounded to 1.
    #[zbus(property)]
    fn write_bytes_per_second(&self) -> Result<f64, Error> {
        self.seen("WriteBytesPerSecond", |g| g.write_bps.map(f64::round))
    }

    /// Estimated speed relative to running alone, 0 to 1, rounded to 0.001.
    #[zbus(property)]
    fn speed(&self) -> Result<f64, Error> {
        self.seen("Speed", |g| g.speed.map(share))
    }

    /// Bottleneck that the policy names: none, cpu, io-service, ...
    #[zbus(property)]
    fn bottleneck(&self) -> Result<String, Error> {
        self.seen("Bottleneck", |g| Some(g.bottleneck.clone()))
    }

    /// Workload profile, the key of what Trimtab has learned.
    #[zbus(property)]
    fn profile(&self) -> Result<String, Error> {
        self.seen("Profile", |g| Some(g.profile.clone()))
    }

    /// Why the guest is left alone; missing if it is not.
    #[zbus(property)]
    fn left_alone(&self) -> Result<String, Error> {
        self.seen("LeftAlone", |g| g.left_alone.clone())
    }

    /// Values of its knobs as last read back, by knob name: a CPU list for affinities, a number otherwise.
    #[zbus(property)]
    fn knobs(&self) -> Result<BTreeMap<String, String>, Error> {
        self.seen("Knobs", |g| Some(BTreeMap::clone(&g.knobs)))
    }

    /// Knobs that Trimtab has turned: knob, value before Trimtab first touched it, value that Trimtab set last.
    #[zbus(property)]
    fn originals(&self) -> Result<Vec<OriginalRecord>, Error> {
        self.seen("Originals", |g| Some(g.originals.iter().map(|o| OriginalRecord::from(&**o)).collect()))
    }

    /// Knobs that Trimtab has turned and that are on their way back, and the value that each goes to: the original, or what an
    /// earlier decision had set. They wait for the guest, or are tried again because that was refused; LeftAlone, Notes and the
    /// decision's outcome say more.
    #[zbus(property)]
    fn going_back(&self) -> Result<BTreeMap<String, String>, Error> {
        let to = |o: &Arc<Original>| Some((o.knob.to_string(), o.back_to.as_ref()?.to_string()));
        self.seen("GoingBack", |g| Some(g.originals.iter().filter_map(to).collect()))
    }
}
