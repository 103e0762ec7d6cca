//! The admin's own change wins, whenever it comes, and is said.

use crate::stage::{Ask, Stage, endless_trial, quick};
use trimtab_tests::trimtab::{Decision, Trimtab};

/// A knob that the daemon holds at a value of its own: guest, and the virsh command that sets it to something else.
struct Held {
    guest: String,
    family: &'static str,
    /// Sets it.
    set: String,
    /// Asks for it.
    get: String,
}

/// The first knob that the daemon holds now.
fn held(trimtab: &Trimtab) -> Held {
    let (guest, original) = trimtab
        .shown()
        .into_iter()
        .find_map(|guest| Some((guest.name, guest.originals.into_iter().next()?)))
        .expect("no knob is turned");
    // Another value than ours and than the one before: only one CPU remains, or shares that nobody proposes.
    let cpu = if original.ours == "0" { "1" } else { "0" };
    let (set, get, family) = match original.knob.split_once('.') {
        Some(("cpu", "shares")) => {
            (format!("schedinfo {guest} --live cpu_shares=777"), format!("schedinfo {guest}"), "priority")
        }
        Some(("emulator", _)) => {
            (format!("emulatorpin {guest} {cpu} --live"), format!("emulatorpin {guest}"), "placement")
        }
        Some((thread, _)) if thread.starts_with("vcpu") => {
            let number = &thread[4..];
            (
                format!("vcpupin {guest} {number} {cpu} --live"),
                format!("vcpupin {guest} {number}"),
                "placement",
            )
        }
        Some((thread, _)) if thread.starts_with("iothread") => {
            let number = &thread[8..];
            (
                format!("iothreadpin {guest} {number} {cpu} --live"),
                format!("iothreadinfo {guest}"),
                "placement",
            )
        }
        other => panic!("{other:?}"),
    };
    Held { guest, family, set, get }
}

impl Held {
    /// The admin's hand; what libvirt says of the knob from then on.
    fn is_set(&self, stage: &Stage) -> String {
        stage.host.virsh(&[&self.set]).unwrap();
        stage.host.virsh(&[&self.get]).unwrap()
    }

    /// Fails unless the admin's value stays, is said, and the guest's family is left alone.
    fn wins(&self, stage: &Stage, trimtab: &Trimtab, value: &str, from: usize) {
        trimtab.says(from, &[&self.guest, "by somebody else", self.family, "left alone"]);
        trimtab.ticks(8);
        assert_eq!(stage.host.virsh(&[&self.get]).unwrap(), value);
        trimtab.leaves_to_admin(&self.guest, self.family);
        let notes = trimtab.ctl(&["notes", "--guest", &self.guest]).unwrap();
        assert!(notes.contains(self.family) && notes.contains("left alone until"), "{notes}");
    }
}

#[test]
fn live_the_admins_change_wins_over_a_kept_one() {
    let stage = stage!();
    stage.crowd();
    let pulse = stage.pulse();
    let mut trimtab = stage.daemon(quick("enforce"));
    trimtab.decision("a kept decision", |decision| decision.verdict == "kept");
    trimtab.quiet();
    let (knob, from) = (held(&trimtab), trimtab.log().len());
    let value = knob.is_set(&stage);
    knob.wins(&stage, &trimtab, &value, from);
    // Also in the eyes of the next daemon.
    trimtab.process_mut().kill().unwrap();
    let trimtab = stage.daemon(quick("enforce"));
    trimtab.until("three guests", |status| status.guests == 3);
    trimtab.leaves_to_admin(&knob.guest, knob.family);
    // Trimtab goes on elsewhere, restores what is its own, and does not touch what is the admin's.
    trimtab.ticks(8);
    trimtab.restore().unwrap();
    assert_eq!(stage.host.virsh(&[&knob.get]).unwrap(), value);
    pulse.beats();
    trimtab.stop().unwrap();
}

#[test]
fn live_the_admins_change_ends_a_trial() {
    let stage = stage!();
    let pulse = stage.pulse();
    let trimtab = stage.daemon(endless_trial());
    let open = trimtab.open_trial();
    let (knob, from) = (held(&trimtab), trimtab.log().len());
    let value = knob.is_set(&stage);
    knob.wins(&stage, &trimtab, &value, from);
    let closed: Decision = trimtab.decision("its end", |decision| decision.id == open.id);
    assert_eq!(closed.verdict, "reverted", "{closed:?}");
    assert!(closed.outcome.contains("by somebody else"), "{closed:?}");
    pulse.beats();
    trimtab.stop().unwrap();
    assert_eq!(stage.host.virsh(&[&knob.get]).unwrap(), value);
}
