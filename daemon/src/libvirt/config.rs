//! Where libvirt is and how long it may take to answer. Plain data; May not: open anything.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Which message bus libvirt-dbus is on. Text: `system`, `session` or a D-Bus address such as `unix:path=/run/x`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Bus {
    /// The system bus.
    #[default]
    System,
    /// The user's session bus.
    Session,
    /// Any other bus, by address.
    Address(String),
}

/// The text names no bus.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a bus: system, session or a D-Bus address such as unix:path=/run/dbus/system_bus_socket"
)]
pub struct BadBus(pub String);

impl FromStr for Bus {
    type Err = BadBus;
    fn from_str(text: &str) -> Result<Self, BadBus> {
        match text {
            "system" => Ok(Self::System),
            "session" => Ok(Self::Session),
            address => {
                zbus::Address::from_str(address).map_err(|_| BadBus(text.to_owned()))?;
                Ok(Self::Address(address.to_owned()))
            }
        }
    }
}

impl TryFrom<String> for Bus {
    type Error = BadBus;
    fn try_from(text: String) -> Result<Self, BadBus> {
        text.parse()
    }
}

impl From<Bus> for String {
    fn from(bus: Bus) -> Self {
        bus.to_string()
    }
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Session => f.write_str("session"),
            Self::Address(address) => f.write_str(address),
        }
    }
}

/// Assumption: a healthy but loaded host answers within half a second (seen: 0.51 s for the bulk statistics of three
/// guests that booted under TCG on two cores). Four times that is no answer.
pub const READ_TIMEOUT: Duration = Duration::from_millis(2000);
/// Assumption: statistics are asked for once a second; an answer that takes longer than this has missed its sample.
pub const BULK_TIMEOUT: Duration = Duration::from_millis(750);
/// Assumption: libvirt itself gives up a change after 30 s (QEMU_JOB_WAIT_TIME, "cannot acquire state change lock").
/// Waiting a little longer means that a change never lands after it was reported as not done.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(35);
/// Assumption: libvirt-dbus runs with its default of 4 worker threads; one of them stays free for everybody else.
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
    /// Limit of one reading call, waiting for a free slot included.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bus_text_round_trips_and_nonsense_is_refused() {
        for text in ["system", "session", "unix:path=/run/dbus/system_bus_socket"] {
            assert_eq!(text.parse::<Bus>().unwrap().to_string(), text);
        }
        assert_eq!("sytsem".parse::<Bus>(), Err(BadBus("sytsem".to_owned())));
    }
}
