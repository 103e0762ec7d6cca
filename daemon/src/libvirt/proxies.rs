//! The part of libvirt-dbus' interfaces that Trimtab uses, as zbus proxies. May not: hold state or policy.
//!
//! Built with `CacheProperties::No`: libvirt-dbus answers `GetAll` with every value wrapped twice. Absent on purpose:
//! `SetGuestVcpus` (crashes libvirt-dbus 1.4.1) and `SetVcpus` (vCPU hot-unplug).

use super::stats::{Params, Records};
use std::collections::HashMap;
use zbus::{OwnedObjectPath, OwnedVariant, Variant};

/// Well-known name of libvirt-dbus.
pub(super) const SERVICE: &str = "org.libvirt";
/// Act on, or read from, the running domain only.
pub(super) const AFFECT_LIVE: u32 = 1;

#[zbus::proxy(interface = "org.libvirt.Connect", default_service = "org.libvirt")]
pub(crate) trait Connect {
    fn list_domains(&self, flags: u32) -> zbus::Result<Vec<OwnedObjectPath>>;
    fn domain_lookup_by_name(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn get_all_domain_stats(&self, stats: u32, flags: u32) -> zbus::Result<Records>;
    #[zbus(property, name = "LibVersion")]
    fn lib_version(&self) -> zbus::Result<u64>;
}

/// `GetIOThreadInfo`: id and CPU map.
pub(super) type IothreadInfo = (u32, Vec<bool>);
/// `GetJobInfo`: the type of the job (0 = none), then eleven counters.
pub(super) type JobInfo = (i32, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64);

#[zbus::proxy(interface = "org.libvirt.Domain", default_service = "org.libvirt")]
pub(crate) trait Domain {
    #[zbus(property)]
    fn name(&self) -> zbus::Result<String>;
    fn get_stats(&self, stats: u32, flags: u32) -> zbus::Result<Params>;
    fn get_vcpu_pin_info(&self, flags: u32) -> zbus::Result<Vec<Vec<bool>>>;
    fn pin_vcpu(&self, vcpu: u32, cpus: &[bool], flags: u32) -> zbus::Result<()>;
    fn get_emulator_pin_info(&self, flags: u32) -> zbus::Result<Vec<bool>>;
    fn pin_emulator(&self, cpus: &[bool], flags: u32) -> zbus::Result<()>;
    #[zbus(name = "GetIOThreadInfo")]
    fn get_iothread_info(&self, flags: u32) -> zbus::Result<Vec<IothreadInfo>>;
    #[zbus(name = "PinIOThread")]
    fn pin_iothread(&self, iothread: u32, cpus: &[bool], flags: u32) -> zbus::Result<()>;
    fn get_scheduler_parameters(&self, flags: u32) -> zbus::Result<HashMap<String, OwnedVariant>>;
    fn set_scheduler_parameters(
        &self,
        parameters: HashMap<&str, Variant<'_>>,
        flags: u32,
    ) -> zbus::Result<()>;
    fn get_metadata(&self, kind: i32, uri: &str, flags: u32) -> zbus::Result<String>;
    fn get_job_info(&self) -> zbus::Result<JobInfo>;
}
