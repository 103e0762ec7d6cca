//! What is wanted of each CPU.

use super::setting::{Does, Setting};
use trimtab_policy::control::{State, propose};
use trimtab_policy::knob::{Family, PriorityDomain};
use trimtab_policy::model::{cpu_loads, words};

/// Demand of each CPU, to a tenth.
fn demands(state: &State) -> Vec<f64> {
    cpu_loads(state).iter().map(|l| (l.demand * 10.0).round() / 10.0).collect()
}

#[test]
fn demand_is_where_threads_are_found() {
    let burners = |n| Setting::flat(4).guest("a", 1024, Does::Burns(n, 0.5));
    let on_0 = |s: Setting| s.was("a", "vcpu0.affinity", "0").was("a", "vcpu1.affinity", "0");
    let table = [
        (Setting::flat(4), [0.0; 4]),
        (burners(2), [0.5; 4]),
        (burners(8), [2.0; 4]),
        (on_0(burners(2)), [2.0, 0.0, 0.0, 0.0]),
        // Who may leave a crowded CPU does.
        (on_0(burners(2)).guest("b", 1024, Does::Burns(3, 1.0)), [2.0, 1.0, 1.0, 1.0]),
    ];
    for (n, (setting, expected)) in table.into_iter().enumerate() {
        let is = demands(&setting.state());
        assert!(is.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.11), "{n}: {is:?}, not {expected:?}");
    }
}

#[test]
fn over_committed_and_idle_are_said() {
    let pinned = || {
        let host = Setting::flat(4).guest("a", 1024, Does::Burns(2, 0.5));
        host.was("a", "vcpu0.affinity", "0").was("a", "vcpu1.affinity", "0").busy(0, 1.0).busy(1, 0.9)
    };
    let state = pinned().busy(2, 0.2).busy(3, 0.0).state();
    assert_eq!(
        words(&cpu_loads(&state)),
        "CPUs 0 are over-committed (2.0 runnable threads each), CPUs 2-3 are idle 90 % of the time"
    );
    // Not known is not idle.
    assert!(words(&cpu_loads(&pinned().state())).ends_with(", none is idle"));
    assert_eq!(words(&cpu_loads(&Setting::flat(2).state())), "no CPU is over-committed, none is idle");
}

#[test]
fn a_placement_says_what_it_found_on_the_host() {
    let state = Setting::neighbours(PriorityDomain::CgroupV1).busy(0, 1.0).busy(1, 1.0).state();
    let says = format!(" On the host, {}. Plan ", words(&cpu_loads(&state)));
    assert!(says.contains("CPUs 0-1 are over-committed"), "{says}");
    let proposals = propose(&state);
    assert!(proposals.iter().any(|p| p.plan.family == Family::Placement));
    for p in proposals {
        assert_eq!(p.why.contains(&says), p.plan.family == Family::Placement, "{}", p.why);
    }
}
