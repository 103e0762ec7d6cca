//! The minute after a decision was kept: what turns out to starve somebody goes back, but only as long as Trimtab may turn
//! anything, and not for what is a hang's doing.

use super::world::World;
use trimtab_policy::decision::{Mode, Verdict};
use trimtab_policy::engine::Command;
use trimtab_policy::units::GuestId;

/// Lets it run until a decision is kept.
fn until_kept(mut w: World) -> World {
    for _ in 0..60 {
        w.tick();
        if w.count(Verdict::Kept) > 0 {
            return w;
        }
    }
    panic!("nothing was kept\n{}", w.story());
}

/// A world with a fresh kept decision, and one of its two burners.
fn kept() -> (World, GuestId) {
    let (w, _, _, b) = World::pinned_neighbours();
    (until_kept(w), b)
}

fn taken_back(w: &World) -> bool {
    w.decisions().any(|d| d.outcome.contains("before that, kept"))
}

/// From now on the guest gets next to nothing beside the others.
fn starve(w: &mut World, guest: GuestId) {
    w.host.guests.get_mut(&guest).unwrap().luck = 0.1;
}

#[test]
fn what_starves_a_guest_after_all_goes_back() {
    let (mut w, b) = kept();
    starve(&mut w, b);
    w.seconds(30);
    let d = w.decisions().find(|d| d.outcome.contains("before that, kept")).unwrap();
    assert!(d.verdict == Verdict::Reverted && d.outcome.contains("burner-b fell to"), "{}", w.story());
    w.assert_clean();
}

/// CPU time is what a floor is in, but not what a guest is there for.
#[test]
fn less_cpu_harms_a_writer_only_if_it_writes_less() {
    for (cost, device, harm) in [(0.1, 1.0, false), (0.1, 30.0, true)] {
        let (mut w, writer, ..) = World::pinned_neighbours();
        w.host.step_ns = 50_000;
        let before = w.measure(writer, 3);
        let mut w = until_kept(w);
        let guest = w.host.guests.get_mut(&writer).unwrap();
        (guest.cost, guest.device) = (cost, device);
        let after = w.measure(writer, 40);
        assert!(after.1 < 0.9 * before.1 && (after.0 < before.0) == harm, "{before:?} -> {after:?}");
        assert_eq!(taken_back(&w), harm, "{}", w.story());
        w.assert_clean();
    }
}

#[test]
fn nothing_goes_back_by_itself_once_trimtab_may_not_turn_anything() {
    let pause: fn(&mut World) = |w| drop(w.command(Command::Pause));
    let leave = |mode| move |w: &mut World| drop(w.command(Command::SetMode(mode)));
    let (observe, advise) = (leave(Mode::Observe), leave(Mode::Advise));
    let ends: [&dyn Fn(&mut World); 4] = [&pause, &observe, &advise, &World::stop];
    for (n, end) in ends.into_iter().enumerate() {
        let (mut w, b) = kept();
        end(&mut w);
        let writes = w.writes;
        starve(&mut w, b);
        w.seconds(70);
        assert!(w.writes == writes && w.count(Verdict::Kept) > 0, "end {n}\n{}", w.story());
        w.assert_clean();
    }
}

#[test]
fn a_guest_is_not_judged_by_what_it_did_while_it_hung() {
    let (mut w, b) = kept();
    w.seconds(16);
    // Its qemu stands still for ten seconds, and is all right afterwards.
    starve(&mut w, b);
    w.host.guests.get_mut(&b).unwrap().unresponsive = true;
    w.seconds(10);
    let guest = w.host.guests.get_mut(&b).unwrap();
    (guest.luck, guest.unresponsive) = (1.0, false);
    w.seconds(40);
    assert!(!taken_back(&w), "{}", w.story());
    w.assert_clean();
}
