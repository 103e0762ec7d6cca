//! What goes wrong: admins, crashes, dying guests, refusals, CPUs that vanish.

use super::world::World;
use super::world::host::Load;
use std::sync::Arc;
use trimtab_policy::decision::{Mode, Verdict};
use trimtab_policy::engine::Command;
use trimtab_policy::knob::{Family, Knob, KnobValue};
use trimtab_policy::topology::{CpuSet, Topology};
use trimtab_policy::units::GuestId;

/// A world whose first trial is just being measured.
fn on_trial() -> World {
    let (mut w, ..) = World::pinned_neighbours();
    for _ in 0..40 {
        w.tick();
        if w.engine.open_decision().is_some() {
            w.tick();
            return w;
        }
    }
    panic!("no trial\n{}", w.story());
}

fn reverted_with(w: &World, text: &str) {
    let d = w.decisions().next().unwrap();
    assert!(d.verdict == Verdict::Reverted && d.outcome.contains(text), "{}", w.story());
    w.assert_clean();
}

#[test]
fn guest_dies_mid_trial() {
    let mut w = on_trial();
    let (writer, _) = w.host.guests.iter().find(|(_, g)| g.name == "writer").unwrap();
    let writer = *writer;
    w.host.stop(writer);
    w.seconds(2);
    reverted_with(&w, "writer is gone");
    w.seconds(12);
    assert!(w.at_originals() && w.lint.originals.is_empty(), "{}", w.story());
    w.assert_clean();
}

#[test]
fn guest_restarts_mid_trial() {
    let mut w = on_trial();
    w.guest("writer", Load::Writer, 2, 2048);
    w.seconds(2);
    reverted_with(&w, "restarted");
    assert!(w.at_originals());
}

#[test]
fn guest_appears_mid_trial() {
    let mut w = on_trial();
    w.guest("late", Load::Burner, 2, 1024);
    w.seconds(6);
    reverted_with(&w, "load changed");
}

#[test]
fn crash_mid_trial_is_undone_at_the_next_start() {
    let mut w = on_trial();
    assert!(!w.at_originals());
    w.crash();
    w.seconds(3);
    reverted_with(&w, "trimtabd stopped while measuring");
    assert!(w.at_originals() && w.lint.originals.is_empty(), "{}", w.story());
}

#[test]
fn crash_between_changes_is_undone_too() {
    for changes in 0..4 {
        let (mut w, ..) = World::pinned_neighbours();
        w.die_after = Some(changes);
        w.seconds(40);
        assert!(w.crashed, "{}", w.story());
        assert_eq!(w.count(Verdict::Reverted), 1, "{}", w.story());
        w.command(Command::Restore(None));
        assert!(w.at_originals(), "{}", w.story());
        w.assert_clean();
    }
}

#[test]
fn kept_knobs_survive_a_crash_and_can_be_restored() {
    let (mut w, ..) = World::neighbours(2048, Mode::Enforce, 1);
    w.seconds(40);
    w.crash();
    w.seconds(5);
    assert!(!w.at_originals(), "{}", w.story());
    w.command(Command::Restore(None));
    assert!(w.at_originals(), "{}", w.story());
    w.assert_clean();
}

#[test]
fn the_admin_wins_during_a_trial() {
    let mut w = on_trial();
    let (&burner, _) = w.host.guests.iter().find(|(_, g)| g.name == "burner-a").unwrap();
    w.admin_sets(burner, Knob::VcpuAffinity(0), KnobValue::Cpus(CpuSet::one(0)));
    w.seconds(4);
    reverted_with(&w, "by somebody else");
    for c in &w.decisions().next().unwrap().changes {
        let now = &w.host.guests[&c.guest].knobs[&c.knob];
        assert_eq!(
            Some(now),
            w.lint.truth.get(&(c.guest, c.knob)),
            "back, or as the admin set it\n{}",
            w.story()
        );
    }
    assert!(w.engine.left_alone(burner).unwrap().contains("vcpu0.affinity was set to 0 by somebody else"));
    w.seconds(60);
    let turned = |w: &World| {
        let later = w.decisions().skip(1).flat_map(|d| d.changes.clone());
        later.filter(|c| c.guest == burner && c.knob.family() == Family::Placement).count()
    };
    assert_eq!(turned(&w), 0, "{}", w.story());
    w.command(Command::Restore(Some(burner)));
    assert_eq!(w.engine.left_alone(burner).as_deref().map(|t| t.contains("somebody")), Some(false));
    w.assert_clean();
}

