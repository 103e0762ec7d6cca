//! Everything that was sensed in the last interval, as flat names and numbers for who wants to look closer than the properties
//! do. Made only when asked for: most of it changes at every tick. May not: hold state, or show a value that is absent.

use std::collections::BTreeMap;
use trimtab_policy::rates::{GuestRates, HostRates, Pressure};
use trimtab_policy::sample::ThreadRole;

/// Numbers by name.
pub(super) type Counters = BTreeMap<String, f64>;

/// Those of one guest.
pub(super) fn of_guest(rates: &GuestRates) -> Counters {
    let mut all = Counters::new();
    for role in &rates.roles {
        let mut put =
            |what: &str, value: Option<f64>| put(&mut all, &format!("{}.{what}", name(role.role)), value);
        put("run", Some(role.run));
        put("wait", Some(role.wait));
        put("slices_per_s", role.slices_per_s);
        put("last_cpu", role.last_cpu.map(f64::from));
    }
    let (perf, disk) = (&rates.perf, rates.disk.as_ref());
    let single = [
        ("instructions_per_s", perf.instructions),
        ("cycles_per_s", perf.cycles),
        ("llc_misses_per_s", perf.llc_misses),
        ("l2_misses_per_s", perf.l2_misses),
        ("context_switches_per_s", perf.context_switches),
        ("cpu_migrations_per_s", perf.cpu_migrations),
        ("block_delay", rates.block_delay),
        ("storage_read_bytes_per_s", rates.storage_bps.map(|(read, _)| read)),
        ("storage_written_bytes_per_s", rates.storage_bps.map(|(_, written)| written)),
        ("disk_requests_per_s", disk.map(|disk| disk.ops_per_s)),
        ("disk_requests_in_flight", disk.and_then(|disk| disk.in_flight)),
        ("net_received_bytes_per_s", rates.net_bps.map(|(received, _)| received)),
        ("net_sent_bytes_per_s", rates.net_bps.map(|(_, sent)| sent)),
        ("balloon_kib", rates.balloon_kib.map(|kib| kib as f64)),
    ];
    single.into_iter().for_each(|(name, value)| put(&mut all, name, value));
    put_pressure(&mut all, &rates.pressure);
    all
}

/// Those of the host.
pub(super) fn of_host(rates: &HostRates) -> Counters {
    let mut all: Counters = rates.cpus.iter().map(|(cpu, &busy)| (format!("cpu{cpu}.busy"), busy)).collect();
    put(&mut all, "memory_total_kib", rates.memory_kib.map(|(total, _)| total as f64));
    put(&mut all, "memory_available_kib", rates.memory_kib.map(|(_, available)| available as f64));
    put_pressure(&mut all, &rates.pressure);
    all
}

fn put(all: &mut Counters, name: &str, value: Option<f64>) {
    all.extend(value.map(|value| (name.to_owned(), value)));
}

fn put_pressure(all: &mut Counters, pressure: &Pressure) {
    put(all, "pressure.cpu", pressure.cpu);
    put(all, "pressure.io", pressure.io);
    put(all, "pressure.memory", pressure.memory);
}

fn name(role: ThreadRole) -> String {
    match role {
        ThreadRole::Vcpu(n) => format!("vcpu{n}"),
        ThreadRole::Emulator => "emulator".to_owned(),
        ThreadRole::Iothread(n) => format!("iothread{n}"),
        ThreadRole::Vhost => "vhost".to_owned(),
    }
}
