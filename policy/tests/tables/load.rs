//! What is wanted of each CPU.

use super::setting::{Does, Setting};
use trimtab_policy::control::{State, propose};
use trimtab_policy::identify::Finding;
use trimtab_policy::knob::{Family, PriorityDomain};
use trimtab_policy::model::{cpu_loads, cpu_uses, words};
use trimtab_policy::units::GuestId;

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
fn a_cpu_tells_who_wants_it_the_most_first() {
    let host = Setting::flat(2).guest("a", 1024, Does::Burns(1, 0.5)).guest("b", 1024, Does::Burns(2, 0.5));
    let pinned =
        host.was("a", "vcpu0.affinity", "0").was("b", "vcpu0.affinity", "0").was("b", "vcpu1.affinity", "0");
    let state = pinned.state();
    let uses = cpu_uses(&state);
    assert_eq!(uses.iter().map(|u| u.load).collect::<Vec<_>>(), cpu_loads(&state));
    let named = |id: &GuestId| state.subjects[id].name.clone();
    let guests: Vec<(String, f64)> = uses[0].guests.iter().map(|(id, wants)| (named(id), *wants)).collect();
    assert_eq!(guests, [("b".to_owned(), 2.0), ("a".to_owned(), 1.0)]);
    assert_eq!((uses[0].load.demand, uses[1].guests.len()), (3.0, 0));
}

#[test]
fn a_guest_of_which_nothing_is_known_wants_one_cpu_at_least() {
    let mut state = Setting::flat(2).guest("a", 1024, Does::Burns(1, 0.5)).state();
    for (vcpus, expected) in [(None, 0.5), (Some(3), 1.5)] {
        let guest = state.subjects.values_mut().next().unwrap();
        (guest.found, guest.vcpus) = (Finding::default(), vcpus);
        assert_eq!(demands(&state), [expected; 2], "{vcpus:?}");
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
