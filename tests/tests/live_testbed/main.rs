//! The testbed itself: hosts run, guests obey, faults are real, and nothing is left behind, however the owner ends.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod ends;
mod traces;

use rustix::process::Signal;
use std::path::Path;
use std::time::Duration;
use trimtab_tests::testbed::{proc, wait_for};
use trimtab_tests::trimtab::program;
use trimtab_tests::{Accel, Daemon, GuestSpec, Init, Options, live};

#[test]
fn live_guests_obey_and_daemons_restart() {
    let Some(tb) = live!(Options::plain(1)) else { return };
    let host = tb.host(0);
    let specs = [
        GuestSpec::new("busy").load("cpu:1").weight(2048),
        GuestSpec { shares: (tb.accel() == Accel::Tcg).then_some(512), ..GuestSpec::new("quiet") },
    ];
    let guests = host.guests(&specs).unwrap();
    let (busy, quiet) = (&guests[0], &guests[1]);
    let pids = [busy.qemu_pid().unwrap(), quiet.qemu_pid().unwrap()];
    assert_ne!(pids[0], pids[1]);
    let metadata = host.virsh(&["metadata busy --uri urn:trimtab:guest:1"]).unwrap();
    assert!(metadata.contains("2048"), "{metadata}");

    // The load is what was asked for, and changes while the guest runs.
    let rates = |guest: &trimtab_tests::Guest, seconds: u64| {
        let from = guest.stats().unwrap();
        std::thread::sleep(Duration::from_secs(seconds));
        from.rates(&guest.stats().unwrap())
    };
    let (one, idle) = (rates(busy, 2), rates(quiet, 2));
    // Ratios only: the machine may be busy with other tests.
    assert!(one.cpu_cores > 4.0 * idle.cpu_cores, "{one:?} {idle:?}");
    busy.load("io").unwrap();
    quiet.load("cpu:2").unwrap();
    let (writes, burns) = (rates(busy, 3), rates(quiet, 2));
    assert!(writes.write_mb_per_s > 20.0 * one.write_mb_per_s, "{writes:?} {one:?}");
    assert!(burns.cpu_cores > 4.0 * idle.cpu_cores, "{burns:?} {idle:?}");
    // What /proc says was written is what libvirt says.
    let by_libvirt = || -> f64 {
        let text = host.virsh(&["domstats busy --block"]).unwrap();
        text.lines().find_map(|l| l.trim().strip_prefix("block.0.wr.bytes=")).unwrap().parse().unwrap()
    };
    // libvirt is asked between two looks at /proc: on a crowded machine each takes its time, and the guest goes on writing.
    let by_proc = || busy.stats().unwrap().written as f64;
    let look = || (by_proc(), by_libvirt(), by_proc());
    let first = look();
    std::thread::sleep(Duration::from_secs(4));
    let last = look();
    let (least, libvirt, most) = (last.0 - first.2, last.1 - first.1, last.2 - first.0);
    let as_told = 0.8 * least..1.25 * most;
    assert!(as_told.contains(&libvirt), "written by libvirt {libvirt}, by /proc {least} to {most}");
    busy.load("idle").unwrap();
    quiet.load("idle").unwrap();

    // A stopped qemu stands still and goes on.
    quiet.stop().unwrap();
    assert_eq!(proc::state(pids[1]), Some('T'));
    let still = quiet.ticks();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(quiet.ticks(), still);
    quiet.cont().unwrap();
    quiet.wait_ticks(2).unwrap();

    // Daemons come back, guests never notice.
    let before = busy.ticks().unwrap();
    for daemon in [Daemon::Libvirtd, Daemon::LibvirtDbus, Daemon::Bus] {
        host.restart(daemon).unwrap();
        assert_eq!([busy.qemu_pid().unwrap(), quiet.qemu_pid().unwrap()], pids, "after {daemon:?}");
    }
    host.stop(Daemon::LibvirtDbus).unwrap();
    let call = ["org.libvirt", "/org/libvirt/QEMU", "org.libvirt.Connect", "ListDomains", "u", "0"];
    assert!(!host.busctl("call").args(call).output().unwrap().status.success());
    host.start_daemon(Daemon::LibvirtDbus).unwrap();
    let list = host.busctl("call").args(call).output().unwrap();
    assert!(String::from_utf8_lossy(&list.stdout).contains(busy.object_path().as_str()), "{list:?}");

    // A killed one is gone at once, a stopped one is there and answers nobody.
    host.signal(Daemon::Libvirtd, Signal::KILL).unwrap();
    assert!(host.processes("libvirtd").is_empty() && host.virsh(&["list"]).is_err());
    host.start_daemon(Daemon::Libvirtd).unwrap();
    host.signal(Daemon::LibvirtDbus, Signal::STOP).unwrap();
    let within = |seconds: &str| {
        let mut command = host.command("timeout");
        command.args([seconds, "busctl", "--system", "call"]).args(call);
        command.output().unwrap().status.success()
    };
    assert!(!within("1"));
    host.signal(Daemon::LibvirtDbus, Signal::CONT).unwrap();
    assert!(within("30"));
    assert_eq!([busy.qemu_pid().unwrap(), quiet.qemu_pid().unwrap()], pids);
    busy.wait_ticks(2).unwrap();
    assert!(busy.ticks().unwrap() > before);

    // Killed is killed.
    quiet.kill().unwrap();
    wait_for("libvirt sees the death", Duration::from_secs(10), || {
        let state = host.virsh(&["domstate quiet"]).map_err(|e| e.to_string())?;
        if state.trim() == "shut off" { Ok(()) } else { Err(state) }
    })
    .unwrap();
    assert!(quiet.qemu_pid().is_err());
    tb.down().unwrap();
}

