//! Every recipe of the placement by name: which CPUs it gives to whom.

use super::setting::{Does, Setting, told};
use trimtab_policy::control::Controller;
use trimtab_policy::control::placement::Placement;
use trimtab_policy::knob::PriorityDomain;
use trimtab_policy::topology::{Cpu, Topology};

fn plan(setting: Setting, recipe: &str) -> String {
    told(&Placement.plans(&setting.state()), recipe)
}

fn neighbours() -> Setting {
    Setting::neighbours(PriorityDomain::CgroupV1)
}

#[test]
fn recipes_by_name() {
    let burners_off = "a.vcpu0=1 a.vcpu1=1 a.emulator=1 b.vcpu0=1 b.vcpu1=1 b.emulator=1";
    let table = [
        ("isolate-io", format!("w.vcpu0=0 w.emulator=0 {burners_off}")),
        ("keep-clear", burners_off.to_owned()),
        ("service-clear", format!("w.emulator=0 {burners_off}")),
        ("thin-out", "w.vcpu0=0 w.emulator=0 a.vcpu1=1 b.vcpu1=1".to_owned()),
        ("pin-one", "w.vcpu0=0 w.emulator=0".to_owned()),
        ("pin-all", String::new()), // Five busy vCPUs, two cores.
        ("unpin", String::new()),
    ];
    for (recipe, expected) in table {
        assert_eq!(plan(neighbours(), recipe), expected, "{recipe}");
    }
}

#[test]
fn recipes_start_from_what_is_turned_and_unpin_undoes_it() {
    let turned = || neighbours().turned("w", "vcpu0.affinity", "1").turned("a", "vcpu0.affinity", "0");
    // K stays where the writer is.
    assert_eq!(plan(turned(), "pin-one"), "w.emulator=1");
    assert_eq!(plan(turned(), "keep-clear").split(' ').next(), Some("w.vcpu0=0-1"), "the writer is let go");
    assert_eq!(plan(turned(), "thin-out"), "w.emulator=1 a.vcpu0=0-1 a.vcpu1=0 b.vcpu1=0");
    assert_eq!(plan(turned(), "unpin"), "a.vcpu0=0-1 w.vcpu0=0-1");
}

#[test]
fn an_affinity_of_the_admin_is_a_bound() {
    let bound = || neighbours().was("a", "vcpu0.affinity", "1").was("w", "emulator.affinity", "1");
    assert_eq!(
        plan(bound(), "isolate-io"),
        "w.vcpu0=1 a.vcpu1=0 a.emulator=0 b.vcpu0=0 b.vcpu1=0 b.emulator=0"
    );
    assert_eq!(plan(bound(), "unpin"), "", "what Trimtab did not turn");
}

#[test]
fn nobody_waits_nothing_is_planned() {
    let easy = Setting::flat(2).guest("w", 1024, Does::Writes(0.01)).guest("a", 1024, Does::Burns(1, 0.99));
    assert!(Placement.plans(&easy.state()).is_empty());
}

#[test]
fn cores_stay_whole() {
    let cpu = |cpu| Cpu { cpu, core: cpu % 2, llc: 0, package: 0, node: 0 };
    let siblings = Topology { cpus: (0..4).map(cpu).collect(), nodes: Vec::new() };
    let host = Setting::new(siblings, PriorityDomain::CgroupV1);
    let host = host.guest("w", 1024, Does::Writes(0.25)).guest("a", 1024, Does::Burns(4, 0.7));
    assert_eq!(
        plan(host, "isolate-io"),
        "w.vcpu0=0,2 w.emulator=0,2 a.vcpu0=1,3 a.vcpu1=1,3 a.vcpu2=1,3 a.vcpu3=1,3 a.emulator=1,3"
    );
}

#[test]
fn a_core_for_every_vcpu_the_largest_guest_first() {
    let cpu = |cpu| Cpu { cpu, core: cpu, llc: cpu / 4, package: 0, node: 0 };
    let caches = || Topology { cpus: (0..8).map(cpu).collect(), nodes: Vec::new() };
    let host = || Setting::new(caches(), PriorityDomain::CgroupV1).guest("a", 1024, Does::Burns(2, 0.5));
    let large = host().guest("b", 1024, Does::Burns(4, 0.5));
    assert_eq!(plan(large, "pin-all"), "b.vcpu0=0 b.vcpu1=1 b.vcpu2=2 b.vcpu3=3 a.vcpu0=4 a.vcpu1=5");
    let heavy = host().guest("b", 2048, Does::Burns(2, 0.5));
    assert_eq!(plan(heavy, "pin-all"), "b.vcpu0=0 b.vcpu1=1 a.vcpu0=4 a.vcpu1=5");
    let bound = host().was("a", "vcpu0.affinity", "3").was("a", "vcpu1.affinity", "3-4");
    assert_eq!(plan(bound, "pin-all"), "a.vcpu1=4", "vCPU 0 is on 3 already, within its bound");
}
