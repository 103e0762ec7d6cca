//! The Debian package under a real systemd: installed, started, at work, attacked, upgraded, removed, purged; guests run on.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod work;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use trimtab_tests::testbed::wait_for;
use trimtab_tests::{Guest, GuestSpec, Host, Options, live};

const SOON: Duration = Duration::from_secs(60);
/// Where an admin's own lines go.
const SITE: &str = "/etc/trimtab/config.d/50-site.toml";

fn said(output: &Output) -> String {
    [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat()
}

/// The package, built from the binaries that the tests run with.
fn package(out: &Path) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut xtask = Command::new(cargo);
    xtask.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let output = xtask.args(["xtask", "dist", "--dev", "--out"]).arg(out).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// The same package under another version.
fn as_version(deb: &Path, version: &str) -> PathBuf {
    let (tree, new) = (deb.with_extension("tree"), deb.with_extension(format!("{version}.deb")));
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", said(&output));
    };
    run(Command::new("dpkg-deb").arg("-R").arg(deb).arg(&tree));
    run(Command::new("sed")
        .arg("-i")
        .arg(format!("s/^Version: .*/Version: {version}/"))
        .arg(tree.join("DEBIAN/control")));
    run(Command::new("dpkg-deb").args(["--root-owner-group", "-Znone", "--build"]).arg(&tree).arg(&new));
    new
}

/// One machine with the package on it.
struct Machine<'a> {
    host: &'a Host,
    /// A guest with much weight.
    guest: Guest,
    /// One beside it.
    other: Guest,
}

impl Machine<'_> {
    fn run(&self, command: &[&str]) -> Output {
        self.host.command(command[0]).args(&command[1..]).output().unwrap()
    }
    fn ok(&self, command: &[&str]) -> String {
        self.host.exec(command).unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }
    /// Without what costs a test most of its time: flushes of the disk, and the triggers of other packages (mandb).
    fn dpkg(&self, arguments: &[&str]) {
        self.ok(&[&["dpkg", "--force-unsafe-io", "--no-triggers"], arguments].concat());
    }
    fn log(&self) -> String {
        said(&self.run(&["journalctl", "--no-pager", "-o", "cat", "-u", "trimtabd"]))
    }
    fn property(&self, name: &str) -> String {
        self.ok(&["systemctl", "show", "--value", "-p", name, "trimtabd"]).trim().to_owned()
    }
    fn wait_active(&self, what: &str) {
        let state = || {
            let state = self.property("ActiveState");
            if state == "active" { Ok(()) } else { Err(state) }
        };
        wait_for(what, SOON, state).unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
    }
    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.ok(&["trimtabctl", "--json", "status"])).unwrap()
    }
    /// As another user of the host, with that user's groups.
    fn as_user(&self, user: &str, command: &[&str]) -> Output {
        let ids = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"];
        self.run(&[&ids, command].concat())
    }
    /// Every knob of both guests, as libvirt has it.
    fn knobs(&self) -> String {
        let of = |guest: &Guest| {
            let questions = ["schedinfo", "vcpupin", "emulatorpin", "iothreadinfo"];
            questions.map(|question| format!("{question} {}", guest.name()))
        };
        let all = [of(&self.guest), of(&self.other)].concat();
        self.host.virsh(&all.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
    }
    /// The admin's own configuration, read at the next start or reload.
    fn configure(&self, text: &str) {
        std::fs::write(self.host.dir().join("run/site.toml"), text).unwrap();
        self.ok(&["cp", "/run/site.toml", SITE]);
    }
}

