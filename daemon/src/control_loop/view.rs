//! What the loop shows of itself, and the rows it keeps of each guest. May not: change anything.

use super::ControlLoop;
use super::guests::Tracked;
use crate::handle::{GuestView, View};
use std::sync::Arc;
use trimtab_policy::rates::GuestRates;
use trimtab_policy::topology::CpuSet;
use trimtab_policy::units::{GuestId, UnixMs};
use trimtab_store::SampleRow;

/// Text of `View::libvirt` while the connection works.
pub(super) const CONNECTED: &str = "connected";
/// Newest decisions shown.
pub(super) const DECISIONS: usize = 100;
/// A guest that wants less of a CPU is idle (a halted qemu: 0.001 to 0.003), and what part of that it waits says nothing.
const IDLE: f64 = 0.01;

impl ControlLoop {
    /// Replaces the view.
    pub(super) fn publish(&mut self, wall: UnixMs) {
        let host = &self.seen.host;
        let view = View {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ticks: self.tick,
            time: wall,
            mode: self.engine.mode(),
            paused: self.engine.is_paused(),
            libvirt: self.libvirt.clone(),
            store: self.store_health.clone(),
            sensors: self.sensors.status(),
            cpus: host.cpus.keys().copied().collect::<CpuSet>().to_string(),
            host_busy: host.busy,
            host_pressure: host.pressure.cpu,
            rates: Arc::clone(&self.seen),
            objective: self.engine.score().value,
            guests: self.guests.iter().map(|(&id, guest)| (id, self.guest_view(id, guest))).collect(),
            decisions: self.decisions.clone(),
            policy_toml: self.policy_toml.clone(),
        };
        self.view.send_replace(Arc::new(view));
    }

    fn guest_view(&self, id: GuestId, guest: &Tracked) -> GuestView {
        let rates = self.seen.guests.get(&id);
        let found = self.engine.finding(id);
        let disk = rates.and_then(|r| r.disk.as_ref());
        GuestView {
            name: guest.name.clone(),
            state: guest.state,
            pid: guest.pid,
            vcpus: guest.vcpus,
            weight: guest.meta.as_ref().map_or(1024, |m| m.weight),
            job: guest.meta.as_ref().and_then(|m| m.job.clone()),
            cpu_cores: rates.and_then(|r| r.run),
            run_delay: rates.and_then(run_delay),
            write_bps: disk.map(|d| d.write_bps),
            read_bps: disk.map(|d| d.read_bps),
            speed: found.and_then(|f| f.speed),
            bottleneck: found.map(|f| f.bottleneck.to_string()).unwrap_or_default(),
            profile: found.map(|f| f.role.to_string()).unwrap_or_default(),
            left_alone: self.engine.left_alone(id),
            knobs: Arc::clone(&guest.knobs),
            originals: self.engine.originals_of(id).cloned().collect(),
        }
    }

    /// One row for each guest.
    pub(super) fn sample_rows(&self, wall: UnixMs) -> Vec<SampleRow> {
        let row = |(id, rates): (&GuestId, &GuestRates)| {
            let disk = rates.disk.as_ref();
            SampleRow {
                time_ms: wall.0,
                guest: id.to_string(),
                guest_name: rates.name.clone(),
                cpu_cores: rates.run,
                run_delay: run_delay(rates),
                read_bps: disk.map(|d| d.read_bps),
                write_bps: disk.map(|d| d.write_bps),
                speed: self.engine.finding(*id).and_then(|f| f.speed),
            }
        };
        self.seen.guests.iter().map(row).collect()
    }
}

/// Share of the wanted CPU time that was spent in a run queue; absent for an idle guest.
fn run_delay(rates: &GuestRates) -> Option<f64> {
    let (run, wait) = (rates.run?, rates.wait?);
    (run + wait >= IDLE).then(|| wait / (run + wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_part_of_next_to_nothing_a_guest_waits_is_not_told() {
        let delay =
            |run, wait| run_delay(&GuestRates { run: Some(run), wait: Some(wait), ..GuestRates::default() });
        assert_eq!((delay(0.002, 0.001), delay(0.0, 0.0)), (None, None));
        assert_eq!((delay(0.3, 0.1), delay(0.0, 0.5)), (Some(0.25), Some(1.0)));
    }
}
