//! Hosts with nothing to fix, and guests that are off limits.

use super::world::World;
use super::world::host::Load;
use trimtab_policy::decision::Mode;
use trimtab_policy::knob::{Family, PriorityDomain};
use trimtab_policy::sample::GuestMeta;

#[test]
fn three_equal_burners_are_left_alone() {
    let mut w = World::new(2, PriorityDomain::CgroupV1, Mode::Enforce, 5);
    for name in ["a", "b", "c"] {
        w.guest(name, Load::Burner, 2, 1024);
    }
    w.seconds(180);
    assert!(w.lint.decisions.len() <= 1, "{}", w.story());
    w.assert_clean();
}

#[test]
fn idle_guests_and_a_lone_writer_are_left_alone() {
    let mut w = World::new(2, PriorityDomain::CgroupV1, Mode::Enforce, 5);
    for name in ["a", "b", "c"] {
        w.guest(name, Load::Idle, 2, 1024);
    }
    w.seconds(60);
    w.guest("w", Load::Writer, 2, 1024);
    w.seconds(120);
    assert!(w.lint.decisions.is_empty(), "{}", w.story());
    w.assert_clean();
}

#[test]
fn excluded_guests_and_families_are_never_turned() {
    let mut w = World::new(2, PriorityDomain::CgroupV1, Mode::Enforce, 7);
    w.guest_with(
        "writer",
        Load::Writer,
        2,
        GuestMeta { excluded: true, weight: 2048, ..GuestMeta::default() },
    );
    let no_pins = GuestMeta { excluded_knobs: [Family::Placement].into(), ..GuestMeta::default() };
    let a = w.guest_with("a", Load::Burner, 2, no_pins);
    w.guest("b", Load::Burner, 2, 1024);
    w.seconds(120);
    assert_eq!(w.engine.left_alone(a).as_deref(), Some("placement: excluded by its metadata"));
    w.assert_clean();
}

#[test]
fn when_the_writer_stops_the_burners_get_their_cpus_back() {
    let (mut w, writer, a, b) = World::neighbours(2048, Mode::Enforce, 1);
    w.seconds(35);
    assert!(!w.at_originals());
    w.host.set_load(writer, Load::Idle);
    w.seconds(30);
    let (ca, cb) = (w.measure(a, 5).1, w.measure(b, 5).1);
    assert!(ca + cb > 1.9, "{ca:.2} + {cb:.2} of 2 CPUs\n{}", w.story());
    w.assert_clean();
}
