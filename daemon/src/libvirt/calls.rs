//! One way for every call: admitted, a slot, a time-out, and on its way alone once nobody waits any more.
//!
//! The call runs as a task of its own that holds its place until the answer comes: neither a time-out nor a caller that
//! was cancelled frees a slot while libvirt-dbus still works on it.
//!
//! Nudges: the threads of libvirt-dbus share one connection to libvirtd, on which one of them does the I/O for all. In
//! libvirt before 10.2 the wish of another thread is lost if it comes just when that one is about to wait ("I/O stall when
//! multiple threads issue RPC calls"), and is noticed only when something else happens on the connection, at the latest
//! the keep-alive every 5 s. With a call stuck for good this is every fifth to second call, because each D-Bus call is
//! two or three calls of libvirt in a row (seen with strace; measured: 3 of 40 calls took 5.0 s, the others 6 ms). So a
//! call that is overdue is followed by a cheap one, which wakes that thread, until it is answered.
//!
//! At most one nudge is out, in a slot of its own, which it keeps until it is answered like any call. With the calls (3, and
//! the reserve once those are stuck) that is at most 5 at a time, as many as libvirtd works on for one client. libvirt-dbus has
//! 4 threads unless told otherwise, so a nudge beside the reserve waits in its queue until one is free: it keeps no thread from
//! a call for longer than the milliseconds of its own. May not: retry.

use super::limits::{Limits, Whom};
use super::link::{Link, connect_proxy};
use super::{LibvirtError, errors};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use zbus::Connection;

/// A call that is out for so long is followed by a nudge. A healthy one takes 5 to 20 ms.
const NUDGE_AFTER: Duration = Duration::from_millis(50);
/// The next nudges follow after this time or after a part of the time passed, whichever is longer.
const NUDGE_EVERY: Duration = Duration::from_millis(25);
const NUDGE_PART: u32 = 8;

impl Link {
    /// Make a call on the link's connection. `limit` bounds the wait for a slot and then, anew, the wait for the answer: who
    /// waited long for a slot would otherwise be taken for hung when its call had hardly been made.
    pub(super) async fn call<T, F, W>(
        self: &Arc<Self>,
        call: &'static str,
        whom: Whom,
        limit: Duration,
        work: W,
    ) -> Result<T, LibvirtError>
    where
        T: Send + 'static,
        F: Future<Output = zbus::Result<T>> + Send + 'static,
        W: FnOnce(Connection) -> F + Send + 'static,
    {
        let connection = self.calls()?;
        let result = self.call_on(connection, call, whom, limit, work).await;
        if let (Err(LibvirtError::Away(why)), false) = (&result, self.limits.all_stuck()) {
            self.suspect(why.clone());
        }
        result
    }

    /// The same on a connection that need not be the link's yet.
    pub(super) async fn call_on<T, F, W>(
        self: &Arc<Self>,
        connection: Connection,
        call: &'static str,
        whom: Whom,
        limit: Duration,
        work: W,
    ) -> Result<T, LibvirtError>
    where
        T: Send + 'static,
        F: Future<Output = zbus::Result<T>> + Send + 'static,
        W: FnOnce(Connection) -> F + Send + 'static,
    {
        self.limits.admit(whom, || self.label(whom))?;
        let limit_ms = limit.as_millis() as u64;
        let place = timeout(limit, self.limits.place(whom)).await;
        // What it waited for may have got stuck meanwhile.
        self.limits.admit(whom, || self.label(whom))?;
        let Ok(Some(place)) = place else {
            return Err(LibvirtError::NoSlot { call, whom: self.label(whom), waited_ms: limit_ms });
        };
        let ticket = Limits::ticket(whom);
        let mut task = tokio::spawn({
            let (link, ticket, connection) = (self.clone(), ticket.clone(), connection.clone());
            async move {
                let result = work(connection).await;
                let kind = result.as_ref().err().map(errors::kind);
                if kind != Some(errors::Kind::Away) {
                    link.answered();
                }
                let answered = !matches!(kind, Some(errors::Kind::Away | errors::Kind::Busy));
                if link.limits.back(&ticket, place, answered) {
                    link.look();
                }
                result
            }
        });
        let started = Instant::now();
        let deadline = started + limit;
        let mut pause = NUDGE_AFTER;
        let outcome = loop {
            let next = deadline.min(Instant::now() + pause);
            match timeout_at(next, &mut task).await {
                Err(_) if next < deadline => self.nudge_io(&connection),
                outcome => break outcome,
            }
            pause = NUDGE_EVERY.max(started.elapsed() / NUDGE_PART);
        };
        match outcome {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => {
                if let (errors::Kind::Gone, Whom::Guest(id)) = (errors::kind(&error), whom) {
                    self.limits.gone(id);
                }
                Err(errors::convert(&error, call, self.label(whom)))
            }
            Ok(Err(lost)) => Err(LibvirtError::Away(format!("{call}: {lost}"))),
            Err(_) => {
                self.limits.timed_out(&ticket);
                tracing::debug!(call, whom = self.label(whom), "stuck");
                if self.limits.all_stuck() {
                    self.look();
                }
                Err(LibvirtError::Timeout { call, whom: self.label(whom), timeout_ms: limit_ms })
            }
        }
    }

