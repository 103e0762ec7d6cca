//! Every recipe of the priority by name: which shares, weights and nice values it gives to whom.

use super::setting::{Does, Setting, told};
use trimtab_policy::control::Controller;
use trimtab_policy::control::priority::Priority;
use trimtab_policy::knob::PriorityDomain::{self, CgroupV1, CgroupV2, Nice, None as Nothing};

fn plan(setting: Setting, recipe: &str) -> String {
    told(&Priority.plans(&setting.state()), recipe)
}

#[test]
fn recipes_by_name() {
    let table: [(PriorityDomain, &str, &str); 9] = [
        (CgroupV1, "shares-by-weight", "w.shares=2048"),
        (CgroupV1, "shares-x2", "w.shares=4096"),
        (CgroupV1, "shares-x4", ""), // One step at a time.
        (CgroupV1, "shares-default", ""),
        (CgroupV2, "shares-by-weight", "w.shares=200"),
        (CgroupV2, "shares-x2", "w.shares=400"),
        (Nice, "nice-x2", "a.nice=3 b.nice=3"),
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
    let nice = Setting::neighbours(Nice).turned("a", "cpu.nice", "3").turned("b", "cpu.nice", "3");
    assert_eq!(plan(nice, "nice-x4"), "a.nice=6 b.nice=6");
}

#[test]
fn nice_is_only_ever_raised_above_what_it_was() {
    let was = || Setting::neighbours(Nice).was("a", "cpu.nice", "18").was("b", "cpu.nice", "-5");
    assert_eq!(plan(was(), "nice-x2"), "a.nice=19 b.nice=-2");
}

#[test]
fn nobody_waits_nothing_is_planned() {
    let easy = Setting::flat(2).guest("w", 2048, Does::Writes(0.01)).guest("a", 1024, Does::Burns(1, 0.99));
    assert!(Priority.plans(&easy.state()).is_empty());
}
