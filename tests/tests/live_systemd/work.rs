//! The packaged daemon at work, as its own user and inside its sandbox: its libvirt-dbus, its figures, a decision.

use crate::{Machine, SOON};
use serde_json::Value;
use std::time::Duration;
use trimtab_tests::testbed::wait_for;
use trimtab_tests::{Daemon, Guest};
use trimtabd::sensors::{Sensors, SensorsConfig};

/// The unit that brings libvirt-dbus.
pub(crate) const LIBVIRT_DBUS: &str = "trimtab-libvirt-dbus.service";
/// What both the unit and the drop-in ask for.
const THREADS: &str = "--threads=16";

/// Decides at once and believes any gain that is more likely than not.
const QUICK: &str = "[sensors]\ninterval_ms = 500\n[policy]\nmode = \"enforce\"\n\
    [policy.identify]\nwindow_ms = 2000\n\
    [policy.arbiter]\nhold_ms = 0\ncool_down_ms = 1000\nmin_gain_pct = 0.5\nfloor_pct = 0.0\n\
    backoff_first_ms = 1000\nbackoff_max_ms = 2000\nafter_command_ms = 0\n\
    [policy.trial]\nbefore_ms = 2000\nbefore_max_ms = 4000\nsettle_ms = 500\nconfidence_pct = 60.0\n\
    after_ms = 2000\nafter_max_ms = 4000\n";

/// Where the bus has started no libvirt-dbus yet, the daemon's start brings one with enough threads.
pub(crate) fn brings_its_own_libvirt_dbus(machine: &Machine<'_>) {
    // The one of the bus was there first, when the package was installed.
    assert!(!machine.run(&["systemctl", "is-active", LIBVIRT_DBUS]).status.success());
    machine.ok(&["systemctl", "stop", "trimtabd"]);
    machine.host.stop(Daemon::LibvirtDbus).unwrap();
    // For what comes next. Both on one CPU, with which there is no placement to choose: more shares for the heavier bring what the shares say.
    let crowd = [&machine.guest, &machine.other].map(|guest| {
        let name = guest.name();
        let vcpus = format!("vcpupin {name} 0 0 --live; vcpupin {name} 1 0 --live");
        format!("{vcpus}; emulatorpin {name} 0 --live; iothreadpin {name} 1 0 --live")
    });
    machine.host.virsh(&crowd.each_ref().map(String::as_str)).unwrap();
    machine.configure(QUICK);
    machine.ok(&["systemctl", "start", "trimtabd"]);

    let pid = machine.ok(&["systemctl", "show", "--value", "-p", "MainPID", LIBVIRT_DBUS]);
    let pid = pid.trim();
    let line = machine.ok(&["sh", "-c", &format!("tr '\\0' ' ' < /proc/{pid}/cmdline")]);
    assert!(line.split(' ').any(|word| word == THREADS), "{line}");
    let bus = ["org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"];
    let owner = ["GetConnectionUnixProcessID", "s", "org.libvirt"];
    let owner = machine.ok(&[&["busctl", "--system", "call"][..], &bus, &owner].concat());
    assert_eq!(owner.trim(), format!("u {pid}"));
    wait_for("libvirt", SOON, || match machine.status() {
        status if status["libvirt"] == "connected" && status["guests"] == 2 => Ok(()),
        status => Err(status.to_string()),
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", machine.log()));

    // Where libvirt-dbus has a unit of its own, that one is told to.
    let unit = "/run/systemd/system/libvirt-dbus.service";
    let script = format!(
        "printf '[Service]\\nExecStart=/usr/sbin/libvirt-dbus --system\\n' > {unit} && systemctl daemon-reload"
    );
    machine.ok(&["sh", "-c", &script]);
    let line = machine.ok(&["systemctl", "show", "--value", "-p", "ExecStart", "libvirt-dbus.service"]);
    assert!(line.contains(THREADS) && line.matches("path=").count() == 1, "{line}");
    machine.ok(&["rm", unit]);
    machine.ok(&["systemctl", "daemon-reload"]);
}

/// It sees what the kernel tells, decides, turns, measures, keeps, and puts back what it turned.
pub(crate) fn sees_and_tunes(machine: &Machine<'_>) {
    let untouched = machine.knobs();
    machine.other.load("cpu:2").unwrap();
    machine.guest.load("io").unwrap();
    let decisions =
        || -> Value { serde_json::from_str(&machine.ok(&["trimtabctl", "--json", "decisions"])).unwrap() };
    let kept = wait_for("a kept decision", Duration::from_secs(150), || {
        let all = decisions();
        let kept = all.as_array().unwrap().iter().find(|decision| decision["verdict"] == "kept");
        kept.cloned().ok_or_else(|| format!("{all:#}"))
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", machine.log()));
    sees(machine);
    machine.ok(&["trimtabctl", "pause"]);
    assert_eq!(kept["knob"], "priority", "{kept:#}");
    assert_ne!(machine.knobs(), untouched, "{kept:#}");
    machine.ok(&["trimtabctl", "restore", "--all"]);
    assert_eq!(machine.knobs(), untouched, "{}", machine.log());
    machine.guest.load("idle").unwrap();
    machine.other.load("idle").unwrap();
    // The next start, soon, is with it.
    machine.configure("[policy]\nmode = \"observe\"\n");
}

/// Figures of both guests that only their files in /proc have, and no sensor less than root has outside the sandbox.
fn sees(machine: &Machine<'_>) {
    let sensors = machine.status()["sensors"].clone();
    let unconfined = Sensors::new(SensorsConfig::default()).unwrap().status();
    for name in ["schedstat", "blkio-delay", "psi", "perf", "priority"] {
        assert_eq!(sensors[name], unconfined[name], "{name}");
    }
    // A single look may fall into a moment in which libvirt is late.
    wait_for("figures", SOON, || {
        let shown = machine.ok(&["trimtabctl", "--json", "guests"]);
        let all: Vec<Value> = serde_json::from_str(&shown).unwrap();
        let whole = |guest: &Guest| {
            let pid = machine.ok(&["cat", &format!("/run/libvirt/qemu/{}.pid", guest.name())]);
            let seen = all.iter().find(|seen| seen["name"] == guest.name())?;
            let more = |name: &str, than: f64| seen[name].as_f64().is_some_and(|figure| figure > than);
            let works = guest.name() != machine.guest.name() || more("write_bytes_per_s", 0.0);
            let fits = seen["pid"].as_i64() == pid.trim().parse().ok();
            (fits && works && more("cpu_cores", 0.01) && more("run_delay", 0.0)).then_some(())
        };
        let both = whole(&machine.guest).and(whole(&machine.other));
        both.ok_or(shown)
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", machine.log()));
}
