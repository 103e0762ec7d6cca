//! Where libvirt is and how long it may take to answer. Plain data; May not: open anything.

use crate::bus::Bus;
use std::time::Duration;

/// Assumption: a healthy but loaded host answers within half a second (seen: 0.51 s for the bulk statistics of three
/// guests that booted under TCG on two cores). Four times that is no answer.
pub const READ_TIMEOUT: Duration = Duration::from_millis(2000);
/// Assumption: statistics are asked for once a second; an answer that takes longer than this has missed its sample.
pub const BULK_TIMEOUT: Duration = Duration::from_millis(750);
/// Assumption: libvirt itself gives up a change after 30 s (QEMU_JOB_WAIT_TIME, "cannot acquire state change lock").
/// Waiting a little longer means that a change never lands after it was reported as not done.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(35);
/// Assumption: libvirt-dbus runs with its default of 4 worker threads; one of them stays free for everybody else, for a nudge
/// of some milliseconds, and for one call more once all of these are stuck. libvirtd itself works on 5 calls of one client at a
/// time (max_client_requests): these, that one more and the nudge.
pub const MAX_IN_FLIGHT: usize = 3;
/// Assumption: an answer or an error comes at least this often from a daemon that samples at 1 Hz; without any call for
/// so long, one is made, because libvirt-dbus reconnects to a restarted libvirtd only when it is called.
pub const PROBE_EVERY: Duration = Duration::from_secs(5);
/// Assumption: an event lost in a restart of libvirtd that nobody noticed may go unseen for this long, not longer.
pub const RESYNC_EVERY: Duration = Duration::from_secs(300);

/// Everything that the client can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibvirtConfig {
    /// The bus that libvirt-dbus is on.
    pub bus: Bus,
    /// Object path of the connection: `/org/libvirt/QEMU`.
    pub path: String,
    /// Limit of one reading call. As with the other limits, a call first waits as long for a free slot.
    pub read_timeout: Duration,
    /// Limit of the bulk statistics, after which only what needs no monitor is asked for.
    pub bulk_timeout: Duration,
    /// Limit of one change.
    pub write_timeout: Duration,
    /// Calls in flight at most, below libvirt-dbus' `--threads`.
    pub max_in_flight: usize,
    /// Longest silence before the link is probed.
    pub probe_every: Duration,
    /// Longest time between two `Connected` (= resync) events.
    pub resync_every: Duration,
}

impl Default for LibvirtConfig {
    fn default() -> Self {
        Self {
            bus: Bus::System,
            path: "/org/libvirt/QEMU".to_owned(),
            read_timeout: READ_TIMEOUT,
            bulk_timeout: BULK_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            max_in_flight: MAX_IN_FLIGHT,
            probe_every: PROBE_EVERY,
            resync_every: RESYNC_EVERY,
        }
    }
}
