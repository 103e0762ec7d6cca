//! `org.trimtab1.Manager`. The doc comments of the members are the API's documentation: they appear in the introspection.
//!
//! May not: change anything without asking `auth` first.

use super::Shared;
use super::auth::Action;
use super::counters::{self, Counters};
use super::doc::InterfaceDoc;
use super::proxy::{CpuLoadRecord, DecisionRecord, Error, NoteRecord};
use super::record::{Filter, cpu_load, find_guest, guest_path, mode_from, mode_text, share};
use super::request::{LONG, QUICK, ask};
use crate::handle::{Request, View};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, interface};

/// The object at `/org/trimtab1`.
pub(super) struct Manager {
    shared: Shared,
}

impl Manager {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    fn view(&self) -> Arc<View> {
        self.shared.handle.view.borrow().clone()
    }

    async fn allow(&self, connection: &Connection, header: &Header<'_>, action: Action) -> Result<(), Error> {
        self.shared.auth.allow(connection, header, action).await
    }
}

impl InterfaceDoc for Manager {
    const DOC: &'static str = "The daemon as a whole. A property that this host cannot measure is missing from GetAll; Get \
        answers org.trimtab1.Error.NotFound for it, and PropertiesChanged lists it as invalidated when it disappears.";
}

fn absent<T>(value: Option<T>, name: &str) -> Result<T, Error> {
    value.ok_or_else(|| Error::NotFound(format!("{name} cannot be measured at the moment")))
}

#[interface(name = "org.trimtab1.Manager")]
impl Manager {
    /// Guests seen at the last tick: object path, UUID and name of each.
    #[zbus(out_args("guests"))]
    fn list_guests(&self) -> Vec<(OwnedObjectPath, String, String)> {
        let entry = |(id, guest): (&trimtab_policy::units::GuestId, &crate::handle::GuestView)| {
            let path = OwnedObjectPath::try_from(guest_path(*id)).ok()?;
            Some((path, id.to_string(), guest.name.clone()))
        };
        self.view().guests.iter().filter_map(entry).collect()
    }

    /// Object path of the guest with this UUID (with - or _) or name.
    /// Errors: NotFound.
    #[zbus(out_args("path"))]
    fn get_guest(&self, guest: &str) -> Result<OwnedObjectPath, Error> {
        let path = guest_path(find_guest(&self.view(), guest)?);
        Ok(OwnedObjectPath::try_from(path)?)
    }

    /// Decisions from the journal, newest first. Filter keys, all optional: guest (s: UUID or name), since (x: made at or
    /// after this time, ms since the Unix epoch), limit (u: at most so many, 1 to 10000, default 100).
    /// Keys of each decision: id (t), time (x: ms since the Unix epoch), guest (s: UUID of the guest that should gain),
    /// guest_name (s), knob (s: family), changes (a(sssss): guest UUID, guest name, knob, from, to), why (s), profile (s),
    /// expected (d: relative gain, 0.1 = +10 %), before (d) and after (d): objective, 0 to 1, missing if not measured,
    /// verdict (s: pending, kept, reverted, advised), outcome (s), closed (x: ms since the epoch, missing while pending).
    /// Errors: NotFound, InvalidArgs, Failed.
    #[zbus(out_args("decisions"))]
    async fn decisions(&self, filter: HashMap<String, OwnedVariant>) -> Result<Vec<DecisionRecord>, Error> {
        let Filter { guest, since, limit } = Filter::from_dict(filter, &self.view())?;
        let make = |reply| Request::Decisions { guest, limit, reply };
        let decisions = ask(&self.shared.handle, QUICK, make).await?;
        let wanted = decisions.iter().filter(|d| since.is_none_or(|since| d.time.0 >= since));
        Ok(wanted.map(DecisionRecord::from).collect())
    }

    /// One decision from the journal; keys as in Decisions.
    /// Errors: NotFound, Failed.
    #[zbus(out_args("decision"))]
    async fn explain(&self, id: u64) -> Result<DecisionRecord, Error> {
        let decision = ask(&self.shared.handle, QUICK, |reply| Request::Decision(id, reply)).await?;
        Ok(DecisionRecord::from(&decision))
    }

