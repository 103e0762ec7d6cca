//! libvirt as the rest of the daemon sees it: one trait, real over libvirt-dbus or fake for unit tests.
//!
//! Promises of every implementation: each call ends within its time-out; calls in flight stay below libvirt-dbus' thread
//! count; a signal can never hold up a call; a guest whose calls time out backs off alone (`LibvirtError::BackedOff`).
//! May not: decide anything.

mod calls;
mod client;
pub mod config;
mod errors;
mod events;
pub mod fake;
mod knobs;
mod limits;
mod link;
pub mod metadata;
mod names;
mod pids;
mod proxies;
mod stats;

pub use client::LibvirtDbus;
pub use config::LibvirtConfig;
pub use pids::qemu_pid;
pub(crate) use pids::qemu_pid_in;
pub use stats::decode as decode_stats;

use std::collections::BTreeMap;
use std::future::Future;
use trimtab_policy::knob::{Knob, KnobValue};
use trimtab_policy::sample::{BlockSample, GuestState, NetSample};
use trimtab_policy::units::GuestId;

/// One active domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestRef {
    /// UUID.
    pub id: GuestId,
    /// Present name.
    pub name: String,
}

/// Bulk statistics of one domain (GetAllDomainStats), typed. Absent = libvirt did not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GuestStats {
    /// Present name.
    pub name: String,
    /// UUID where the record carries it (resolved by the client).
    pub id: Option<GuestId>,
    /// State.
    pub state: GuestState,
    /// vCPUs online.
    pub vcpus: Option<u32>,
    /// Disks; `None` when the domain was busy and its statistics came without them.
    pub blocks: Option<Vec<BlockSample>>,
    /// Interfaces.
    pub nets: Option<Vec<NetSample>>,
    /// Balloon size, KiB.
    pub balloon_kib: Option<u64>,
}

/// What can go wrong with libvirt. Every variant leaves the guest's knobs as they were unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum LibvirtError {
    /// No answer in time: the knob may or may not have been turned; read it back.
    #[error("{call} of {whom}: no answer within {timeout_ms} ms")]
    Timeout {
        /// D-Bus method.
        call: &'static str,
        /// Guest name or `host`.
        whom: String,
        /// The limit.
        timeout_ms: u64,
    },
    /// The call was not made: others that were not answered yet hold every slot. Says nothing about the guest.
    #[error("{call} of {whom}: not made, every call slot was taken for {waited_ms} ms")]
    NoSlot {
        /// D-Bus method.
        call: &'static str,
        /// Guest name or `host`.
        whom: String,
        /// How long it waited for one.
        waited_ms: u64,
    },
    /// The call was not made: the guest was busy for a moment, while another one hangs. Says nothing about the guest.
    #[error("{call} of {whom}: not made, it was busy")]
    Busy {
        /// D-Bus method.
        call: &'static str,
        /// Guest name.
        whom: String,
    },
    /// The guest did not answer lately; not asked again before its back-off ends.
    #[error("{whom} does not answer, asked again in {retry_in_ms} ms")]
    BackedOff {
        /// Guest name.
        whom: String,
        /// Remaining back-off.
        retry_in_ms: u64,
    },
    /// libvirt refused.
    #[error("{call} of {whom}: {text}")]
    Refused {
        /// D-Bus method.
        call: &'static str,
        /// Guest name or `host`.
        whom: String,
        /// libvirt's text.
        text: String,
    },
    /// The guest is gone.
    #[error("{0} is gone")]
    Gone(String),
    /// The bus, libvirt-dbus or libvirtd is away; the client reconnects by itself.
    #[error("libvirt is away: {0}")]
    Away(String),
}

/// What libvirt tells on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LibvirtEvent {
    /// The connection (bus, libvirt-dbus and libvirtd) works (again): everything may have changed, resync.
    Connected,
    /// The connection is lost.
    Disconnected(String),
    /// A domain started, stopped, was paused, resumed, renamed, ...: look at it again.
    Lifecycle(GuestId),
    /// A tunable (pins, shares, ...) was changed by anybody: read it back.
    Tunable(GuestId),
    /// The metadata changed: read it again.
    Metadata(GuestId),
}

/// libvirt on one host. See the module's promises.
pub trait Hypervisor: Send + Sync + 'static {
    /// Active domains.
    fn guests(&self) -> impl Future<Output = Result<Vec<GuestRef>, LibvirtError>> + Send;
    /// Statistics of all active domains in one call, never waiting for a busy one.
    fn bulk_stats(&self) -> impl Future<Output = Result<Vec<GuestStats>, LibvirtError>> + Send;
    /// Present values of the knobs that exist for this guest (a missing CPU controller: no `CpuShares`).
    fn knobs(
        &self,
        id: GuestId,
    ) -> impl Future<Output = Result<BTreeMap<Knob, KnobValue>, LibvirtError>> + Send;
    /// Turn one knob, live only (never the persistent definition).
    fn set_knob(
        &self,
        id: GuestId,
        knob: Knob,
        value: &KnobValue,
    ) -> impl Future<Output = Result<(), LibvirtError>> + Send;
    /// The `urn:trimtab:guest:1` metadata element, if any, as XML text.
    fn metadata(&self, id: GuestId) -> impl Future<Output = Result<Option<String>, LibvirtError>> + Send;
    /// Whether a libvirt job (migration, backup, ...) is active.
    fn job_active(&self, id: GuestId) -> impl Future<Output = Result<bool, LibvirtError>> + Send;
    /// The next event. Events are coalesced, never lost without a `Connected` (= resync) following.
    fn next_event(&self) -> impl Future<Output = LibvirtEvent> + Send;
}
