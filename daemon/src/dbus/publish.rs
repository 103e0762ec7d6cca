//! Keeping the objects on the bus equal to the loop's view: guests come and go, properties and decisions change.
//!
//! One pass per view, and the loop replaces its view once a tick: no more than one PropertiesChanged per object and tick,
//! with only what changed. A slow bus delays this task alone; the views in between are then skipped.
//! May not: ask the loop for anything.

use super::Shared;
use super::doc::Documented;
use super::guest::Guest;
use super::manager::Manager;
use super::proxy::{DecisionRecord, GUEST, MANAGER, PATH};
use super::record::{differ, guest_path};
use crate::handle::View;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use trimtab_policy::decision::{Decision, DecisionId};
use zbus::object_server::{Interface, SignalEmitter};
use zbus::{Connection, OwnedVariant, Variant};

/// Properties that change at every tick and are announced by none.
const SILENT: [&str; 2] = ["Ticks", "LastTick"];

/// What was last announced of one object.
type Properties = HashMap<String, OwnedVariant>;

/// Exports the guests of the present view, before the name is taken; returns that view.
pub(super) async fn export_guests(connection: &Connection, shared: &Shared) -> zbus::Result<Arc<View>> {
    let view = shared.handle.view.borrow().clone();
    for &id in view.guests.keys() {
        let guest = Documented(Guest::new(shared.handle.clone(), id));
        connection.object_server().at(guest_path(id), guest).await?;
    }
    Ok(view)
}

/// Follows the view from `exported` on until the connection fails; returns why. A loop that is gone is followed no
/// further.
pub(super) async fn follow(connection: &Connection, shared: &Shared, exported: Arc<View>) -> zbus::Error {
    let mut views = shared.handle.view.clone();
    let mut publisher = Publisher { connection, shared, announced: BTreeMap::new(), last: exported };
    if let Err(error) = publisher.start().await {
        return error;
    }
    loop {
        let view = views.borrow_and_update().clone();
        if let Err(error) = publisher.publish(view).await {
            return error;
        }
        if views.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

struct Publisher<'a> {
    connection: &'a Connection,
    shared: &'a Shared,
    /// By object path.
    announced: BTreeMap<String, Properties>,
    /// The view that clients have seen.
    last: Arc<View>,
}

impl Publisher<'_> {
    /// What clients read now is what later announcements are compared with.
    async fn start(&mut self) -> zbus::Result<()> {
        self.announced.insert(PATH.to_owned(), self.properties::<Manager>(PATH).await?);
        for &id in self.last.clone().guests.keys() {
            let path = guest_path(id);
            let properties = self.properties::<Guest>(&path).await?;
            self.announced.insert(path, properties);
        }
        Ok(())
    }

    async fn publish(&mut self, view: Arc<View>) -> zbus::Result<()> {
        let last = std::mem::replace(&mut self.last, view.clone());
        for (&id, guest) in &view.guests {
            match last.guests.get(&id) {
                None => self.add(guest_path(id), Guest::new(self.shared.handle.clone(), id)).await?,
                // Looking through all properties of 200 idle guests would cost more than everything else in a tick.
                Some(before) if differ(before, guest) => {
                    self.announce::<Guest>(guest_path(id), GUEST).await?;
                }
                Some(_) => {}
            }
        }
        for &id in last.guests.keys().filter(|id| !view.guests.contains_key(id)) {
            let path = guest_path(id);
            self.announced.remove(&path);
            self.connection.object_server().remove::<Documented<Guest>, _>(path).await?;
        }
        self.announce::<Manager>(PATH.to_owned(), MANAGER).await?;
        for decision in changed_decisions(&last.decisions, &view.decisions) {
            let emitter = SignalEmitter::new(self.connection, PATH)?;
            Manager::decision_changed(&emitter, decision.id, DecisionRecord::from(decision)).await?;
        }
        Ok(())
    }

    async fn add(&mut self, path: String, guest: Guest) -> zbus::Result<()> {
        self.connection.object_server().at(path.as_str(), Documented(guest)).await?;
        let properties = self.properties::<Guest>(&path).await?;
        self.announced.insert(path, properties);
        Ok(())
    }

    /// Emits PropertiesChanged with what differs from the last announcement, if anything does.
    async fn announce<I: super::doc::InterfaceDoc + Interface>(
        &mut self,
        path: String,
        interface: &str,
    ) -> zbus::Result<()> {
        let now = self.properties::<I>(&path).await?;
        let before = self.announced.entry(path.clone()).or_default();
        let changed: HashMap<&str, Variant<'_>> = now
            .iter()
            .filter(|(name, value)| before.get(*name) != Some(value))
            .map(|(name, value)| Ok((name.as_str(), Variant::try_from(value)?)))
            .collect::<zbus::Result<_>>()?;
        let gone: Vec<&str> =
            before.keys().filter(|name| !now.contains_key(*name)).map(String::as_str).collect();
        if !changed.is_empty() || !gone.is_empty() {
            let emitter = SignalEmitter::new(self.connection, path.as_str())?;
            let properties = "org.freedesktop.DBus.Properties";
            emitter.emit(properties, "PropertiesChanged", &(interface, changed, gone)).await?;
        }
        self.announced.insert(path, now);
        Ok(())
    }

    async fn properties<I: super::doc::InterfaceDoc + Interface>(
        &self,
        path: &str,
    ) -> zbus::Result<Properties> {
        let server = self.connection.object_server();
        let interface = server.interface::<_, Documented<I>>(path).await?;
        let emitter = interface.signal_emitter();
        let mut properties = interface.get().await.get_all(server, self.connection, None, emitter).await?;
        properties.retain(|name, _| !SILENT.contains(&name.as_str()));
        Ok(properties)
    }
}

/// Decisions that are new or differ, oldest first.
fn changed_decisions<'a>(before: &[Arc<Decision>], now: &'a [Arc<Decision>]) -> Vec<&'a Decision> {
    let before: BTreeMap<DecisionId, &Arc<Decision>> = before.iter().map(|d| (d.id, d)).collect();
    // One that did not change is the very same, which is cheaper to see than equality.
    let same = |d: &Arc<Decision>| before.get(&d.id).is_some_and(|b| Arc::ptr_eq(b, d) || *b == d);
    let mut changed: Vec<&Decision> = now.iter().filter(|d| !same(d)).map(|d| &**d).collect();
    changed.sort_by_key(|d| d.id);
    changed
}