    /// Undo one kept or pending decision; answers with one line per change when its knobs are back, or after 10 s in which
    /// none of them came back with Unfinished.
    /// Needs org.trimtab1.revert. Errors: NotFound, Conflict, Unfinished, Failed, NotAuthorized.
    #[zbus(out_args("lines"))]
    async fn revert(
        &self,
        id: u64,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<String>, Error> {
        self.allow(connection, &header, Action::Revert).await?;
        ask(&self.shared.handle, LONG, |reply| Request::Revert(id, reply)).await
    }

    /// Put every knob of one guest (UUID or name), or of all guests (empty text), back to what it was before Trimtab first
    /// touched it; answers with one line per knob when they are back, or after 10 s in which none of them came back with
    /// Unfinished.
    /// Needs org.trimtab1.restore. Errors: NotFound, Unfinished, Failed, NotAuthorized.
    #[zbus(out_args("lines"))]
    async fn restore(
        &self,
        guest: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<String>, Error> {
        self.allow(connection, &header, Action::Restore).await?;
        let id = if guest.is_empty() { None } else { Some(find_guest(&self.view(), guest)?) };
        ask(&self.shared.handle, LONG, |reply| Request::Restore(id, reply)).await
    }

    /// Change the mode to observe, advise or enforce, until the next start, or a Reload that finds another mode in the
    /// configuration than the last one.
    /// Needs org.trimtab1.set-mode. Errors: InvalidArgs, Failed, NotAuthorized.
    async fn set_mode(
        &self,
        mode: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        let mode = mode_from(mode)?;
        self.allow(connection, &header, Action::SetMode).await?;
        ask(&self.shared.handle, LONG, |reply| Request::SetMode(mode, reply)).await
    }

    /// Stop deciding; a running trial is closed (its change is undone), sensing goes on.
    /// Needs org.trimtab1.pause. Errors: Failed, NotAuthorized.
    async fn pause(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        self.allow(connection, &header, Action::Pause).await?;
        ask(&self.shared.handle, LONG, Request::Pause).await
    }

    /// Decide again.
    /// Needs org.trimtab1.pause. Errors: Failed, NotAuthorized.
    async fn resume(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        self.allow(connection, &header, Action::Pause).await?;
        ask(&self.shared.handle, LONG, Request::Resume).await
    }

    /// Read the configuration again; a bad one is refused with file, line and key, and the old one stays.
    /// Needs org.trimtab1.reload. Errors: InvalidArgs, Failed, NotAuthorized.
    async fn reload(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        self.allow(connection, &header, Action::Reload).await?;
        ask(&self.shared.handle, LONG, Request::Reload).await
    }

    /// What was sensed in the last interval of one guest (UUID or name), or of the host (empty text), by name. What this host or
    /// guest does not have is missing.
    /// Guest: THREAD.run and THREAD.wait (on a CPU and runnable without one, in CPUs), THREAD.slices_per_s, THREAD.last_cpu, where
    /// THREAD is vcpuN, emulator, iothreadN or vhost; instructions_per_s, cycles_per_s, llc_misses_per_s, l2_misses_per_s (of the
    /// vCPUs); context_switches_per_s, cpu_migrations_per_s (of all threads; counted every 30 s); block_delay (blocked on block
    /// I/O, seconds a second); storage_read_bytes_per_s, storage_written_bytes_per_s (of the threads of I/O-bound guests, every 30 s);
    /// disk_requests_per_s, disk_requests_in_flight, net_received_bytes_per_s, net_sent_bytes_per_s, balloon_kib; pressure.cpu,
    /// pressure.io, pressure.memory (share of the time that some task waited, 0 to 1).
    /// Host: cpuN.busy (0 to 1), memory_total_kib, memory_available_kib, pressure.cpu, pressure.io, pressure.memory.
    /// Errors: NotFound.
    #[zbus(out_args("counters"))]
    fn counters(&self, guest: &str) -> Result<Counters, Error> {
        let view = self.view();
        if guest.is_empty() {
            return Ok(counters::of_host(&view.rates.host));
        }
        let id = find_guest(&view, guest)?;
        Ok(view.rates.guests.get(&id).map(counters::of_guest).unwrap_or_default())
    }

    /// What guests want of each usable CPU, in order of number. Keys: cpu (u: its number), demand (d: CPUs that guests' threads
    /// want of it, 2 is two threads that are always runnable; where a balancer would put them within their affinities), idle (d:
    /// share of the time in which nothing ran on it, smoothed over about three ticks, 0 to 1, missing if not known),
    /// over_committed (b: guests want clearly more of it than it has), has_room (b: a good part of it is left over), guests
    /// (a(ssd): UUID, name and demand of each guest that wants something of it, the most first).
    /// Errors: Failed.
    #[zbus(out_args("loads"))]
    async fn cpu_loads(&self) -> Result<Vec<CpuLoadRecord>, Error> {
        let uses = ask(&self.shared.handle, QUICK, Request::CpuUses).await?;
        let view = self.view();
        Ok(uses.iter().map(|of| cpu_load(of, &view)).collect())
    }

    /// Remarks of the daemon that belong to no decision, from the journal, newest first: knobs that somebody else turned or
    /// that could not be put back, guests that came back with another process, CPUs that went, what befell the journal.
    /// Filter keys as of Decisions. Keys of each: time (x: ms since the Unix epoch), guest (s: UUID of the guest concerned,
    /// missing if there is none), text (s).
    /// Errors: NotFound, InvalidArgs, Failed.
    #[zbus(out_args("notes"))]
    async fn notes(&self, filter: HashMap<String, OwnedVariant>) -> Result<Vec<NoteRecord>, Error> {
        let Filter { guest, since, limit } = Filter::from_dict(filter, &self.view())?;
        let notes = ask(&self.shared.handle, QUICK, |reply| Request::Notes { guest, limit, reply }).await?;
        let wanted = notes.into_iter().filter(|note| since.is_none_or(|since| note.time.0 >= since));
        Ok(wanted.map(NoteRecord::from).collect())
    }

    /// Configuration in force, as TOML.
    #[zbus(out_args("toml"))]
    fn policy_show(&self) -> String {
        self.view().policy_toml.clone()
    }

    /// A decision was made, or got its verdict; keys as in Decisions.
    #[zbus(signal)]
    pub(super) async fn decision_changed(
        emitter: &SignalEmitter<'_>,
        id: u64,
        decision: DecisionRecord,
    ) -> zbus::Result<()>;

    /// Version of the daemon.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> String {
        self.view().version.clone()
    }

    /// Mode in force: observe, advise or enforce.
    #[zbus(property)]
    fn mode(&self) -> &str {
        mode_text(self.view().mode)
    }

    /// Whether control is paused by command.
    #[zbus(property)]
    fn paused(&self) -> bool {
        self.view().paused
    }

    /// connected, or why libvirt cannot be reached.
    #[zbus(property)]
    fn libvirt(&self) -> String {
        self.view().libvirt.clone()
    }

    /// ok, or what the journal lost and why.
    #[zbus(property)]
    fn store(&self) -> String {
        self.view().store.clone()
    }

    /// Sensors by name: what each is based on, or why this host lacks it.
    #[zbus(property)]
    fn sensors(&self) -> BTreeMap<String, String> {
        self.view().sensors.clone()
    }

    /// Usable host CPUs in the kernel's list format, e.g. 0-3,8.
    #[zbus(property)]
    fn cpus(&self) -> String {
        self.view().cpus.clone()
    }

    /// Busy share of all usable CPUs, 0 to 1, rounded to 0.001.
    #[zbus(property)]
    fn host_busy(&self) -> Result<f64, Error> {
        absent(self.view().host_busy.map(share), "HostBusy")
    }

    /// Share of the last interval in which some task waited for a CPU (PSI), 0 to 1, rounded to 0.001.
    #[zbus(property)]
    fn host_pressure(&self) -> Result<f64, Error> {
        absent(self.view().host_pressure.map(share), "HostPressure")
    }

    /// Live objective of the last interval, 0 to 1, rounded to 0.001.
    #[zbus(property)]
    fn objective(&self) -> Result<f64, Error> {
        absent(self.view().objective.map(share), "Objective")
    }

    /// Number of guests at the last tick.
    #[zbus(property)]
    fn guest_count(&self) -> u32 {
        u32::try_from(self.view().guests.len()).unwrap_or(u32::MAX)
    }

    /// Ticks of the control loop since start. Changes at every tick, hence without a signal.
    #[zbus(property(emits_changed_signal = "false"))]
    fn ticks(&self) -> u64 {
        self.view().ticks
    }

    /// Wall time of the last tick, ms since the Unix epoch. Changes at every tick, hence without a signal.
    #[zbus(property(emits_changed_signal = "false"))]
    fn last_tick(&self) -> Result<i64, Error> {
        let view = self.view();
        absent((view.ticks > 0).then_some(view.time.0), "LastTick")
    }
}
