//! The daemon is killed or stalls, libvirt and the buses restart: trials are closed, and everything is found again.

use crate::stage::{Ask, NONE, Pulse, Shown, Stage, endless_trial, quick};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use trimtab_tests::Daemon;
use trimtab_tests::testbed::wait_for;
use trimtab_tests::trimtab::{Start, Status, Trimtab};

#[test]
fn live_a_killed_daemon_finds_its_trial_and_closes_it() {
    let stage = stage!();
    let (pulse, untouched) = (stage.pulse(), stage.knobs());
    let mut trimtab = stage.daemon(endless_trial());
    let open = trimtab.open_trial();
    let turned = stage.knobs();
    assert_ne!(turned, untouched);
    let held = |trimtab: &Trimtab| {
        let shown = trimtab.shown().into_iter().filter(|guest| !guest.originals.is_empty());
        shown.map(|guest| guest.name).collect::<Vec<_>>()
    };
    let names = held(&trimtab);
    trimtab.process_mut().kill().unwrap();
    assert_eq!(stage.unlike(&turned), NONE);
    pulse.beats();

    // The next one finds a guest of the trial hung: the others' knobs go back at once, also in a mode that decides nothing (a
    // change of ours on trial must not stay by accident), and it is killed before the hung one's can.
    let (hung, others): (Vec<_>, Vec<_>) =
        stage.guests().into_iter().partition(|guest| Some(guest.name()) == names.last().map(String::as_str));
    let healthy = Pulse::of(others.iter().copied().cloned());
    let hung = hung[0];
    hung.stop().unwrap();
    let mut trimtab = stage.daemon(quick("observe"));
    trimtab.until("the others' knobs back", |status| status.guests == 3 && held(&trimtab) == [hung.name()]);
    let of_others = |knobs: &BTreeMap<String, String>| {
        let mut knobs = knobs.clone();
        knobs.retain(|what, _| !what.starts_with(hung.name()));
        knobs
    };
    assert_eq!(stage.knobs_of(&others), of_others(&untouched));
    trimtab.process_mut().kill().unwrap();

    // What is on its way back is on record, beside a trial that is still open.
    let trimtab = stage.daemon(quick("observe"));
    trimtab.until("the hung guest's knobs", |status| status.guests == 3 && held(&trimtab) == [hung.name()]);
    healthy.beats();
    hung.cont().unwrap();
    let closed = trimtab.decision("its end", |d| d.id == open.id && d.verdict != "pending");
    assert_eq!(closed.verdict, "reverted", "{closed:?}");
    assert!(closed.outcome.contains("stopped while measuring"), "{closed:?}");
    trimtab.until("every knob back", |_| held(&trimtab).is_empty());
    assert_eq!(stage.unlike(&untouched), NONE);
    pulse.beats();
    trimtab.stop().unwrap();
}

#[test]
fn live_a_stop_closes_the_trial() {
    let stage = stage!();
    let (pulse, untouched) = (stage.pulse(), stage.knobs());
    let trimtab = stage.daemon(endless_trial());
    let open = trimtab.open_trial();
    trimtab.stop().unwrap();
    assert_eq!(stage.unlike(&untouched), NONE);
    let trimtab = stage.daemon(quick("observe"));
    let closed = trimtab.decision("the decision", |decision| decision.id == open.id);
    assert_eq!(
        (closed.verdict.as_str(), closed.outcome.as_str()),
        ("reverted", "reverted: trimtabd is stopping")
    );
    pulse.beats();
    trimtab.stop().unwrap();
}

#[test]
fn live_a_stalled_daemon_is_said_so_and_trusts_no_gap() {
    let stage = stage!();
    let (pulse, untouched) = (stage.pulse(), stage.knobs());
    let trimtab = stage.daemon(endless_trial());
    let open = trimtab.open_trial();
    let turned = stage.knobs();
    trimtab.process().signal(Signal::STOP).unwrap();
    // trimtabctl gives up by itself, after 10 s: longer than the longest gap that a trial bears.
    let error = trimtab.refused(&["status"]);
    assert!(error.contains("did not answer within 10 s") && error.contains("exit status: 3"), "{error}");
    assert!(error.contains("systemctl status trimtabd"), "{error}");
    assert_eq!(stage.unlike(&turned), NONE);
    pulse.beats();
    trimtab.process().signal(Signal::CONT).unwrap();
    let closed = trimtab.decision("its end", |d| d.id == open.id && d.verdict != "pending");
    assert_eq!(closed.verdict, "reverted");
    assert!(closed.outcome.contains("gap"), "{closed:?}");
    trimtab.quiet();
    // To a daemon that wakes up, guests look silent until they have answered once: their knobs wait for that.
    trimtab.given_back().unwrap();
    assert_eq!(stage.unlike(&untouched), NONE);
    trimtab.stop().unwrap();
}

/// What befalls a daemon.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// It ends in good order and comes back later.
    Stopped(Daemon),
    /// It ends in the middle of whatever it does.
    Killed(Daemon),
    /// The bus goes and comes at once: nobody can be asked meanwhile.
    BusRestarted,
}

