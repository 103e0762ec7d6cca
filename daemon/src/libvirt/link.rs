//! The link to libvirt: two connections to the bus (one for calls, one for signals), kept up by one task.
//!
//! ```text
//! Down --connect, probe--> Up --bus closed, owner gone, call said Away--> Down     each Up: Connected, each Down: Disconnected
//! ```
//! Signals are taken off their own connection by a task that does nothing else and never waits for anything, so neither a
//! flood of signals nor a slow reader of events can hold up a call. libvirt-dbus notices a restart of libvirtd only when
//! it is called, hence the probe after a silence; `Connected` is repeated now and then for what got lost unseen.
//! May not: touch a guest.

use super::config::LibvirtConfig;
use super::events::EventSet;
use super::limits::{Limits, Whom};
use super::names::Names;
use super::proxies::{ConnectProxy, SERVICE};
use super::{LibvirtError, LibvirtEvent};
use futures_util::StreamExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use trimtab_policy::units::GuestId;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, message, proxy::CacheProperties};

/// First wait before another attempt: a restarted libvirt-dbus is there within a second.
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// Longest wait: an admin who starts libvirt again is served within these seconds.
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// Whoever restarts libvirt-dbus is given this long before a call of ours makes the bus start it.
const ACTIVATION_GRACE: Duration = Duration::from_secs(5);
const BUS_CLOSED: &str = "the bus closed the connection";

/// What the link's task shares with the callers.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) config: LibvirtConfig,
    pub(super) events: EventSet,
    pub(super) names: Names,
    pub(super) limits: Limits,
    state: Mutex<State>,
    /// Something happened that the task should look at.
    wake: Notify,
}

#[derive(Debug)]
struct State {
    calls: Option<Connection>,
    /// Why there is no link, for the callers.
    why: String,
    last_answer: Instant,
    suspect: Option<String>,
    /// When libvirt-dbus last left the bus or came to it.
    owner_lost: Option<Instant>,
}

impl Link {
    pub(super) fn new(config: LibvirtConfig) -> Self {
        let limits = Limits::new(config.max_in_flight);
        let why = "not connected yet".to_owned();
        let state = Mutex::new(State {
            calls: None,
            why,
            last_answer: Instant::now(),
            suspect: None,
            owner_lost: None,
        });
        Self {
            config,
            events: EventSet::default(),
            names: Names::default(),
            limits,
            state,
            wake: Notify::new(),
        }
    }

    /// The connection for calls.
    pub(super) fn calls(&self) -> Result<Connection, LibvirtError> {
        let state = self.lock();
        state.calls.clone().ok_or_else(|| LibvirtError::Away(state.why.clone()))
    }

    /// A call was answered by libvirt.
    pub(super) fn answered(&self) {
        self.lock().last_answer = Instant::now();
    }

    /// A call found libvirt away: the task has to look.
    pub(super) fn suspect(&self, why: String) {
        self.lock().suspect = Some(why);
        self.look();
    }

    /// Wakes the task up.
    pub(super) fn look(&self) {
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keep the link up, for ever.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut retry = FIRST_RETRY;
        loop {
            match self.connect().await {
                Ok((calls, drain)) => {
                    retry = FIRST_RETRY;
                    self.serve(&calls, &drain).await;
                }
                Err(error) => self.lock().why = format!("bus {}: {error}", self.config.bus),
            }
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(LONGEST_RETRY);
        }
    }

    /// Both connections, with the signals already subscribed and drained.
    async fn connect(self: &Arc<Self>) -> zbus::Result<(Connection, tokio::task::JoinHandle<()>)> {
        let open = || self.config.bus.builder().build();
        let limit = self.config.read_timeout;
        let late = |_| zbus::Error::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        tokio::time::timeout(limit, async {
            let (calls, signals) = (open().await?, open().await?);
            let stream = MessageStream::from(&signals);
            let bus = zbus::fdo::DBusProxy::new(&signals).await?;
            for rule in self.rules()? {
                bus.add_match_rule(rule).await?;
            }
            let drain = tokio::spawn(self.clone().drain(stream));
            Ok((calls, drain))
        })
        .await
        .map_err(late)?
    }

