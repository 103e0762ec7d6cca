//! The D-Bus API `org.trimtab1`: a view of the control loop and requests to it.
//!
//! ```text
//! serve ─> connecting ──> serving ──(bus lost)──> waiting (0.1 s, doubled up to 5 s) ─> connecting
//!                            └──(Server::close)──> name released, connection closed
//! ```
//! The control loop never waits for the bus: it replaces its view and answers requests, this task follows.
//! May not: see libvirt, the store or a sensor; everything goes through `handle`.

mod auth;
mod counters;
mod doc;
mod guest;
mod manager;
pub mod proxy;
mod publish;
mod record;
mod request;

pub use auth::AuthConfig;
pub use proxy::{BadBus, Bus};

use crate::handle::{Handle, View};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use zbus::Connection;
use zbus::fdo::RequestNameFlags;

/// First wait after a lost bus.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest wait between two attempts: a restarted dbus-daemon is found again within this time.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Longest time that one attempt to connect, authenticate and take the name may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that `serve` waits for the first attempt: the control loop must not start late because of the bus.
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest time that `close` waits for the bus to take the name back.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the API cannot be served at all. A bus that is merely away is no error: it is tried again for ever.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody else, most likely another trimtabd, owns the name.
    #[error("{} has an owner of the name {} already; is another trimtabd running?", .bus.described(), proxy::NAME)]
    NameTaken {
        /// Which bus.
        bus: Bus,
    },
}

/// Whether the API can be reached at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusState {
    /// The name is ours.
    Serving,
    /// Not connected, and why; being tried again.
    Away(String),
}

/// The running API. Dropping it ends the task at once without giving the name back; [`Server::close`] is the clean way.
#[derive(Debug)]
pub struct Server {
    stop: watch::Sender<bool>,
    state: watch::Receiver<BusState>,
    task: JoinHandle<()>,
}

impl Server {
    /// Whether the API can be reached; for the status line of the service manager.
    pub fn state(&self) -> watch::Receiver<BusState> {
        self.state.clone()
    }

    /// Gives the name back and closes the connection; takes at most about 1 s.
    pub async fn close(mut self) {
        // Nobody listens only if the task has ended already.
        let _ = self.stop.send(true);
        if tokio::time::timeout(CLOSE_TIMEOUT, &mut self.task).await.is_err() {
            tracing::warn!("the bus did not take the name back in time");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection that owns the name, and the view whose guests are exported on it.
type Exported = (Connection, Arc<View>);

/// What every interface needs.
#[derive(Clone, Debug)]
struct Shared {
    handle: Handle,
    auth: Arc<auth::Authorizer>,
}

/// Serves `org.trimtab1` on `bus` until the server is closed or dropped.
///
/// Returns after the first attempt to connect, whether it succeeded or not, or after 1 s if the bus is that slow: a lost,
/// absent or hung bus is tried again with back-off and holds up nobody. Errors: only if the name has another owner.
pub async fn serve(bus: Bus, handle: Handle, auth: AuthConfig) -> Result<Server, ServeError> {
    let shared = Shared { handle, auth: Arc::new(auth::Authorizer::new(auth)) };
    let (stop, stopped) = watch::channel(false);
    let (report, state) = watch::channel(BusState::Away("connecting".to_owned()));
    let (first, attempted) = oneshot::channel();
    let task = tokio::spawn(run(bus.clone(), shared, first, stopped, report));
    let server = Server { stop, state, task };
    match tokio::time::timeout(FIRST_TIMEOUT, attempted).await {
        Ok(Ok(Err(zbus::Error::NameTaken))) => Err(ServeError::NameTaken { bus }),
        _ => Ok(server),
    }
}

/// Serves one connection after the other.
async fn run(
    bus: Bus,
    shared: Shared,
    first: oneshot::Sender<zbus::Result<()>>,
    mut stopped: watch::Receiver<bool>,
    report: watch::Sender<BusState>,
) {
    let mut backoff = BACKOFF_FIRST;
    let mut attempt = connect(&bus, &shared).await;
    // Nobody listens if it took long: then a taken name is a fault like others, to be tried again.
    let _ = first.send(attempt.as_ref().map(|_| ()).map_err(Clone::clone));
    loop {
        match attempt {
            Ok((connection, view)) => {
                tracing::info!(%bus, "serving {}", proxy::NAME);
                report.send_replace(BusState::Serving);
                backoff = BACKOFF_FIRST;
                tokio::select! {
                    () = connection.closed() => {}
                    error = publish::follow(&connection, &shared, view) => tracing::debug!(%error, "cannot publish"),
                    () = stop_asked(&mut stopped) => {
                        release(connection).await;
                        return;
                    }
                }
                // Also when only publishing failed: clients must not see a frozen view.
                let _ = connection.close().await;
                tracing::warn!(%bus, "the bus is lost; the control loop goes on without it");
                report.send_replace(BusState::Away("connection lost".to_owned()));
            }
            Err(error) => {
                // Once a back-off step, then quietly: a bus may be away for days.
                if backoff < BACKOFF_MAX {
                    tracing::warn!(%bus, %error, "cannot serve on the bus; trying again");
                }
                report.send_replace(BusState::Away(error.to_string()));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff) => {}
            () = stop_asked(&mut stopped) => return,
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
        attempt = connect(&bus, &shared).await;
    }
}

/// Connects, exports every object and takes the name last, so that whoever sees the name sees everything.
async fn connect(bus: &Bus, shared: &Shared) -> zbus::Result<Exported> {
    let connecting = async {
        let connection = bus
            .builder()
            .serve_at(proxy::PATH, zbus::fdo::ObjectManager)
            .serve_at(proxy::PATH, doc::Documented(manager::Manager::new(shared.clone())))
            .build()
            .await?;
        let view = publish::export_guests(&connection, shared).await?;
        connection.request_name_with_flags(proxy::NAME, RequestNameFlags::DO_NOT_QUEUE).await?;
        Ok((connection, view))
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| {
        let text = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
        Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text).into())
    })
}

/// Waits until the server is closed or dropped.
async fn stop_asked(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn release(connection: Connection) {
    if let Err(error) = connection.release_name(proxy::NAME).await {
        tracing::debug!(%error, "name not released");
    }
    let _ = connection.close().await;
}