#[test]
fn live_the_package_lives_and_dies_under_systemd() {
    // libvirt-dbus as the bus starts it on a machine that nobody has prepared.
    let Some(testbed) = live!(Options::systemd(1).each(|spec| spec.libvirt_dbus_threads = 4)) else { return };
    let host = testbed.host(0);
    let guests = host.guests(&[GuestSpec::new("web").weight(4096), GuestSpec::new("batch")]).unwrap();
    let [guest, other] = <[Guest; 2]>::try_from(guests).unwrap();
    let machine = Machine { host, guest, other };
    let deb = package(&testbed.work().join("shared"));
    installs(&machine, &deb);
    is_confined(&machine);
    asks_polkit(&machine);
    refuses_a_bad_configuration(&machine);
    work::brings_its_own_libvirt_dbus(&machine);
    work::sees_and_tunes(&machine);
    is_restarted_when_it_hangs_or_dies(&machine);
    upgrades(&machine, &deb);
    is_removed(&machine);
    machine.guest.wait_ticks(2).unwrap();
    machine.other.wait_ticks(2).unwrap();
    testbed.down().unwrap();
}

fn installs(machine: &Machine<'_>, deb: &Path) {
    // Containers forbid packages to start services; a real host does not.
    machine.ok(&["rm", "-f", "/usr/sbin/policy-rc.d"]);
    // Whenever a file of its policy changes, dbus-daemon asks systemd-machined about each user in it; where machined is just asking
    // the bus, the two wait for each other for 90 s (seen with systemd 252 in one of four upgrades, by the stacks of both).
    machine.ok(&["rm", "-f", "/run/systemd/userdb/io.systemd.Machine"]);
    machine.dpkg(&["--install", deb.to_str().unwrap()]);
    machine.wait_active("trimtabd after its installation");
    assert_eq!(machine.ok(&["systemctl", "is-enabled", "trimtabd"]).trim(), "enabled");
    wait_for("the guests", SOON, || {
        let status = machine.status();
        if status["guests"] == 2 { Ok(()) } else { Err(status.to_string()) }
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", machine.log()));
    let status = machine.status();
    assert_eq!(
        (&status["mode"], &status["libvirt"], &status["store"]),
        (&"observe".into(), &"connected".into(), &"ok".into())
    );
    for file in
        ["/var/lib/trimtab/journal.db", "/run/trimtab/originals.json", "/usr/share/man/man8/trimtabd.8.gz"]
    {
        machine.ok(&["test", "-s", file]);
    }
    let shown = machine.ok(&["trimtabctl", "policy", "show"]);
    assert!(shown.starts_with("# from /etc/trimtab/trimtab.toml\n"), "{shown}");
    let log = machine.log();
    assert!(!log.contains("AccessDenied") && !log.contains("ERROR"), "{log}");
}

fn is_confined(machine: &Machine<'_>) {
    machine.ok(&["systemd-analyze", "security", "--no-pager", "--threshold=25", "trimtabd.service"]);
    let pid = machine.property("MainPID");
    let status = machine.ok(&["cat", &format!("/proc/{pid}/status")]);
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    let uid = machine.ok(&["id", "-u", "trimtab"]);
    assert_eq!(field("Uid:"), uid.trim());
    const PERFMON: u64 = 1 << 38;
    assert_eq!(u64::from_str_radix(&field("CapEff:"), 16).unwrap() & !PERFMON, 0);
    assert_eq!(field("NoNewPrivs:"), "1");

    // What the bus lets its user ask of libvirt: reading and pinning, not ending a guest.
    let path = machine.guest.object_path();
    let domain = |method: &[&str]| {
        let call = ["busctl", "--system", "call", "org.libvirt", &path, "org.libvirt.Domain"];
        machine.as_user("trimtab", &[&call, method].concat())
    };
    let read = domain(&["GetVcpuPinInfo", "u", "1"]);
    assert!(read.status.success(), "{}", said(&read));
    for method in [["Destroy", "u", "0"], ["Shutdown", "u", "0"], ["Undefine", "u", "0"]] {
        let refused = domain(&method);
        assert!(
            !refused.status.success() && said(&refused).contains("denied"),
            "{method:?}: {}",
            said(&refused)
        );
    }
}

fn asks_polkit(machine: &Machine<'_>) {
    for user in ["alice", "bob"] {
        machine.ok(&["useradd", "--no-create-home", user]);
    }
    machine.ok(&["usermod", "-aG", "trimtab", "alice"]);
    let read = machine.as_user("bob", &["trimtabctl", "status"]);
    assert!(read.status.success(), "{}", said(&read));
    let refused = machine.as_user("bob", &["trimtabctl", "mode", "advise"]);
    assert_eq!(refused.status.code(), Some(4), "{}", said(&refused));
    assert_eq!(machine.status()["mode"], "observe");
    let allowed = machine.as_user("alice", &["trimtabctl", "mode", "advise"]);
    assert!(allowed.status.success(), "{}\n{}", said(&allowed), machine.log());
    assert_eq!(machine.status()["mode"], "advise");
}

fn refuses_a_bad_configuration(machine: &Machine<'_>) {
    machine.configure("[store]\nmax_size = 5\n");
    let reload = machine.run(&["systemctl", "reload", "trimtabd"]);
    assert!(!reload.status.success());
    assert!(
        machine.log().contains(&format!("{SITE}:2:1: store.max_size: unknown field")),
        "{}",
        machine.log()
    );
    assert_eq!(machine.property("ActiveState"), "active");

    let restart = machine.run(&["systemctl", "restart", "trimtabd"]);
    assert!(!restart.status.success());
    assert_eq!(
        (machine.property("ActiveState"), machine.property("ExecMainStatus")),
        ("failed".into(), "2".into())
    );

    machine.configure("[policy]\nmode = \"advise\"\n");
    machine.ok(&["systemctl", "restart", "trimtabd"]);
    assert_eq!(machine.status()["mode"], "advise");
    machine.configure("[policy]\nmode = \"observe\"\n");
    machine.ok(&["systemctl", "reload", "trimtabd"]);
    wait_for("the new mode", SOON, || {
        let mode = machine.status()["mode"].to_string();
        if mode == "\"observe\"" { Ok(()) } else { Err(mode) }
    })
    .unwrap();
}

fn is_restarted_when_it_hangs_or_dies(machine: &Machine<'_>) {
    // What systemd itself says goes to the testbed's console otherwise.
    machine.ok(&["systemctl", "log-target", "journal"]);
    // Not the 20 s of the unit: a test has less patience.
    let dir = "/run/systemd/system/trimtabd.service.d";
    machine.ok(&[
        "sh",
        "-c",
        &format!("mkdir -p {dir} && printf '[Service]\\nWatchdogSec=6\\n' > {dir}/test.conf"),
    ]);
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "restart", "trimtabd"]);
    for (signal, result) in [
        ("STOP", "trimtabd.service: Watchdog timeout"),
        ("KILL", "trimtabd.service: Main process exited, code=killed, status=9/KILL"),
    ] {
        let (before, restarts) = (machine.property("MainPID"), machine.property("NRestarts"));
        machine.ok(&["kill", &format!("-{signal}"), &before]);
        wait_for("a new daemon", SOON, || {
            let now = machine.property("MainPID");
            let fresh = now != before && now != "0" && machine.property("ActiveState") == "active";
            if fresh { Ok(()) } else { Err(format!("{now} {}", machine.property("SubState"))) }
        })
        .unwrap_or_else(|error| panic!("SIG{signal}: {error}\n{}", machine.log()));
        assert_ne!(machine.property("NRestarts"), restarts);
        assert!(machine.log().contains(result), "SIG{signal}: {}", machine.log());
        assert_eq!(machine.status()["store"], "ok");
    }
    // Fed by real ticks, it does not bite.
    let before = machine.property("MainPID");
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(machine.property("MainPID"), before, "{}", machine.log());
}

