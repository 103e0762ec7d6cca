//! The client side of `org.trimtab1`: everything that `trimtabctl` (or a test) needs to talk to a running daemon.
//!
//! Names, errors and record types are shared with the serving side, so that the two cannot drift apart. An absent value
//! is a missing dictionary key, on the wire and here (`Option`), never 0 or -1.
//! May not: see the loop's handle, libvirt or the store.

mod client;
mod records;

pub use crate::bus::{BadBus, Bus};
pub use client::{Client, ClientError, PastQuery};
pub use records::{
    ChangeRecord, CpuLoadRecord, DecisionRecord, DemandRecord, GuestRecord, ManagerRecord, NoteRecord,
    OriginalRecord,
};

use std::collections::{BTreeMap, HashMap};
use zbus::{OwnedObjectPath, Variant};

/// Well-known bus name of the daemon.
pub const NAME: &str = "org.trimtab1";
/// Path of the manager and of the object manager.
pub const PATH: &str = "/org/trimtab1";
/// Path below which the guests are, one object each, named by UUID with `_` for `-`.
pub const GUEST_PATH: &str = "/org/trimtab1/guest";
/// Interface of [`PATH`].
pub const MANAGER: &str = "org.trimtab1.Manager";
/// Interface of each guest object.
pub const GUEST: &str = "org.trimtab1.Guest";
/// Most decisions that one call of `Decisions` returns, and most notes that one of `Notes` does.
pub const MAX_DECISIONS: u32 = 10_000;

/// Why a call failed, as a D-Bus error `org.trimtab1.Error.<variant>`. Nothing was changed unless `Failed` or `Unfinished` say so.
#[derive(Clone, Debug, zbus::DBusError)]
#[zbus(prefix = "org.trimtab1.Error")]
pub enum Error {
    /// The bus or the connection failed, or the daemon is not there; no answer of the daemon.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// No such guest or decision, or a property that this host or guest does not have.
    NotFound(String),
    /// The call makes no sense in the present state.
    Conflict(String),
    /// Bad argument.
    InvalidArgs(String),
    /// Knobs that were to go back are not there yet; the text names them, and the daemon goes on trying.
    Unfinished(String),
    /// The control loop, libvirt or the journal failed; the text says what was and was not done.
    Failed(String),
    /// The caller may not do that.
    NotAuthorized(String),
}

/// `org.trimtab1.Manager` at [`PATH`]. Properties: see [`ManagerRecord`].
#[zbus::proxy(
    interface = "org.trimtab1.Manager",
    default_service = "org.trimtab1",
    default_path = "/org/trimtab1"
)]
pub trait Manager {
    /// Guests seen at the last tick: object path, UUID, name.
    fn list_guests(&self) -> Result<Vec<(OwnedObjectPath, String, String)>, Error>;

    /// Object path of the guest with this name or UUID.
    fn get_guest(&self, guest: &str) -> Result<OwnedObjectPath, Error>;

    /// Decisions, newest first; filter keys `guest` (s), `since` (x, ms since the epoch), `limit` (u).
    fn decisions(&self, filter: &HashMap<&str, Variant<'_>>) -> Result<Vec<DecisionRecord>, Error>;

    /// One decision.
    fn explain(&self, id: u64) -> Result<DecisionRecord, Error>;

    /// Undo one decision; one line per change.
    #[zbus(allow_interactive_auth)]
    fn revert(&self, id: u64) -> Result<Vec<String>, Error>;

    /// Put every knob of one guest (name or UUID), or of all (empty text), back; one line per knob.
    #[zbus(allow_interactive_auth)]
    fn restore(&self, guest: &str) -> Result<Vec<String>, Error>;

    /// Change the mode: `observe`, `advise` or `enforce`.
    #[zbus(allow_interactive_auth)]
    fn set_mode(&self, mode: &str) -> Result<(), Error>;

    /// Stop deciding.
    #[zbus(allow_interactive_auth)]
    fn pause(&self) -> Result<(), Error>;

    /// Decide again.
    #[zbus(allow_interactive_auth)]
    fn resume(&self) -> Result<(), Error>;

    /// Read the configuration again.
    #[zbus(allow_interactive_auth)]
    fn reload(&self) -> Result<(), Error>;

    /// What was sensed in the last interval of one guest (name or UUID), or of the host (empty text), by name.
    fn counters(&self, guest: &str) -> Result<BTreeMap<String, f64>, Error>;

    /// What guests want of each usable CPU.
    fn cpu_loads(&self) -> Result<Vec<CpuLoadRecord>, Error>;

    /// Remarks, newest first; filter keys as of `decisions`.
    fn notes(&self, filter: &HashMap<&str, Variant<'_>>) -> Result<Vec<NoteRecord>, Error>;

    /// Configuration in force, as TOML.
    fn policy_show(&self) -> Result<String, Error>;

    /// A decision was made, or got its verdict.
    #[zbus(signal)]
    fn decision_changed(&self, id: u64, decision: DecisionRecord) -> zbus::Result<()>;
}