#[test]
fn the_admin_wins_on_a_kept_knob() {
    let (mut w, writer, ..) = World::neighbours(2048, Mode::Enforce, 1);
    w.seconds(30);
    assert!(w.count(Verdict::Kept) >= 1);
    w.admin_sets(writer, Knob::VcpuAffinity(0), KnobValue::Cpus(CpuSet::one(1)));
    w.seconds(60);
    assert_eq!(w.host.guests[&writer].knobs[&Knob::VcpuAffinity(0)], KnobValue::Cpus(CpuSet::one(1)));
    assert!(w.notes.iter().any(|n| n.contains("by somebody else")), "{}", w.story());
    w.assert_clean();
}

#[test]
fn the_admins_word_outlives_the_daemon() {
    let (mut w, writer, ..) = World::neighbours(2048, Mode::Enforce, 1);
    w.seconds(3);
    w.admin_sets(writer, Knob::VcpuAffinity(0), KnobValue::Cpus(CpuSet::one(1)));
    w.seconds(2);
    w.crash();
    w.seconds(60);
    assert_eq!(w.host.guests[&writer].knobs[&Knob::VcpuAffinity(0)], KnobValue::Cpus(CpuSet::one(1)));
    let turned = w.decisions().flat_map(|d| &d.changes);
    let turned = turned.filter(|c| c.guest == writer && c.knob.family() == Family::Placement).count();
    assert_eq!(turned, 0, "{}", w.story());
    assert!(w.engine.left_alone(writer).unwrap().contains("vcpu0.affinity was set to 1 by somebody else"));
    w.command(Command::Restore(Some(writer)));
    assert_eq!(w.engine.left_alone(writer).as_deref().map(|t| t.contains("somebody")), Some(false));
    assert!(w.lint.overrides.is_empty());
    w.assert_clean();
}

#[test]
fn the_admins_word_ends_with_the_guest() {
    for restarts in [true, false] {
        let (mut w, writer, ..) = World::neighbours(2048, Mode::Enforce, 1);
        w.seconds(3);
        w.admin_sets(writer, Knob::VcpuAffinity(0), KnobValue::Cpus(CpuSet::one(1)));
        w.seconds(2);
        assert_eq!(w.lint.overrides.len(), 1);
        w.crash();
        if restarts {
            w.guest("writer", Load::Writer, 2, 2048);
        } else {
            w.host.stop(writer);
        }
        w.seconds(12);
        assert!(w.lint.overrides.is_empty(), "{}", w.story());
        w.assert_clean();
    }
}

#[test]
fn a_refused_change_rolls_the_trial_back() {
    let (mut w, _, a, _) = World::pinned_neighbours();
    w.refuse.insert((a, Knob::VcpuAffinity(1)));
    w.seconds(12);
    let d = w.decisions().next().unwrap();
    assert!(d.outcome.contains("vcpu1.affinity of burner-a was refused: made to fail"), "{}", w.story());
    w.refuse.clear();
    w.seconds(12);
    w.assert_clean();
}

#[test]
fn an_answer_is_waited_for_as_long_as_it_can_come() {
    let (mut w, ..) = World::pinned_neighbours();
    w.mute = true;
    w.seconds(12);
    assert!(w.engine.open_decision().is_some(), "{}", w.story());
    // The change under way has to be undone first, if it is made after all.
    w.command(Command::Pause);
    w.host.step_ns = 100_000_000;
    w.seconds(580);
    assert_eq!(w.decisions().next().unwrap().verdict, Verdict::Pending, "{}", w.story());
    w.mute = false;
    w.seconds(20);
    reverted_with(&w, "paused by command");
    assert!(w.at_originals());
}

