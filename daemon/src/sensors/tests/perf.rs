//! perf: the order of probing, scaling, and software events on real threads.

use super::skipped;
use super::stand_in::StandIn;
use crate::sensors::perf::{CpuModel, Level, Scaler, l2_misses, probe_levels};
use crate::sensors::{Sensors, SensorsConfig};
use proptest::prelude::*;
use std::io;
use trimtab_policy::sample::{PerfEvents, ThreadRole};

fn probe(hardware: Option<i32>, software: Option<i32>) -> (Level, String, Vec<Level>) {
    let mut tried = Vec::new();
    let (level, text) = probe_levels(
        |level| {
            tried.push(level);
            let errno = if level == Level::Hardware { hardware } else { software };
            errno.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
        },
        Some(3),
    );
    (level, text, tried)
}

#[test]
fn the_best_level_that_opens_is_used() {
    use Level::{Hardware, Off, Software};
    let all = probe(None, None);
    assert_eq!(all, (Hardware, "hardware".to_owned(), vec![Hardware]));
    let no_pmu = probe(Some(libc::ENOENT), None);
    assert_eq!(no_pmu, (Software, "software: no PMU (ENOENT)".to_owned(), vec![Hardware, Software]));
    let forbidden = probe(Some(libc::EACCES), Some(libc::EACCES));
    assert_eq!(forbidden, (Off, "off: perf_event_paranoid=3 (EACCES)".to_owned(), vec![Hardware, Software]));
    assert_eq!(probe(Some(libc::EOPNOTSUPP), None).1, "software: no PMU (EOPNOTSUPP)");
    assert_eq!(probe(Some(libc::ENOSYS), Some(libc::ENOSYS)).1, "off: no perf_event in this kernel (ENOSYS)");
    assert_eq!(probe(Some(libc::ENOENT), Some(libc::EPERM)).1, "off: perf_event_paranoid=3 (EPERM)");
}

#[test]
fn l2_events_only_where_the_number_is_known() {
    let intel = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Xeon\n\nprocessor\t: 1\nmodel\t\t: 1\n";
    let model = CpuModel::parse(intel);
    assert_eq!((model.vendor.as_str(), model.family, model.model), ("GenuineIntel", 6, 0x8f));
    assert_eq!(l2_misses(&model), Some(0x3f24));
    let amd = CpuModel { vendor: "AuthenticAMD".into(), family: 0x19, model: 1, is_arm64: false };
    assert_eq!(l2_misses(&amd), Some(0x0964));
    assert_eq!(l2_misses(&CpuModel { family: 0x15, ..amd }), None);
    assert_eq!(l2_misses(&CpuModel { model: 0x9a, ..model }), None, "a hybrid");
    assert_eq!(l2_misses(&CpuModel { is_arm64: true, ..CpuModel::parse("") }), Some(0x17));
    assert_eq!(l2_misses(&CpuModel::parse("")), None);
}

#[test]
fn counts_are_exact_when_never_multiplexed() {
    let mut scaler = Scaler::default();
    assert_eq!(scaler.update(0, 0, [0, 0]), Some([0.0, 0.0]), "the thread has not run yet");
    assert_eq!(scaler.update(100, 100, [7, 1]), Some([7.0, 1.0]));
    assert_eq!(scaler.update(100, 100, [7, 1]), Some([7.0, 1.0]), "has not run since");
    assert_eq!(scaler.update(300, 300, [20, 1]), Some([20.0, 1.0]));
}

#[test]
fn counts_are_scaled_interval_by_interval() {
    let mut scaler = Scaler::default();
    assert_eq!(scaler.update(100, 50, [10]), Some([20.0]), "on the PMU half of the time");
    assert_eq!(scaler.update(200, 150, [20]), Some([30.0]), "all of the time: no more scaling");
    assert_eq!(scaler.update(300, 150, [20]), None, "ran, but never on the PMU: unknown, not 0");
    assert_eq!(scaler.update(400, 200, [25]), Some([50.0]), "5 in 50 of the 200 ns since");
}

proptest! {
    #[test]
    fn scaled_counts_never_fall_and_never_lose(
        steps in prop::collection::vec((0u64..1_000_000, 0u64..=100, 0u64..1_000_000), 1..40)
    ) {
        let mut scaler = Scaler::default();
        let (mut enabled, mut running, mut raw) = (0, 0, 0);
        let mut last = 0.0;
        for (time, percent, count) in steps {
            let ran = time * percent / 100;
            enabled += time;
            running += ran;
            raw += if ran > 0 { count } else { 0 };
            if let Some([scaled]) = scaler.update(enabled, running, [raw]) {
                prop_assert!(scaled >= last);
                prop_assert!(scaled >= raw as f64 * (1.0 - 1e-9));
                last = scaled;
            }
        }
    }

    #[test]
    fn no_numbers_break_the_scaler(readings in prop::collection::vec(any::<(u64, u64, u64)>(), 1..10)) {
        let mut scaler = Scaler::default();
        for (enabled, running, raw) in readings {
            if let Some([scaled]) = scaler.update(enabled, running, [raw]) {
                prop_assert!(scaled.is_finite() && scaled >= 0.0);
            }
        }
    }
}

/// Software events need no PMU; without the permission it can only be seen that they are absent then, which is said.
#[test]
fn events_of_real_threads() {
    let mut guest = StandIn::start();
    let mut sensors = Sensors::new(SensorsConfig::default()).unwrap();
    guest.tell("worker");
    let text = sensors.status()["perf"].clone();
    let sample = |sensors: &mut Sensors| {
        sensors.host();
        let threads = sensors.guest(guest.pid()).unwrap();
        let of = |role| threads.iter().find(|thread| thread.role == role).unwrap().perf;
        let worker = threads.iter().rfind(|thread| thread.role == ThreadRole::Emulator).unwrap().perf;
        (of(ThreadRole::Vcpu(0)), of(ThreadRole::Vcpu(1)), worker)
    };
    let counted =
        |seen: &(Option<PerfEvents>, _, _)| seen.0.is_some_and(|counts| counts.context_switches.is_some());
    // Two successive ticks out of thirty; begin beside them.
    while counted(&sample(&mut sensors)) {}
    let ticks: Vec<_> = (0..60).map(|_| sample(&mut sensors)).collect();
    if text.starts_with("off") {
        assert!(ticks.iter().all(|seen| *seen == (None, None, None)));
        skipped("events_of_real_threads", &format!("perf is {text}; that they are absent then was seen"));
        return;
    }
    assert_eq!(ticks.iter().filter(|seen| counted(seen)).count(), 4);
    assert_eq!(ticks.windows(2).filter(|pair| counted(&pair[0]) && counted(&pair[1])).count(), 2);
    let before = loop {
        let seen = sample(&mut sensors);
        if counted(&seen) {
            break seen.0;
        }
    };
    std::thread::sleep(std::time::Duration::from_millis(200));
    let (after, sleeper, worker) = sample(&mut sensors);
    assert_eq!(worker, None, "pool workers come and go");
    let switches = |counts: Option<PerfEvents>| counts.unwrap().context_switches.unwrap();
    // CPU 0/KVM sleeps 2 ms at a time.
    let switched = switches(after) - switches(before);
    assert!((5.0..=400.0).contains(&switched), "{switched} context switches in 200 ms");
    assert_eq!(switches(sleeper), 0.0, "opened while it slept");
    assert!(after.unwrap().cpu_migrations.is_some());
    if text.starts_with("software") {
        assert_eq!(after.unwrap().instructions, None, "absent, not 0");
    }
}
