//! The tables of the configuration: plain data with defaults and ranges. The unit is the end of every name.

use super::error::ConfigError;
use super::layers::Fragment;
use super::locate;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use trimtab_policy::config::PolicyConfig;
use trimtab_store::Options;

/// Everything that the daemon can be told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What Trimtab may do and when.
    pub policy: PolicyConfig,
    /// How libvirt is reached.
    pub libvirt: LibvirtSection,
    /// The journal.
    pub store: StoreSection,
    /// What is measured how often.
    pub sensors: SensorsSection,
    /// The API of the daemon.
    pub dbus: DbusSection,
    /// Files that it came from, in the order of layering.
    #[serde(skip)]
    pub sources: Vec<PathBuf>,
}

/// `[libvirt]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LibvirtSection {
    /// Bus of libvirt-dbus: `system`, `session` or a D-Bus address. Absent: the bus of the daemon itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus: Option<String>,
    /// Object of the connection. `/org/libvirt/QEMU`.
    pub path: String,
    /// Calls in flight at most, 1..=64; must stay below libvirt-dbus' `--threads`, whose own default is 4. Default 3.
    pub calls: u32,
    /// Limit of a question about one guest, 100..=60000. Default 2000: four times what a loaded host was seen to take. As with
    /// the next two, a call first waits as long for a free slot.
    pub read_timeout_ms: u64,
    /// Limit of the statistics of all guests, 100..=60000. Default 750: later than that the sample is missed anyway.
    pub bulk_timeout_ms: u64,
    /// Limit of turning one knob, 1000..=120000. Default 35000: libvirt itself gives up after 30 s, and a change must
    /// not land after it was reported as not done.
    pub write_timeout_ms: u64,
}

impl Default for LibvirtSection {
    fn default() -> Self {
        Self {
            bus: None,
            path: "/org/libvirt/QEMU".to_owned(),
            calls: 3,
            read_timeout_ms: 2_000,
            bulk_timeout_ms: 750,
            write_timeout_ms: 35_000,
        }
    }
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSection {
    /// Directory of the journal. Absent: `$STATE_DIRECTORY` (set by systemd), else `/var/lib/trimtab`; for a session
    /// daemon `$XDG_STATE_HOME/trimtab`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    /// Bound of all files of the journal together, 8..=65536. Default 64: a month of 3 guests, or a day of 100.
    pub max_size_mib: u64,
    /// Samples are kept so long, 1..=3650. Default 30.
    pub samples_days: u32,
    /// Closed decisions and notes are kept so long, 1..=3650. Default 365.
    pub decisions_days: u32,
    /// One sample of each guest is stored every so often, 1..=3600. Default 5: fine enough to see a trial.
    pub sample_every_s: u32,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self { state_dir: None, max_size_mib: 64, samples_days: 30, decisions_days: 365, sample_every_s: 5 }
    }
}

impl StoreSection {
    /// Options of the journal in `state_dir`, with its mirror in `runtime_dir` where there is one.
    pub fn options(&self, state_dir: &Path, runtime_dir: Option<&Path>) -> Options {
        Options {
            runtime_dir: runtime_dir.map(Path::to_owned),
            max_bytes: self.max_size_mib << 20,
            samples_days: self.samples_days,
            decisions_days: self.decisions_days,
            ..Options::new(state_dir)
        }
    }
}

/// `[sensors]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SensorsSection {
    /// Time between two samples, 250..=10000. Default 1000.
    pub interval_ms: u64,
    /// Use perf events where the host has them. Default true.
    pub perf: bool,
}

impl Default for SensorsSection {
    fn default() -> Self {
        Self { interval_ms: 1_000, perf: true }
    }
}

/// `[dbus]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DbusSection {
    /// Bus on which `org.trimtab1` is offered: `system`, `session` or a D-Bus address. Default `system`.
    pub bus: String,
    /// Where no polkit runs, root and the members of this group may change something. Default `trimtab`.
    pub group: String,
}

