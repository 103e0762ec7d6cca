//! The files in systemd/ against the code that they speak of, as far as that can be seen without running them.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between `before` and `after`, wherever that occurs in the text.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split(after).next()).collect()
}

fn pascal(snake: &str) -> String {
    let word = |word: &str| {
        let mut chars = word.chars();
        chars.next().into_iter().flat_map(char::to_uppercase).chain(chars).collect::<String>()
    };
    snake.split('_').map(word).collect()
}

/// The daemon's user may call exactly the methods that the client declares.
#[test]
fn the_bus_policy_allows_what_the_client_calls_and_no_more() {
    let proxies = text("daemon/src/libvirt/proxies.rs");
    let mut called = BTreeSet::new();
    for (interface, body) in
        proxies.split("#[zbus::proxy(interface = \"").skip(1).map(|rest| rest.split_once('"').unwrap())
    {
        let body = body.split("\n}").next().unwrap();
        let (mut name, mut property) = (None, false);
        for line in body.lines().map(str::trim) {
            property |= line.starts_with("#[zbus(property");
            name = between(line, "#[zbus(name = \"", "\"").first().map(ToString::to_string).or(name);
            let Some(function) = line.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) else {
                continue;
            };
            let method = name.take().unwrap_or_else(|| pascal(function));
            let whole = if property {
                "org.freedesktop.DBus.Properties.Get".to_owned()
            } else {
                format!("{interface}.{method}")
            };
            called.insert(whole);
            property = false;
        }
    }
    assert!(called.contains("org.libvirt.Domain.PinIOThread") && called.len() > 8, "{called:?}");

    let policy = text("systemd/org.trimtab1.conf");
    let mut allowed = BTreeSet::new();
    for rule in between(&policy, "<allow send_destination=\"org.libvirt\"", "/>") {
        let attribute =
            |name: &str| between(rule, &format!("{name}=\""), "\"").first().copied().unwrap_or("*");
        allowed.insert(format!("{}.{}", attribute("send_interface"), attribute("send_member")));
    }
    assert_eq!(allowed, called);
}

#[test]
fn polkit_knows_every_action_and_lets_the_daemon_ask() {
    let code = text("daemon/src/dbus/auth.rs");
    let asked: BTreeSet<_> = between(&code, "\"org.trimtab1.", "\"").into_iter().collect();
    let policy = text("systemd/org.trimtab1.policy");
    let known: BTreeSet<_> = between(&policy, "<action id=\"org.trimtab1.", "\"").into_iter().collect();
    assert_eq!(known, asked);
    for action in between(&policy, "<action ", "</action>") {
        let owner = "<annotate key=\"org.freedesktop.policykit.owner\">unix-user:trimtab</annotate>";
        assert!(action.contains(owner), "{action}");
        assert!(!action.contains(">yes<"), "{action}");
    }
}

#[test]
fn the_service_is_sandboxed() {
    let unit = root().join("systemd/trimtabd.service");
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=true", "--no-pager", "--threshold=25"]).arg(unit);
    let said = analyze.output().unwrap();
    assert!(said.status.success(), "exposure above 2.5:\n{}", String::from_utf8_lossy(&said.stdout));
    let overall = String::from_utf8_lossy(&said.stdout);
    assert!(overall.contains("Overall exposure level for trimtabd.service"), "{overall}");
}

/// `systemd-analyze verify` exits 0 for a key that it does not know; its standard error tells.
#[test]
fn systemd_knows_every_key() {
    for unit in ["trimtabd.service", "trimtab-libvirt-dbus.service"] {
        let mut verify = Command::new("systemd-analyze");
        let said =
            verify.args(["verify", "--man=no"]).arg(root().join("systemd").join(unit)).output().unwrap();
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        // The programs are not installed where this runs.
        let real: Vec<_> =
            said.lines().filter(|line| line.contains(unit) && !line.contains("not executable")).collect();
        assert!(real.is_empty(), "{real:?}");
    }
}

#[test]
fn the_watchdog_is_fed_more_often_than_it_bites() {
    let unit = text("systemd/trimtabd.service");
    let seconds: u64 = between(&unit, "\nWatchdogSec=", "\n")[0].parse().unwrap();
    let slowest_tick_s = 10; // upper bound of sensors.interval_ms
    assert!(seconds >= 2 * slowest_tick_s);
}

#[test]
fn the_man_page_has_every_option() {
    let page = text("systemd/trimtabd.8").replace("\\-", "-");
    for option in between(&text("daemon/src/cli.rs"), "    pub ", ":") {
        let option = format!("--{}", option.replace('_', "-"));
        assert!(page.contains(&option), "{option} is not in trimtabd(8)");
    }
}

