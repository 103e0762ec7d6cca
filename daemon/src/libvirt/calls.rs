//! One way for every call: admitted, a slot, a time-out, and on its way alone once nobody waits any more.
//!
//! The call runs as a task of its own that holds the slot until the answer comes: neither a time-out nor a caller that
//! was cancelled frees a slot while libvirt-dbus still works on it. May not: retry.

use super::limits::{Limits, Whom};
use super::link::Link;
use super::{LibvirtError, errors};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use zbus::Connection;

impl Link {
    /// Make a call on the link's connection. `limit` covers the wait for a slot.
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
        let timeout = |whom| LibvirtError::Timeout { call, whom, timeout_ms: limit.as_millis() as u64 };
        let deadline = Instant::now() + limit;
        let Ok(Some(slot)) = timeout_at(deadline, self.limits.slot()).await else {
            return Err(timeout("host (every call slot is taken)".to_owned()));
        };
        let ticket = Limits::ticket(whom);
        let task = tokio::spawn({
            let (link, ticket) = (self.clone(), ticket.clone());
            async move {
                let result = work(connection).await;
                drop(slot);
                let kind = result.as_ref().err().map(errors::kind);
                if kind != Some(errors::Kind::Away) {
                    link.answered();
                }
                link.limits.back(&ticket, kind.is_none());
                result
            }
        });
        match timeout_at(deadline, task).await {
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
                Err(timeout(self.label(whom)))
            }
        }
    }

    fn label(&self, whom: Whom) -> String {
        match whom {
            Whom::Guest(id) => self.names.label(id),
            Whom::Bulk | Whom::Host => "host".to_owned(),
        }
    }
}