    fn rules(&self) -> zbus::Result<Vec<MatchRule<'_>>> {
        let rule = || MatchRule::builder().msg_type(message::Type::Signal);
        let libvirt = || rule().sender(SERVICE).path_namespace(self.config.path.as_str());
        Ok(vec![
            libvirt().interface("org.libvirt.Connect").member("DomainEvent").build()?,
            libvirt().interface("org.libvirt.Domain").member("Tunable").build()?,
            libvirt().interface("org.libvirt.Domain").member("MetadataChange").build()?,
            rule().sender("org.freedesktop.DBus").member("NameOwnerChanged").arg(0, SERVICE).build()?,
        ])
    }

    /// Take signals off the bus until it closes.
    async fn drain(self: Arc<Self>, mut stream: MessageStream) {
        while let Some(Ok(message)) = stream.next().await {
            self.take(&message);
        }
        self.suspect(BUS_CLOSED.to_owned());
    }

    fn take(&self, message: &zbus::Message) {
        let header = message.header();
        if header.message_type() != message::Type::Signal {
            return;
        }
        let guest = || header.path().and_then(|path| guest_of(path.as_str()));
        match header.member().map(zbus::names::MemberName::as_str) {
            Some("DomainEvent") => {
                let Ok((path, _, _)) = message.body().deserialize::<(OwnedObjectPath, i32, i32)>() else {
                    return;
                };
                let Some(id) = guest_of(path.as_str()) else { return };
                self.names.forget(id);
                self.events.push(LibvirtEvent::Lifecycle(id));
            }
            Some("Tunable") => {
                if let Some(id) = guest() {
                    self.events.push(LibvirtEvent::Tunable(id));
                }
            }
            Some("MetadataChange") => {
                if let Some(id) = guest() {
                    self.events.push(LibvirtEvent::Metadata(id));
                }
            }
            Some("NameOwnerChanged") => {
                self.lock().owner_lost = Some(Instant::now());
                self.suspect("libvirt-dbus left the bus or is new on it".to_owned());
            }
            _ => {}
        }
    }

    /// Up and down, as long as the bus itself is there.
    async fn serve(self: &Arc<Self>, calls: &Connection, drain: &tokio::task::JoinHandle<()>) {
        let mut up = false;
        let mut retry = FIRST_RETRY;
        let mut last_resync = Instant::now();
        loop {
            if drain.is_finished() {
                self.down(&mut up, BUS_CLOSED.to_owned());
                return;
            }
            let suspect = self.lock().suspect.take();
            if let Some(why) = suspect {
                // Told even if the probe finds everything in order again: signals may have been lost meanwhile.
                self.down(&mut up, why);
            }
            // With every call stuck the probe is not even made: that says so at once, and not after the silence.
            if !up || self.silent() || self.limits.all_stuck() {
                match self.probe(calls).await {
                    Ok(()) if !up => {
                        self.up(&mut up, calls);
                        (retry, last_resync) = (FIRST_RETRY, Instant::now());
                    }
                    Ok(()) => {}
                    Err(why) => self.down(&mut up, why),
                }
            } else if last_resync.elapsed() >= self.config.resync_every {
                self.up(&mut up, calls);
                last_resync = Instant::now();
            }
            let pause = if up { self.config.probe_every } else { retry };
            if !up {
                retry = (retry * 2).min(LONGEST_RETRY);
            }
            // Woken up or not, the loop looks at everything again.
            let _ = tokio::time::timeout(pause, self.wake.notified()).await;
        }
    }

    fn up(&self, up: &mut bool, calls: &Connection) {
        self.names.clear();
        self.limits.forgive();
        self.lock().calls = Some(calls.clone());
        *up = true;
        self.events.push(LibvirtEvent::Connected);
    }

    fn down(&self, up: &mut bool, why: String) {
        {
            let mut state = self.lock();
            state.calls = None;
            state.why.clone_from(&why);
        }
        if std::mem::take(up) {
            self.events.push(LibvirtEvent::Disconnected(why));
        }
    }

    fn silent(&self) -> bool {
        self.lock().last_answer.elapsed() >= self.config.probe_every
    }

    /// Ask libvirtd something that concerns no guest. Wakes up libvirt-dbus' own connection to a restarted libvirtd.
    async fn probe(self: &Arc<Self>, calls: &Connection) -> Result<(), String> {
        if self.lock().owner_lost.is_some_and(|since| since.elapsed() < ACTIVATION_GRACE)
            && !self.has_owner(calls).await
        {
            return Err("libvirt-dbus is not on the bus".to_owned());
        }
        let path = self.config.path.clone();
        let limit = self.config.read_timeout;
        let version = self.call_on(calls.clone(), "LibVersion", Whom::Host, limit, move |bus| async move {
            connect_proxy(&bus, path).await?.lib_version().await
        });
        let silence = || self.lock().last_answer.elapsed().as_secs();
        version.await.map(drop).map_err(|error| match error {
            LibvirtError::Away(why) if self.limits.all_stuck() => format!("libvirt does not answer: {why}"),
            // No slot: those who hold them are patient, such as a change. It is libvirt that is late, and not this call.
            LibvirtError::Timeout { .. } | LibvirtError::NoSlot { .. } => {
                format!("libvirt does not answer: nothing for {} s", silence())
            }
            error => error.to_string(),
        })
    }

    async fn has_owner(&self, calls: &Connection) -> bool {
        let Ok(bus) = zbus::fdo::DBusProxy::new(calls).await else { return false };
        let Ok(name) = zbus::names::BusName::try_from(SERVICE) else { return false };
        let answer = tokio::time::timeout(self.config.read_timeout, bus.name_has_owner(name)).await;
        matches!(answer, Ok(Ok(true)))
    }
}

/// The guest of an object path such as `/org/libvirt/QEMU/domain/_0c4f7a3e_...`.
pub(super) fn guest_of(path: &str) -> Option<GuestId> {
    let (parent, last) = path.rsplit_once('/')?;
    if parent.ends_with("/domain") { last.parse().ok() } else { None }
}

/// The connection object, without a property cache.
pub(super) async fn connect_proxy(bus: &Connection, path: String) -> zbus::Result<ConnectProxy<'static>> {
    ConnectProxy::builder(bus).path(path).cache_properties(CacheProperties::No).build().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_told_by_their_object_path() {
        let id = guest_of("/org/libvirt/QEMU/domain/_3993f8bd_2762_49a3_5d44_d19925d766ef").unwrap();
        assert_eq!(id.to_string(), "3993f8bd-2762-49a3-5d44-d19925d766ef");
        for path in ["/", "", "/org/libvirt/QEMU/network/_3993f8bd_2762_49a3_5d44_d19925d766ef", "/domain/_1"]
        {
            assert_eq!(guest_of(path), None, "{path}");
        }
    }
}
