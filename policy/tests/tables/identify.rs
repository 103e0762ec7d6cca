//! Roles with hysteresis, speeds, and every bottleneck with its reason.

use super::setting::features;
use trimtab_policy::config::IdentifyConfig;
use trimtab_policy::identify::features::Features;
use trimtab_policy::identify::{Bottleneck, Finding, Role, role, speed};
use trimtab_policy::sample::ThreadRole;

fn config() -> IdentifyConfig {
    IdentifyConfig::default()
}

#[test]
fn a_threshold_once_crossed_is_left_at_half_its_height() {
    use Role::{Cpu, Idle, Io, Mixed, Unknown};
    let vcpu = |run| features(&[(run, 0.0)], (0.0, 0.0), Some(0.0));
    let writes = |run, ops| Features { disk_bps: None, ..features(&[(run, 0.0)], (0.0, 0.0), Some(ops)) };
    let unseen = features(&[(0.5, 0.0)], (0.0, 0.0), None);
    let bytes = |kib| Features { disk_bps: Some(kib * 1024.0), ..writes(0.3, 0.0) };
    let table = [
        // Idle below 5 % of a CPU, once active below 2.5 %.
        (vcpu(0.04), Unknown, Idle),
        (vcpu(0.04), Idle, Idle),
        (vcpu(0.06), Idle, Cpu),
        (vcpu(0.04), Cpu, Cpu),
        (vcpu(0.02), Cpu, Idle),
        // I/O from 20 requests a second on, once seen from 10.
        (writes(0.3, 19.0), Cpu, Cpu),
        (writes(0.3, 20.0), Cpu, Io),
        (writes(0.3, 11.0), Io, Io),
        (writes(0.3, 9.0), Io, Cpu),
        // Or from 1024 KiB.
        (bytes(1023.0), Cpu, Cpu),
        (bytes(1024.0), Cpu, Io),
        (bytes(513.0), Io, Io),
        // A vCPU that is always runnable: 0.90, and 0.97 for one that came from serial I/O.
        (writes(0.89, 50.0), Cpu, Io),
        (writes(0.91, 50.0), Cpu, Mixed),
        (writes(0.91, 50.0), Io, Io),
        (writes(0.98, 50.0), Io, Mixed),
        (writes(0.91, 50.0), Mixed, Mixed),
        (writes(0.89, 50.0), Mixed, Io),
        // No statistics at this tick: what it did before counts.
        (unseen.clone(), Io, Io),
        (unseen, Cpu, Cpu),
    ];
    for (features, was, expected) in table {
        assert_eq!(role(&features, was, &config()), expected, "{features:?}, was {was}");
    }
}

#[test]
fn waiting_alone_is_no_wish_for_cpu() {
    let guest = |vcpu, service| features(&[vcpu], service, Some(0.0));
    let table = [
        // Halted, on a host that is full: its timers come to run late, whichever threads they wake.
        (guest((0.0, 0.0), (0.002, 0.3)), Role::Idle),
        (guest((0.003, 0.4), (0.002, 0.4)), Role::Idle),
        // Starved: what little time it does not wait, it runs.
        (guest((0.02, 0.97), (0.0, 0.0)), Role::Cpu),
        (guest((0.001, 0.95), (0.0, 0.0)), Role::Cpu),
        (guest((0.05, 0.5), (0.0, 0.0)), Role::Cpu),
        // Several helper threads wait at once for more than a CPU: nothing is known of each.
        (guest((0.0, 0.0), (0.01, 1.2)), Role::Cpu),
    ];
    for (features, expected) in table {
        assert_eq!(role(&features, Role::Idle, &config()), expected, "{features:?}");
    }
}