/// Takes a daemon away for a while and gives it back, under a trial: what the trial turned stays or goes back, but nobody
/// is lost, nothing else is turned, and everything is found again without help.
fn outage(stage: &Stage, trimtab: &Trimtab, fault: Fault) {
    let pulse = stage.pulse();
    let before = trimtab.until("connected", |status| status.libvirt == "connected" && status.guests == 3);
    let from = trimtab.log().len();
    match fault {
        Fault::BusRestarted => stage.host.restart(Daemon::Bus).unwrap(),
        Fault::Stopped(daemon) | Fault::Killed(daemon) => {
            match fault {
                Fault::Killed(_) => stage.host.signal(daemon, Signal::KILL).unwrap(),
                _ => stage.host.stop(daemon).unwrap(),
            }
            let away = trimtab.until("word of it", |status| status.libvirt != "connected");
            trimtab.ticks(4);
            pulse.beats();
            println!("{fault:?}: {}", away.libvirt);
            stage.host.start_daemon(daemon).unwrap();
        }
    }
    trimtab.says(from, &["libvirt is away"]);
    trimtab.says(from, &["libvirt is connected"]);
    let after = trimtab.until("all found again", |status| {
        status.libvirt == "connected" && status.guests == 3 && status.ticks > before.ticks
    });
    assert_eq!(after.store, "ok");
    whole(trimtab);
    pulse.beats();
}

/// It sees what happens from now on: knobs and figures of all guests.
fn whole(trimtab: &Trimtab) {
    trimtab.until_shown("knobs and figures of all", |shown| {
        let whole = |guest: &Shown| !guest.knobs.is_empty() && guest.cpu_cores.is_some();
        shown.len() == 3 && shown.iter().all(whole)
    });
}

/// libvirtd hangs: it is there, takes every call and answers none. That is said and holds up neither the daemon nor a guest,
/// and is over when it goes on.
fn hang(stage: &Stage, trimtab: &Trimtab) {
    let pulse = stage.pulse();
    trimtab.until("connected", |status| status.libvirt == "connected" && status.guests == 3);
    stage.host.signal(Daemon::Libvirtd, Signal::STOP).unwrap();
    let begin = Instant::now();
    let said = within(HANG, trimtab, |status| status.libvirt != "connected");
    println!("said after {:.1} s: {}", begin.elapsed().as_secs_f64(), said.libvirt);
    pulse.beats();
    std::thread::sleep(Duration::from_secs(8).saturating_sub(begin.elapsed()));
    stage.host.signal(Daemon::Libvirtd, Signal::CONT).unwrap();
    let begin = Instant::now();
    within(HANG, trimtab, |status| status.libvirt == "connected" && status.guests == 3);
    println!("connected {:.1} s after it went on", begin.elapsed().as_secs_f64());
    whole(trimtab);
    pulse.beats();
}

/// How long a hung libvirtd may go unnoticed, and one that goes on: ten seconds, and what a loaded machine adds to them.
const HANG: Duration = Duration::from_secs(15);

fn within(limit: Duration, trimtab: &Trimtab, fits: impl Fn(&Status) -> bool) -> Status {
    wait_for("libvirt's state", limit, || match trimtab.status() {
        Ok(status) if fits(&status) => Ok(status),
        other => Err(format!("{other:?}")),
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", trimtab.log()))
}

#[test]
fn live_libvirt_and_the_bus_may_restart() {
    let stage = stage!();
    let untouched = stage.knobs();
    let trimtab = stage.daemon(endless_trial());
    for fault in [Fault::Stopped(Daemon::LibvirtDbus), Fault::Killed(Daemon::Libvirtd), Fault::BusRestarted] {
        let open = trimtab.open_trial();
        outage(&stage, &trimtab, fault);
        // Knobs can be turned again: the trial is ended by hand, unless the outage has ended it.
        let now = trimtab.decision("the decision", |decision| decision.id == open.id);
        if now.verdict == "pending"
            && let Err(error) = trimtab.ctl(&["revert", &open.id.to_string()])
        {
            // It has done so in this moment.
            assert!(error.to_string().contains("not in force"), "{error}");
        }
        trimtab.quiet();
        // What libvirtd, busy with finding its guests, refused is tried again.
        trimtab.given_back().unwrap();
        assert_eq!(stage.unlike(&untouched), NONE, "after {fault:?}");
        trimtab.ctl(&["resume"]).unwrap();
    }
    trimtab.quiet();
    hang(&stage, &trimtab);
    trimtab.stop().unwrap();
    assert_eq!(stage.unlike(&untouched), NONE);
}

#[test]
fn live_a_daemon_before_its_bus_and_libvirt_finds_them() {
    let stage = stage!();
    let pulse = stage.pulse();
    stage.host.stop(Daemon::Libvirtd).unwrap();
    let trimtab = stage.daemon(quick("enforce"));
    let status = trimtab.ticks(3);
    assert!(status.libvirt != "connected" && status.guests == 0, "{status:?}");
    stage.host.start_daemon(Daemon::Libvirtd).unwrap();
    trimtab.until("the guests", |status| status.libvirt == "connected" && status.guests == 3);
    outage(&stage, &trimtab, Fault::Stopped(Daemon::Libvirtd));
    trimtab.stop().unwrap();

    // Without a bus nobody can ask it, but it lives, and is there once the bus is.
    stage.host.stop(Daemon::Bus).unwrap();
    let start = stage.with_state(Start::mode("observe"));
    let mut trimtab = Trimtab::spawn(stage.host, &start).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert!(trimtab.process().running(), "{}", trimtab.log());
    stage.host.restart(Daemon::Bus).unwrap();
    trimtab.wait_up().unwrap();
    trimtab.until("the guests", |status| status.libvirt == "connected" && status.guests == 3);
    pulse.beats();
    trimtab.process_mut().stop().unwrap();
}
