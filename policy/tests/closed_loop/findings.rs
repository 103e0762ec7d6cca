//! What the engine says of guests and CPUs in situations that an admin can make with a few lines of virsh.

use super::world::World;
use super::world::host::Load;
use trimtab_policy::decision::Mode;
use trimtab_policy::identify::Bottleneck;
use trimtab_policy::knob::{Knob, KnobValue, PriorityDomain};
use trimtab_policy::topology::CpuSet;
use trimtab_policy::units::GuestId;

fn world() -> World {
    World::new(2, PriorityDomain::CgroupV1, Mode::Observe, 1)
}

/// Pins threads as the guest's own XML would: they were never elsewhere.
fn pinned(w: &mut World, guest: GuestId, knobs: &[Knob], cpu: u32) {
    for &knob in knobs {
        let value = KnobValue::Cpus(CpuSet::one(cpu));
        w.host.guests.get_mut(&guest).unwrap().knobs.insert(knob, value.clone());
        w.lint.truth.insert((guest, knob), value);
    }
}

const VCPUS: [Knob; 2] = [Knob::VcpuAffinity(0), Knob::VcpuAffinity(1)];
const SERVICES: [Knob; 2] = [Knob::EmulatorAffinity, Knob::IothreadAffinity(1)];

#[test]
fn vcpus_are_pinned_in_whatever_the_emulator_may_do() {
    let mut w = world();
    let guest = w.guest("a", Load::Burner, 2, 1024);
    pinned(&mut w, guest, &VCPUS, 0);
    w.seconds(8);
    let found = w.engine.finding(guest).unwrap();
    assert_eq!(found.bottleneck, Bottleneck::PinnedIn, "{found:?}");
    assert!(found.reason().ends_with("though 1.0 CPUs that it may not use there are idle"), "{found:?}");
}

#[test]
fn service_threads_are_pinned_in_whatever_the_vcpus_may_do() {
    let mut w = world();
    let (writer, burner) = (w.guest("w", Load::Writer, 2, 1024), w.guest("b", Load::Burner, 1, 1024));
    pinned(&mut w, writer, &SERVICES, 0);
    pinned(&mut w, burner, &VCPUS[..1], 0);
    w.seconds(8);
    let found = w.engine.finding(writer).unwrap();
    assert_eq!(found.bottleneck, Bottleneck::PinnedIn, "{found:?}");
}

#[test]
fn crowded_and_idle_cpus_are_told_apart() {
    let mut w = world();
    let guest = w.guest("a", Load::Burner, 2, 1024);
    pinned(&mut w, guest, &VCPUS, 0);
    w.seconds(20);
    let uses = w.engine.cpu_uses();
    let told = uses.iter().map(|u| (u.load.is_over_committed(), u.load.is_idle(), u.guests.len()));
    assert_eq!(told.collect::<Vec<_>>(), [(true, false, 1), (false, true, 0)], "{uses:?}");
    assert_eq!(uses[0].guests[0].0, guest);
}