#[test]
fn speed_is_what_the_waits_leave_of_it() {
    let four = features(&[(0.25, 0.75); 4], (0.1, 0.9), Some(0.0));
    let serial = |wait| features(&[(0.2, wait)], (0.2, wait), Some(100.0));
    let deep = Features { in_flight: Some(4.0), ..serial(0.2) };
    let table = [
        (&four, Role::Cpu, 8, Some(0.25)),
        (&four, Role::Mixed, 2, Some(0.5)), // More than the host has it could not use alone either.
        (&serial(0.1), Role::Io, 8, Some(0.8)),
        (&serial(0.45), Role::Io, 8, Some(0.4)), // Never more is lost than the time in which nothing of it ran.
        (&deep, Role::Io, 8, Some(0.9)),
        (&serial(0.1), Role::Idle, 8, None),
        (&serial(0.1), Role::Unknown, 8, None),
    ];
    for (features, role, cpus, expected) in table {
        let is = speed(features, role, cpus);
        let same = is.zip(expected).map_or(is == expected, |(a, b)| (a - b).abs() < 1e-9);
        assert!(same, "{role} on {cpus}: {is:?}, expected {expected:?}");
    }
}

#[test]
fn every_bottleneck_has_its_situation_and_its_words() {
    let burns = |run| features(&[(run, 1.0 - run)], (0.0, 0.0), Some(0.0));
    let writes = |vcpu, service| features(&[(0.2, vcpu)], (0.2, service), Some(100.0));
    let table: [(Features, f64, Bottleneck, &str); 8] = [
        (features(&[(0.01, 0.0)], (0.0, 0.0), Some(0.0)), 9.0, Bottleneck::None, "is idle"),
        (burns(0.91), 9.0, Bottleneck::None, "loses 9 % of its speed to waiting, not worth acting on"),
        (burns(0.5), 0.2, Bottleneck::Cpu, "loses 50 % of its speed to waiting for CPUs (vCPUs 0.50"),
        (burns(0.5), 0.3, Bottleneck::PinnedIn, "though 0.3 CPUs that it may not use there are idle"),
        (writes(0.1, 0.2), 0.2, Bottleneck::IoService, "(vCPUs 0.10, service threads 0.20 seconds a second"),
        (writes(0.1, 0.2), 0.2, Bottleneck::IoService, "its I/O is serial"),
        (writes(0.1, 0.2), 1.0, Bottleneck::PinnedIn, "though 1.0 CPUs"),
        (features(&[(0.5, 0.5)], (0.2, 0.1), Some(100.0)), 0.0, Bottleneck::Cpu, "waiting for CPUs"),
    ];
    for (features, idle, expected, words) in table {
        let found = Finding::of(features, Role::Unknown, 4, |_| idle, &config());
        assert_eq!(found.bottleneck, expected, "{found:?}");
        assert!(found.reason().contains(words), "{}", found.reason());
    }
    let unknown = Finding::default();
    assert_eq!(unknown.bottleneck, Bottleneck::Unknown);
    assert_eq!(unknown.reason(), "is not known well enough yet");
}

#[test]
fn pinned_in_is_who_waits_there() {
    let vcpu = |n| move |role| f64::from(u8::from(role == ThreadRole::Vcpu(n)));
    let emulator = |role| f64::from(u8::from(role == ThreadRole::Emulator));
    let of = |features: &Features, idle: &dyn Fn(ThreadRole) -> f64| {
        Finding::of(features.clone(), Role::Unknown, 4, idle, &config()).bottleneck
    };
    let uneven = features(&[(0.2, 0.8), (0.9, 0.1)], (0.1, 0.6), Some(0.0));
    assert_eq!(of(&uneven, &vcpu(0)), Bottleneck::PinnedIn, "the one that waits is");
    assert_eq!(of(&uneven, &vcpu(1)), Bottleneck::Cpu, "the other one is");
    assert_eq!(of(&uneven, &emulator), Bottleneck::Cpu, "its speed is not told by the emulator's waiting");
    let writer = features(&[(0.2, 0.05)], (0.2, 0.3), Some(100.0));
    assert_eq!(of(&writer, &emulator), Bottleneck::PinnedIn, "a writer's is");
    assert_eq!(of(&writer, &vcpu(0)), Bottleneck::IoService, "it hardly waits with its vCPU");
}