    /// See the module.
    fn nudge_io(&self, connection: &Connection) {
        let Some(slot) = self.limits.nudge_slot() else { return };
        let (connection, path) = (connection.clone(), self.config.path.clone());
        let limit = self.config.read_timeout;
        tokio::spawn(async move {
            let version = async { connect_proxy(&connection, path).await?.lib_version().await };
            tokio::pin!(version);
            // Its answer is of no interest: whether libvirt answers is found out by the call that is waited for.
            let answer = match timeout(limit, &mut version).await {
                Ok(answer) => answer,
                Err(_) => {
                    tracing::debug!("a nudge is not answered either: no other until it is");
                    version.await
                }
            };
            if let Err(error) = answer {
                tracing::debug!(%error, "nudge");
            }
            drop(slot);
        });
    }

    fn label(&self, whom: Whom) -> String {
        match whom {
            Whom::Guest(id) => self.names.label(id),
            Whom::Bulk | Whom::Host => "host".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::LibvirtConfig;
    use super::*;
    use trimtab_policy::units::GuestId;

    const A: GuestId = GuestId([1; 16]);
    const LIMIT: Duration = Duration::from_secs(2);

    /// A connection whose other end knows nothing.
    async fn connection() -> (Connection, Connection) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let server = zbus::connection::Builder::unix_stream(theirs).server(zbus::Guid::generate());
        let client = zbus::connection::Builder::unix_stream(ours);
        tokio::try_join!(client.p2p().build(), server.p2p().build()).unwrap()
    }

    /// A call about a guest that takes as long as a healthy one.
    async fn ask(link: &Arc<Link>, connection: &Connection) -> Result<(), LibvirtError> {
        let work = |_| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(())
        };
        link.call_on(connection.clone(), "GetVcpuPinInfo", Whom::Guest(A), LIMIT, work).await
    }

    #[tokio::test]
    async fn who_waited_long_for_a_slot_is_not_taken_for_hung() {
        let (connection, _other_end) = connection().await;
        tokio::time::pause();
        let link = Arc::new(Link::new(LibvirtConfig { max_in_flight: 1, ..LibvirtConfig::default() }));
        let place = link.limits.place(Whom::Bulk).await.unwrap();
        let free = async {
            tokio::time::sleep(LIMIT - Duration::from_millis(1)).await;
            drop(place);
        };
        let (answer, ()) = tokio::join!(ask(&link, &connection), free);
        assert!(answer.is_ok(), "{answer:?}");
        // Without a slot it is not even made, and nobody is to blame.
        let _place = link.limits.place(Whom::Bulk).await.unwrap();
        let late = ask(&link, &connection).await.unwrap_err();
        assert!(matches!(late, LibvirtError::NoSlot { waited_ms: 2000, .. }), "{late}");
        assert!(link.limits.admit(Whom::Guest(A), String::new).is_ok());
    }
}
