//! Guests that hang, die, come, go and are renamed: the others and the daemon's rhythm do not notice.

use crate::stage::{Ask, Pulse, SOON, Shown, endless_trial, quick};
use trimtab_tests::testbed::{proc, wait_for};
use trimtab_tests::{Disk, GuestSpec, Place};

#[test]
fn live_a_hung_qemu_holds_up_nobody() {
    let stage = stage!();
    let pulse = stage.pulse();
    let others = Pulse::of([stage.writer.clone(), stage.burners[1].clone()]);
    let hung = &stage.burners[0];
    let mut start = quick("observe");
    start.log = "info,trimtabd::tick=trace".to_owned();
    let trimtab = stage.daemon(start);
    trimtab.until("three guests", |status| status.guests == 3);
    trimtab.ticks(6);
    hung.stop().unwrap();
    // The status is not the measure, for it is asked for from outside: the log has every tick and every look of the engine.
    let from = trimtab.log().len();
    wait_for("word that it hangs", SOON, || {
        let left_alone = trimtab.shown_one("burner1").left_alone.unwrap_or_default();
        if left_alone.contains("does not answer") { Ok(()) } else { Err(left_alone) }
    })
    .unwrap();
    trimtab.ticks(20);
    assert!(trimtab.rhythm(from).unwrap() >= 20);
    // The others have figures of this moment, the hung one shows that it does nothing.
    let well =
        |guest: &Shown| guest.left_alone.is_none() && guest.cpu_cores.is_some_and(|cores| cores > 0.05);
    trimtab.until_shown("figures of the others", |shown| {
        shown.iter().filter(|guest| guest.name != "burner1").all(well)
    });
    let writes = trimtab.until("the writer's figures", |_| {
        trimtab.shown_one("writer").write_bytes_per_s.is_some_and(|bytes| bytes > 0.0)
    });
    assert_eq!(writes.libvirt, "connected");
    assert!(trimtab.shown_one("burner1").cpu_cores.is_none_or(|cores| cores < 0.05));
    others.beats();

    hung.cont().unwrap();
    wait_for("word that it answers", SOON, || match trimtab.shown_one("burner1").left_alone {
        None => Ok(()),
        Some(why) => Err(why),
    })
    .unwrap();
    pulse.beats();
    trimtab.stop().unwrap();
}

#[test]
fn live_a_guest_dies_in_a_trial() {
    let stage = stage!();
    let mut untouched = stage.knobs();
    let trimtab = stage.daemon(endless_trial());
    let open = trimtab.open_trial();
    // One that the trial turns, if it turns any of the burners; all three count in it.
    let victim = &stage.burners[usize::from(open.to.contains("burner2:") || open.guest == "burner2")];
    let survivors: Vec<_> =
        stage.guests().into_iter().filter(|guest| guest.name() != victim.name()).collect();
    let pulse = Pulse::of(survivors.iter().copied().cloned());
    victim.kill().unwrap();
    let closed = trimtab.decision("the end of the trial", |d| d.id == open.id && d.verdict != "pending");
    assert_eq!(closed.verdict, "reverted", "{closed:?}");
    trimtab.until("two guests", |status| status.guests == 2);
    assert!(trimtab.shown().iter().all(|guest| guest.name != victim.name()));
    // Another trial, without it, may have begun.
    trimtab.quiet();
    trimtab.given_back().unwrap();
    untouched.retain(|what, _| !what.starts_with(victim.name()));
    assert_eq!(stage.knobs_of(&survivors), untouched);
    pulse.beats();
    trimtab.stop().unwrap();
}

#[test]
fn live_guests_come_go_and_are_renamed() {
    let stage = stage!();
    let pulse = stage.pulse();
    let trimtab = stage.daemon(quick("enforce"));
    trimtab.until("three guests", |status| status.guests == 3);
    let spec = GuestSpec {
        disk: Some(Disk { mib: 1, place: Place::Memory }),
        mem_mib: 64,
        max_mem_mib: 64,
        net: false,
        ..GuestSpec::new("guest-4")
    };
    let new = stage.host.guest(&spec).unwrap();
    trimtab.until("a fourth guest", |status| status.guests == 4);
    // libvirt tells of it before its CPUs run.
    wait_for("it runs", SOON, || {
        let shown = trimtab.shown_one("guest-4");
        let runs = shown.uuid == new.uuid() && shown.state == "running";
        if runs { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .unwrap();

    stage.host.virsh(&["destroy guest-4"]).unwrap();
    trimtab.until("three guests again", |status| status.guests == 3);
    let odd = "odd näme, 1";
    stage.host.virsh(&[&format!("domrename guest-4 '{odd}'"), &format!("start '{odd}'")]).unwrap();
    trimtab.until("the renamed one", |status| status.guests == 4);
    wait_for("its pid", SOON, || {
        let shown = trimtab.shown_one(odd);
        if shown.pid.is_some() { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .unwrap();
    assert_eq!(trimtab.shown_one(odd).uuid, new.uuid());
    assert!(trimtab.refused(&["guest", "guest-4"]).contains("no guest 'guest-4'"));

    stage.host.virsh(&[&format!("destroy '{odd}'"), &format!("undefine '{odd}'")]).unwrap();
    trimtab.until("three guests at last", |status| status.guests == 3);
    assert!(
        stage
            .host
            .all_processes()
            .into_iter()
            .filter_map(proc::command_line)
            .all(|c| !c.contains(new.uuid()))
    );
    pulse.beats();
    trimtab.restore().unwrap();
    trimtab.stop().unwrap();
}
