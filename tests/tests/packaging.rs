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