fn upgrades(machine: &Machine<'_>, deb: &Path) {
    let before = machine.property("MainPID");
    let inode = machine.ok(&["stat", "-c", "%i", "/var/lib/trimtab/journal.db"]);
    machine.ok(&["systemctl", "disable", "trimtabd"]);
    let new = as_version(deb, "9.0");
    machine.dpkg(&["--install", new.to_str().unwrap()]);
    machine.wait_active("trimtabd after its upgrade");
    assert_ne!(machine.property("MainPID"), before, "restarted");
    assert_eq!(
        machine.ok(&["stat", "-c", "%i", "/var/lib/trimtab/journal.db"]),
        inode,
        "the journal is kept"
    );
    let enabled = machine.run(&["systemctl", "is-enabled", "trimtabd"]);
    assert_eq!(said(&enabled).trim(), "disabled", "an admin's choice is kept");
    machine.ok(&["test", "-s", SITE]);
}

/// Removal puts knobs back: here one of each kind that an earlier run turned, known from the originals on tmpfs.
fn is_removed(machine: &Machine<'_>) {
    let original = machine.knobs();
    machine.ok(&["systemctl", "stop", "trimtabd"]);
    let name = machine.guest.name();
    let told = |question: &str| machine.host.virsh(&[&format!("{question} {name}")]).unwrap();
    let cpus = told("emulatorpin").split_whitespace().last().unwrap().to_owned();
    let shares = told("schedinfo");
    let shares = shares.lines().find(|line| line.starts_with("cpu_shares")).unwrap();
    let shares: u64 = shares.split_whitespace().last().unwrap().parse().unwrap();
    let pinned =
        |knob: &str| (knob.to_owned(), format!(r#"{{"cpus":"{cpus}"}}"#), r#"{"cpus":"0"}"#.to_owned());
    let turned = [
        pinned("vcpu0.affinity"),
        pinned("emulator.affinity"),
        pinned("iothread1.affinity"),
        (
            "cpu.shares".to_owned(),
            format!(r#"{{"shares":{shares}}}"#),
            format!(r#"{{"shares":{}}}"#, 2 * shares),
        ),
    ];
    machine
        .host
        .virsh(&[
            &format!("vcpupin {name} 0 0 --live"),
            &format!("emulatorpin {name} 0 --live"),
            &format!("iothreadpin {name} 1 0 --live"),
            &format!("schedinfo {name} --live cpu_shares={}", 2 * shares),
        ])
        .unwrap();
    let pid = machine.ok(&["cat", &format!("/run/libvirt/qemu/{name}.pid")]);
    let row = |(knob, value, ours): &(String, String, String)| {
        let whose =
            format!(r#""guest":"{}","guest_name":"{name}","pid":{}"#, machine.guest.uuid(), pid.trim());
        format!(r#"{{{whose},"knob":"{knob}","value":{},"ours":{}}}"#, text(value), text(ours))
    };
    let rows = turned.iter().map(row).collect::<Vec<_>>().join(",");
    let file = machine.host.dir().join("run/trimtab/originals.json");
    let originals = std::fs::read_to_string(&file).unwrap();
    let edited = originals.replace(r#""originals":[]"#, &format!(r#""originals":[{rows}]"#));
    assert_ne!(edited, originals);
    std::fs::write(&file, edited).unwrap();
    machine.ok(&["systemctl", "start", "trimtabd"]);
    assert_ne!(machine.knobs(), original);
    machine.dpkg(&["--remove", "trimtab"]);
    assert_eq!(machine.knobs(), original, "{}", machine.log());
    machine.ok(&["test", "-s", "/var/lib/trimtab/journal.db"]);
    machine.ok(&["test", "-s", SITE]);
    assert_eq!(machine.property("ActiveState"), "inactive");
    assert!(!machine.run(&["systemctl", "is-active", work::LIBVIRT_DBUS]).status.success());

    machine.dpkg(&["--purge", "trimtab"]);
    for path in ["/var/lib/trimtab", "/run/trimtab", "/etc/trimtab", "/usr/sbin/trimtabd"] {
        machine.ok(&["test", "!", "-e", path]);
    }
    assert!(!machine.run(&["getent", "passwd", "trimtab"]).status.success());
    let left = machine.ok(&["sh", "-c", "find / -xdev -name '*trimtabd.service*' -not -path '/proc/*' -not -path '/work/*' 2>/dev/null || true"]);
    let left: Vec<_> =
        left.lines().filter(|line| line.starts_with("/etc/") || line.starts_with("/usr/lib/")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(machine.property("LoadState"), "not-found");
}

/// As a JSON string.
fn text(of: &str) -> String {
    serde_json::Value::from(of).to_string()
}