#[test]
fn a_hung_guest_gets_its_knobs_back_when_it_answers() {
    let mut w = on_trial();
    let (&burner, _) = w.host.guests.iter().find(|(_, g)| g.name == "burner-b").unwrap();
    w.host.guests.get_mut(&burner).unwrap().unresponsive = true;
    w.seconds(7);
    let d = w.decisions().next().unwrap();
    assert!(d.outcome.contains("does not answer") && d.outcome.contains("as soon as"), "{}", w.story());
    w.host.guests.get_mut(&burner).unwrap().unresponsive = false;
    w.seconds(2);
    assert!(w.at_originals(), "{}", w.story());
    w.assert_clean();
}

#[test]
fn a_guest_that_is_silent_for_a_moment_does_not_end_its_trial() {
    let mut w = on_trial();
    let (&burner, _) = w.host.guests.iter().find(|(_, g)| g.name == "burner-b").unwrap();
    for _ in 0..2 {
        w.host.guests.get_mut(&burner).unwrap().unresponsive = true;
        w.seconds(4);
        let d = w.decisions().next().unwrap();
        assert_eq!(d.verdict, Verdict::Pending, "judged by what may be a hang: {}", w.story());
        w.host.guests.get_mut(&burner).unwrap().unresponsive = false;
        w.seconds(2);
    }
    w.seconds(30);
    let d = w.decisions().next().unwrap();
    assert!(d.verdict != Verdict::Pending && !d.outcome.contains("does not answer"), "{}", w.story());
    w.assert_clean();
}

#[test]
fn pins_on_a_vanished_cpu_go_back() {
    let (mut w, ..) = World::pinned_neighbours();
    w.seconds(30);
    assert!(!w.at_originals());
    w.host.topology = Arc::new(Topology::flat(1));
    w.seconds(5);
    for g in w.host.guests.values() {
        for value in g.knobs.values() {
            assert!(!matches!(value, KnobValue::Cpus(set) if set.contains(1)), "{}", w.story());
        }
    }
    w.host.topology = Arc::new(Topology::flat(2));
    w.seconds(3);
    assert!(w.at_originals(), "{}", w.story());
    w.assert_clean();
}

#[test]
fn a_rename_is_no_new_guest() {
    let (mut w, writer, ..) = World::neighbours(2048, Mode::Enforce, 1);
    w.seconds(30);
    let held = w.engine.originals().count();
    w.host.guests.get_mut(&writer).unwrap().name = "renamed".to_owned();
    w.seconds(5);
    assert_eq!(w.engine.originals().count(), held);
    assert!(w.notes.iter().any(|n| n == "writer is called renamed now"), "{}", w.story());
    w.assert_clean();
}

#[test]
fn a_gap_in_the_samples_closes_the_trial() {
    let mut w = on_trial();
    w.host.run_ms(30_000);
    w.seconds(1);
    reverted_with(&w, "gap");
    assert!(w.at_originals());
}

fn named(w: &World, name: &str) -> GuestId {
    *w.host.guests.iter().find(|(_, g)| g.name == name).unwrap().0
}

fn hang(w: &mut World, guest: GuestId, is: bool) {
    w.host.guests.get_mut(&guest).unwrap().unresponsive = is;
}

/// Whether a guest's knobs are as they were before Trimtab.
fn is_back(w: &World, guest: GuestId) -> bool {
    w.host.guests[&guest].knobs.iter().all(|(&knob, is)| w.lint.truth.get(&(guest, knob)) == Some(is))
}

#[test]
fn a_guest_that_hangs_with_a_turned_knob_holds_up_no_decision_about_others() {
    let mut w = on_trial();
    let burner = named(&w, "burner-b");
    hang(&mut w, burner, true);
    w.seconds(7);
    assert!(!is_back(&w, burner) && w.count(Verdict::Reverted) == 1, "{}", w.story());
    w.seconds(60);
    let later: Vec<_> = w.decisions().skip(1).flat_map(|d| &d.changes).collect();
    assert!(!later.is_empty() && later.iter().all(|c| c.guest != burner), "{}", w.story());
    hang(&mut w, burner, false);
    w.seconds(2);
    assert!(is_back(&w, burner), "{}", w.story());
    w.assert_clean();
}

