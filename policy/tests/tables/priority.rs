//! Every recipe of the priority by name: which shares, weights and nice values it gives to whom.

use super::setting::{Does, Setting, id, told};
use trimtab_policy::control::Controller;
use trimtab_policy::control::priority::Priority;
use trimtab_policy::knob::Family;
use trimtab_policy::knob::PriorityDomain::{self, CgroupV1, CgroupV2, Nice, None as Nothing};
use trimtab_policy::topology::Topology;

fn plan(setting: Setting, recipe: &str) -> String {
    told(&Priority.plans(&setting.state()), recipe)
}

#[test]
fn recipes_by_name() {
    let table: [(PriorityDomain, &str, &str); 10] = [
        (CgroupV1, "shares-by-weight", "w.shares=2048"),
        (CgroupV1, "shares-x2", "w.shares=4096"),
        (CgroupV1, "shares-x4", ""), // One step at a time.
        (CgroupV1, "shares-default", ""),
        (CgroupV2, "shares-by-weight", "w.shares=200"),
        (CgroupV2, "shares-x2", "w.shares=400"),
        (Nice, "nice-by-weight", "a.nice=3 b.nice=3"), // 1.25 ^ 3 is about 2,
        (Nice, "nice-x2", "a.nice=6 b.nice=6"),        // and 1.25 ^ 6 about 4.
        (Nice, "shares-x2", ""),
        (Nothing, "shares-by-weight", ""),
    ];
    for (domain, recipe, expected) in table {
        assert_eq!(plan(Setting::neighbours(domain), recipe), expected, "{domain:?} {recipe}");
    }
    assert!(Priority.plans(&Setting::neighbours(Nothing).state()).is_empty());
}

#[test]
fn one_step_after_the_other_and_back() {
    let shares = |text| Setting::neighbours(CgroupV1).turned("w", "cpu.shares", text);
    assert_eq!(plan(shares("4096"), "shares-x4"), "w.shares=8192");
    assert_eq!(plan(shares("8192"), "shares-x8"), "w.shares=16384");
    assert_eq!(plan(shares("8192"), "shares-default"), "w.shares=1024");
    assert_eq!(plan(shares("8192"), "shares-by-weight"), "w.shares=2048");
    let last = Priority.plans(&shares("16384").state());
    assert!(!last.iter().any(|p| p.recipe.starts_with("shares-x")), "{last:?}");
    let nice = || Setting::neighbours(Nice).turned("a", "cpu.nice", "3").turned("b", "cpu.nice", "3");
    assert_eq!(plan(nice(), "nice-x2"), "a.nice=6 b.nice=6", "on top of the weights");
    let raised = nice().turned("a", "cpu.nice", "6").turned("b", "cpu.nice", "6");
    assert_eq!(plan(raised, "nice-x4"), "a.nice=9 b.nice=9");
}

#[test]
fn nice_is_only_ever_raised_above_what_it_was() {
    let was = || Setting::neighbours(Nice).was("a", "cpu.nice", "18").was("b", "cpu.nice", "-5");
    assert_eq!(plan(was(), "nice-x2"), "a.nice=19 b.nice=1");
}

#[test]
fn nice_follows_the_weights() {
    let burners = |a, b| {
        let host = Setting::new(Topology::flat(2), Nice);
        host.guest("a", a, Does::Burns(2, 0.5)).guest("b", b, Does::Burns(2, 0.5))
    };
    let table = [
        (1024, 1024, ""),
        (1000, 1024, ""), // Less than half a step.
        (512, 1024, "a.nice=3"),
        (1024, 256, "b.nice=6"),
        (0, 4_000_000_000, "a.nice=19"),
    ];
    for (a, b, expected) in table {
        assert_eq!(plan(burners(a, b), "nice-by-weight"), expected, "{a} and {b}");
    }
    let light = Setting::new(Topology::flat(2), Nice).guest("w", 512, Does::Writes(0.25));
    let light = || light.clone().guest("a", 1024, Does::Burns(2, 0.4));
    assert_eq!(plan(light(), "nice-by-weight"), "w.nice=3");
    assert_eq!(plan(light(), "nice-x2"), "", "twice its weight is what it has");
    assert_eq!(plan(light(), "nice-x4"), "a.nice=3");
    assert_eq!(plan(light().turned("w", "cpu.nice", "3"), "nice-x2"), "w.nice=0");
    let mut frozen = burners(2048, 1024).state();
    frozen.subjects.get_mut(&id("a")).unwrap().frozen.insert(Family::Priority, "by test".to_owned());
    assert_eq!(
        told(&Priority.plans(&frozen), "nice-by-weight"),
        "b.nice=3",
        "beside one that is not to be turned too"
    );
}

#[test]
fn nobody_waits_nothing_is_planned() {
    let easy = Setting::flat(2).guest("w", 2048, Does::Writes(0.01)).guest("a", 1024, Does::Burns(1, 0.99));
    assert!(Priority.plans(&easy.state()).is_empty());
}

#[test]
fn weights_become_what_the_platform_has() {
    let shares = |domain, weight| {
        let host = Setting::new(Topology::flat(2), domain);
        plan(
            host.guest("a", weight, Does::Burns(2, 0.4)).guest("w", 1024, Does::Burns(1, 0.4)),
            "shares-by-weight",
        )
    };
    let v2 = [(1, "2"), (25, "2"), (26, "3"), (100, "10"), (102_400, "10000"), (4_000_000, "10000")];
    let v1 = [(1, "2"), (3, "3"), (262_144, "262144"), (4_000_000, "262144")];
    for (domain, table) in [(CgroupV2, &v2[..]), (CgroupV1, &v1[..])] {
        for (weight, expected) in table {
            assert_eq!(shares(domain, *weight), format!("a.shares={expected}"), "{weight}");
        }
    }
}
