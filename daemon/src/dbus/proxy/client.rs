//! A connection to a running daemon with a limit on every wait.
//!
//! May not: start a daemon, nor change the world except through the manager's methods.

use super::{
    Bus, DecisionRecord, Error, GUEST, GuestRecord, MANAGER, ManagerProxy, ManagerRecord, NAME, NoteRecord,
    PATH,
};
use std::collections::HashMap;
use std::time::Duration;
use zbus::{Connection, DeserializeDict, OwnedObjectPath, Type, Variant};

/// Longest wait for an answer that needs no human and no guest.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a call that changes something: polkit may ask a human for a password, and putting the knobs of 200
/// guests back takes its time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(300);

/// Why the client got no answer. The daemon's own refusals are [`Error`]s inside `Daemon`.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The bus cannot be reached.
    #[error("{} cannot be reached: {source}", .bus.described())]
    NoBus {
        /// Which bus.
        bus: Bus,
        /// Why.
        source: zbus::Error,
    },
    /// Nobody owns the bus name.
    #[error("trimtabd does not answer on {}; is it running?", .bus.described())]
    Away {
        /// Which bus.
        bus: Bus,
    },
    /// The daemon is on the bus but did not answer in time.
    #[error("trimtabd is on {} but did not answer within {seconds} s; it may be stopped or hung", .bus.described())]
    Hung {
        /// Which bus.
        bus: Bus,
        /// The limit.
        seconds: u64,
    },
    /// The daemon refused, or answered something else than expected.
    #[error("{}", text(.0))]
    Daemon(Error),
}

/// The text of a refusal without the D-Bus error name, which `trimtabctl` turns into its exit code.
fn text(error: &Error) -> String {
    match error {
        Error::NotFound(text)
        | Error::Conflict(text)
        | Error::InvalidArgs(text)
        | Error::Unfinished(text)
        | Error::Failed(text)
        | Error::NotAuthorized(text) => text.clone(),
        Error::ZBus(error) => error.to_string(),
    }
}

/// Which decisions or notes are wanted, see `Decisions`.
#[derive(Clone, Copy, Debug)]
pub struct PastQuery<'a> {
    /// Only for this guest (UUID or name).
    pub guest: Option<&'a str>,
    /// Only made at or after this time, milliseconds since the Unix epoch.
    pub since: Option<i64>,
    /// At most so many, 1..=[`super::MAX_DECISIONS`].
    pub limit: u32,
}

impl<'a> PastQuery<'a> {
    fn filter(self) -> HashMap<&'static str, Variant<'a>> {
        let mut filter = HashMap::from([("limit", Variant::from(self.limit))]);
        filter.extend(self.guest.map(|guest| ("guest", Variant::from(guest))));
        filter.extend(self.since.map(|since| ("since", Variant::from(since))));
        filter
    }
}

/// The interfaces of one object in `GetManagedObjects`, as far as the client cares.
#[derive(DeserializeDict, Type)]
#[zbus(signature = "a{sa{sv}}")]
struct Interfaces {
    #[zbus(rename = "org.trimtab1.Guest")]
    guest: Option<GuestRecord>,
}

/// A connection to a running daemon.
#[derive(Clone, Debug)]
pub struct Client {
    bus: Bus,
    connection: Connection,
    manager: ManagerProxy<'static>,
}

impl Client {
    /// Connects to the bus and looks whether the daemon is there.
    pub async fn connect(bus: &Bus) -> Result<Self, ClientError> {
        let no_bus = |source| ClientError::NoBus { bus: bus.clone(), source };
        let connecting = async { bus.builder().method_timeout(WRITE_TIMEOUT).build().await };
        let connection = tokio::time::timeout(READ_TIMEOUT, connecting)
            .await
            .unwrap_or_else(|_| Err(timed_out()))
            .map_err(no_bus)?;
        let manager = ManagerProxy::builder(&connection)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .map_err(no_bus)?;
        Ok(Self { bus: bus.clone(), connection, manager })
    }

    /// The manager's methods and signals. Wrap each call in [`Client::read`] or [`Client::write`].
    pub fn manager(&self) -> &ManagerProxy<'static> {
        &self.manager
    }

    /// The connection, e.g. to build a proxy of another interface.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A call that only reads, limited to 10 s.
    pub async fn read<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, ClientError> {
        self.limited(READ_TIMEOUT, call).await
    }

    /// A call that changes something, limited to 300 s.
    pub async fn write<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, ClientError> {
        self.limited(WRITE_TIMEOUT, call).await
    }

    async fn limited<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, ClientError> {
        let hung = || ClientError::Hung { bus: self.bus.clone(), seconds: limit.as_secs() };
        let result = tokio::time::timeout(limit, call).await.map_err(|_| hung())?;
        result.map_err(|error| match error {
            Error::ZBus(zbus::Error::FDO(fdo)) => match *fdo {
                zbus::fdo::Error::ServiceUnknown(_) | zbus::fdo::Error::NameHasNoOwner(_) => {
                    ClientError::Away { bus: self.bus.clone() }
                }
                zbus::fdo::Error::NoReply(_) | zbus::fdo::Error::Timeout(_) => hung(),
                other => ClientError::Daemon(Error::ZBus(zbus::Error::FDO(Box::new(other)))),
            },
            Error::ZBus(zbus::Error::InputOutput(source)) => {
                ClientError::NoBus { bus: self.bus.clone(), source: zbus::Error::InputOutput(source) }
            }
            other => ClientError::Daemon(other),
        })
    }

    /// The manager's properties.
    pub async fn status(&self) -> Result<ManagerRecord, ClientError> {
        self.read(self.get_all(PATH, MANAGER)).await
    }

    /// All guests with their properties, by name.
    pub async fn guests(&self) -> Result<Vec<GuestRecord>, ClientError> {
        let call = async {
            let interface = "org.freedesktop.DBus.ObjectManager";
            let reply = self
                .connection
                .call_method(Some(NAME), PATH, Some(interface), "GetManagedObjects", &())
                .await?;
            let objects: HashMap<OwnedObjectPath, Interfaces> = reply.body().deserialize()?;
            Ok(objects.into_values().filter_map(|interfaces| interfaces.guest).collect::<Vec<_>>())
        };
        let mut guests = self.read(call).await?;
        guests.sort_by(|a, b| (&a.name, &a.uuid).cmp(&(&b.name, &b.uuid)));
        Ok(guests)
    }

    /// Decisions, newest first.
    pub async fn decisions(&self, query: PastQuery<'_>) -> Result<Vec<DecisionRecord>, ClientError> {
        self.read(self.manager.decisions(&query.filter())).await
    }

    /// Remarks, newest first.
    pub async fn notes(&self, query: PastQuery<'_>) -> Result<Vec<NoteRecord>, ClientError> {
        self.read(self.manager.notes(&query.filter())).await
    }

    /// One guest by name or UUID.
    pub async fn guest(&self, name: &str) -> Result<GuestRecord, ClientError> {
        let path = self.read(self.manager.get_guest(name)).await?;
        self.read(self.get_all(path.as_str(), GUEST)).await
    }

    async fn get_all<T>(&self, path: &str, interface: &str) -> Result<T, Error>
    where
        T: for<'d> serde::Deserialize<'d> + Type,
    {
        let properties = Some("org.freedesktop.DBus.Properties");
        let reply =
            self.connection.call_method(Some(NAME), path, properties, "GetAll", &(interface,)).await?;
        Ok(reply.body().deserialize()?)
    }
}

fn timed_out() -> zbus::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer").into()
}