#[test]
fn a_knob_that_goes_back_under_a_trial_of_others_ends_it() {
    let mut w = on_trial();
    let burner = named(&w, "burner-b");
    hang(&mut w, burner, true);
    for _ in 0..60 {
        w.tick();
        if w.decisions().count() == 2 {
            break;
        }
    }
    w.seconds(4);
    hang(&mut w, burner, false);
    w.seconds(2);
    let last = w.decisions().next_back().unwrap();
    assert!(last.outcome.contains("of burner-b went back while measuring"), "{}", w.story());
    w.assert_clean();
}

#[test]
fn a_knob_that_libvirt_does_not_let_go_back_holds_up_its_guest_alone() {
    let mut w = on_trial();
    let burner = named(&w, "burner-b");
    w.refuse.extend((0..2).map(|n| (burner, Knob::VcpuAffinity(n))));
    w.command(Command::SetMode(Mode::Observe));
    w.command(Command::SetMode(Mode::Enforce));
    w.seconds(60);
    assert!(!is_back(&w, burner), "{}", w.story());
    let later: Vec<_> = w.decisions().skip(1).flat_map(|d| &d.changes).collect();
    assert!(!later.is_empty() && later.iter().all(|c| c.guest != burner), "{}", w.story());
    assert!(w.engine.left_alone(burner).unwrap().contains("on their way back"));
    w.assert_clean();
}

#[test]
fn what_waits_to_go_back_is_not_forgotten_by_a_crash() {
    // The trial was closed, or still open, when the daemon died.
    for closed in [true, false] {
        let mut w = on_trial();
        let burner = named(&w, "burner-b");
        hang(&mut w, burner, true);
        w.seconds(if closed { 5 } else { 0 });
        w.crash();
        w.seconds(45);
        assert!(!is_back(&w, burner) && w.decisions().next().unwrap().outcome.contains("as soon as"));
        hang(&mut w, burner, false);
        w.seconds(3);
        assert!(is_back(&w, burner), "{}", w.story());
        w.assert_clean();
    }
}

#[test]
fn a_restore_that_waits_is_not_forgotten_by_a_crash_and_what_is_kept_stays() {
    let (mut w, writer, a, _) = World::pinned_neighbours();
    w.seconds(30);
    assert!(!is_back(&w, writer) && !is_back(&w, a), "{}", w.story());
    w.command(Command::Pause);
    hang(&mut w, writer, true);
    w.seconds(1);
    w.command(Command::Restore(Some(writer)));
    w.crash();
    w.seconds(3);
    hang(&mut w, writer, false);
    w.seconds(3);
    assert!(is_back(&w, writer) && !is_back(&w, a), "{}", w.story());
    w.assert_clean();
}

#[test]
fn a_way_back_that_was_made_after_its_time_out_is_nobodys_override() {
    let mut w = on_trial();
    let burner = named(&w, "burner-b");
    w.refuse.extend((0..2).map(|n| (burner, Knob::VcpuAffinity(n))));
    w.late = true;
    w.command(Command::SetMode(Mode::Observe));
    w.seconds(20);
    assert!(is_back(&w, burner) && w.lint.originals.is_empty(), "{}", w.story());
    w.assert_clean();
}

#[test]
fn pins_on_a_cpu_that_vanished_while_the_daemon_was_away_go_back() {
    let (mut w, ..) = World::pinned_neighbours();
    w.seconds(30);
    assert!(!w.at_originals());
    w.host.topology = Arc::new(Topology::flat(1));
    w.crash();
    w.seconds(5);
    let pinned = |w: &World| {
        w.host.guests.values().flat_map(|g| g.knobs.values()).any(|v| *v == KnobValue::Cpus(CpuSet::one(1)))
    };
    assert!(!pinned(&w), "{}", w.story());
    w.assert_clean();
}