#[test]
fn maintainer_scripts_are_shell() {
    for script in ["postinst", "prerm", "postrm"] {
        let path = root().join("systemd/debian").join(script);
        let said = Command::new("sh").arg("-n").arg(&path).output().unwrap();
        assert!(said.status.success(), "{script}: {}", String::from_utf8_lossy(&said.stderr));
    }
}

/// Another root for the maintainer scripts, with stand-ins for what they call.
struct Root(tempfile::TempDir);

impl Root {
    /// `trimtabctl restore` exits with `code` until it has been called so often.
    fn new(code: u8, until: u32) -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        for dir in ["bin", "run/systemd/system", "run/trimtab", "var/lib/trimtab", "etc/trimtab"] {
            fs::create_dir_all(root.path(dir)).unwrap();
        }
        let calls = root.path("calls").display().to_string();
        let ctl = format!(
            "echo \"$1\" >> {calls}\n[ \"$1\" != restore ] || [ $(grep -c restore {calls}) -ge {until} ] || exit {code}"
        );
        let noted = format!("echo \"$1\" >> {calls}");
        for (name, text) in [
            ("trimtabctl", ctl.as_str()),
            ("deb-systemd-invoke", &noted),
            ("systemctl", ""),
            ("getent", "exit 2"),
        ] {
            let program = root.path("bin").join(name);
            fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        root
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside)
    }

    /// What the mirror on tmpfs says of two guests, one of which (`gone`) has ended.
    fn turned(&self) {
        let row = |name: &str, pid: u32| {
            let value = r#""{\"cpus\":\"0-1\"}""#;
            format!(
                r#"{{"guest":"1-2","guest_name":"{name}","pid":{pid},"knob":"vcpu0.affinity","value":{value},"ours":{value},"back_to":null}}"#
            )
        };
        let (lives, gone) = (row("web", std::process::id()), row("gone", u32::MAX));
        let taken = r#"{"guest":"1-2","guest_name":"web","pid":1,"family":"priority","why":"","time_ms":1}"#;
        let mirror = format!(
            r#"{{"format":1,"originals":[{gone},{lives}],"overrides":[{taken},{taken}],"decisions":[]}}"#
        );
        fs::write(self.path("run/trimtab/originals.json"), mirror).unwrap();
    }

    /// Runs a script with every path of its own moved into this root; what it said on standard error.
    fn run(&self, script: &str, argument: &str) -> String {
        let mut text = text(&format!("systemd/debian/{script}"));
        for dir in ["/run/", "/var/lib/", "/etc/", "/usr/bin/"] {
            text = text.replace(dir, &format!("{}{dir}", self.0.path().display()));
        }
        let said = Command::new("sh")
            .args(["-c", &text, script, argument])
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .output()
            .unwrap();
        assert!(said.status.success(), "{said:?}");
        String::from_utf8(said.stderr).unwrap()
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap().replace('\n', " ")
    }
}

#[test]
fn removal_waits_for_knobs_and_says_which_stay_turned() {
    let slow = Root::new(6, 3);
    let said = slow.run("prerm", "remove");
    assert_eq!((slow.calls().as_str(), said.as_str()), ("pause restore restore restore stop ", ""));
    let hung = Root::new(6, 99);
    hung.turned();
    let said = hung.run("prerm", "remove");
    assert_eq!(hung.calls().matches("restore").count(), 6, "not for ever");
    assert!(hung.calls().ends_with("stop "), "{}", hung.calls());
    assert!(
        said.contains("WARNING") && said.contains(r#"vcpu0.affinity of web, was {"cpus":"0-1"}"#),
        "{said}"
    );
    assert!(!said.contains("of gone"), "{said}");
    // Anything else than "not back yet" is not mended by asking again.
    let away = Root::new(3, 99);
    away.run("prerm", "remove");
    assert_eq!(away.calls(), "pause restore stop ");
    let upgraded = Root::new(6, 99);
    upgraded.turned();
    assert_eq!(upgraded.run("prerm", "upgrade"), "");
    assert!(!upgraded.path("calls").exists());
}

#[test]
fn a_purge_tells_what_it_forgets() {
    let root = Root::new(0, 0);
    root.turned();
    assert_eq!(root.run("postrm", "remove"), "");
    assert!(root.path("run/trimtab/originals.json").exists());
    let said = root.run("postrm", "purge");
    assert!(said.contains("WARNING") && said.contains("vcpu0.affinity of web, was"), "{said}");
    assert!(!root.path("run/trimtab").exists() && !root.path("var/lib/trimtab").exists());
    assert_eq!(root.run("postrm", "purge"), "", "nothing is left to be told");
    let function = |script: &str| {
        let text = text(&format!("systemd/debian/{script}"));
        between(&text, "still_turned() {", "\n}")[0].to_owned()
    };
    assert_eq!(function("prerm"), function("postrm"));
}