#[test]
fn live_processes_run_inside_the_host() {
    let Some(tb) = live!(Options::plain(2)) else { return };
    let (a, b) = (tb.host(0), tb.host(1));
    // Two hosts that see each other until the wire is cut.
    let ping = |to: &trimtab_tests::Host| {
        let script = format!("exec 3<>/dev/tcp/{}/16509", to.address());
        a.command("timeout").args(["1", "bash", "-c", &script]).output().unwrap().status.success()
    };
    let reached = || if ping(b) { Ok(()) } else { Err("no answer".to_owned()) };
    wait_for("the wire", Duration::from_secs(20), reached).unwrap();
    b.cut().unwrap();
    assert!(!ping(b));
    b.mend().unwrap();
    wait_for("the mended wire", Duration::from_secs(20), reached).unwrap();
    // exec and spawn are inside namespaces and cgroups.
    assert_eq!(a.exec(&["hostname"]).unwrap().trim(), "hosta");
    let groups = a.exec(&["cat", "/proc/self/cgroup"]).unwrap();
    assert!(groups.lines().all(|l| l.ends_with(":/") || l.ends_with(":/init.scope")), "{groups}");
    let mut sleeper = a.command("sleep");
    sleeper.arg("1000");
    let log = a.dir().join("log/sleeper.out");
    let mut sleeper = a.spawn(sleeper, &log).unwrap();
    assert_eq!(proc::command_line(sleeper.pid()).unwrap(), "sleep 1000");
    assert_eq!(proc::namespace(sleeper.pid(), "net"), proc::namespace(a.init_pid(), "net"));
    let pid = sleeper.pid();
    assert_eq!(sleeper.stop().unwrap().code(), None, "ended by the signal");
    assert!(!proc::alive(pid));
    let error = a.exec(&["sh", "-c", "echo why >&2; exit 3"]).unwrap_err().to_string();
    assert!(error.contains("why") && error.contains('3'), "{error}");
    tb.down().unwrap();
}

#[test]
fn live_systemd_host_runs_guests() {
    let unit =
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'echo ran > /run/tb-unit-ran'\n";
    let options = Options::systemd(1).each(|h| h.units.push(("probe.service".into(), unit.into())));
    let Some(tb) = live!(options) else { return };
    let host = tb.host(0);
    assert_eq!(host.spec().init, Init::Systemd);
    assert_eq!(proc::comm(host.init_pid()).unwrap(), "systemd");
    host.exec(&["systemctl", "start", "probe.service"]).unwrap();
    assert_eq!(host.exec(&["cat", "/run/tb-unit-ran"]).unwrap().trim(), "ran");
    let guest = host.guest(&GuestSpec::new("one")).unwrap();
    guest.booted().unwrap();
    let pid = guest.qemu_pid().unwrap();
    host.restart(Daemon::Libvirtd).unwrap();
    assert_eq!(guest.qemu_pid().unwrap(), pid);
    guest.wait_ticks(1).unwrap();
    host.virsh(&["vcpupin one 0 0 --live"]).unwrap();
    // The programs of this build are there, wherever it is.
    host.exec(&["test", "-x", &program("trimtabd").unwrap().display().to_string()]).unwrap();
    // The overlay swallows what is written to the root.
    host.exec(&["sh", "-c", "echo x > /etc/trimtab-testbed-was-here"]).unwrap();
    assert!(!Path::new("/etc/trimtab-testbed-was-here").exists());
    tb.down().unwrap();
}