impl Default for DbusSection {
    fn default() -> Self {
        Self { bus: "system".to_owned(), group: "trimtab".to_owned() }
    }
}

/// A value that makes no sense.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Violation {
    /// Dotted key from the top.
    pub(super) key: String,
    /// The key that it contradicts, where two do.
    pub(super) other: Option<String>,
    pub(super) text: String,
}

impl Config {
    /// Every value outside its range.
    pub(super) fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut bad =
            |key: &str, text: String| found.push(Violation { key: key.to_owned(), other: None, text });
        let (l, s) = (&self.libvirt, &self.store);
        let ranges = [
            ("libvirt.calls", u64::from(l.calls), 1, 64),
            ("libvirt.read_timeout_ms", l.read_timeout_ms, 100, 60_000),
            ("libvirt.bulk_timeout_ms", l.bulk_timeout_ms, 100, 60_000),
            ("libvirt.write_timeout_ms", l.write_timeout_ms, 1_000, 120_000),
            ("store.max_size_mib", s.max_size_mib, 8, 65_536),
            ("store.samples_days", u64::from(s.samples_days), 1, 3_650),
            ("store.decisions_days", u64::from(s.decisions_days), 1, 3_650),
            ("store.sample_every_s", u64::from(s.sample_every_s), 1, 3_600),
            ("sensors.interval_ms", self.sensors.interval_ms, 250, 10_000),
        ];
        for (key, value, min, max) in ranges {
            if !(min..=max).contains(&value) {
                bad(key, format!("{value} is outside {min}..={max}"));
            }
        }
        let buses = [("libvirt.bus", l.bus.as_deref()), ("dbus.bus", Some(self.dbus.bus.as_str()))];
        for (key, bus) in buses {
            if let Some(text) = bus.filter(|bus| !is_bus(bus)) {
                bad(
                    key,
                    format!(
                        "'{text}' is not a bus: system, session or a D-Bus address such as unix:path=/run/x"
                    ),
                );
            }
        }
        if zbus::ObjectPath::try_from(l.path.as_str()).is_err() {
            bad("libvirt.path", format!("'{}' is not a D-Bus object path", l.path));
        }
        if s.state_dir.as_ref().is_some_and(|dir| !dir.is_absolute()) {
            bad("store.state_dir", "is not an absolute path".to_owned());
        }
        if self.dbus.group.is_empty() || self.dbus.group.contains([':', '\0', '\n']) {
            bad("dbus.group", format!("'{}' is not a group name", self.dbus.group.escape_debug()));
        }
        found.extend(self.policy.validate().err().unwrap_or_default().iter().map(Violation::of_policy));
        found
    }
}

impl Violation {
    /// What the policy says of its own values; its keys begin below `policy`.
    fn of_policy(error: &trimtab_policy::config::ConfigError) -> Self {
        use trimtab_policy::config::ConfigError;
        let below = |key: &str| format!("policy.{key}");
        match error {
            ConfigError::Range { key, value, min, max } => {
                Self { key: below(key), other: None, text: format!("{value} is outside {min}..={max}") }
            }
            ConfigError::LessThan { key, value, other, other_value } => Self {
                key: below(key),
                other: Some(below(other)),
                text: format!("{value} is less than {} = {other_value}", below(other)),
            },
        }
    }
}

fn is_bus(text: &str) -> bool {
    matches!(text, "system" | "session") || zbus::Address::from_str(text).is_ok()
}

/// A fragment alone, the rest being defaults.
///
/// # Errors
/// Unknown keys and wrong types: the first of each table that is not nested in another wrong one.
pub(super) fn parse(fragment: &Fragment) -> Result<Config, Vec<ConfigError>> {
    toml::from_str(fragment.text()).map_err(|error: toml::de::Error| {
        let offset = error.span().map_or(0, |span| span.start);
        vec![fragment.error(offset, locate::key_at(fragment.text(), offset), error.message())]
    })
}
