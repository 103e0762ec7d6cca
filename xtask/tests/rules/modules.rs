//! Which part of the daemon sees which other part.

use crate::{paths, tree};

/// A top-level module of the daemon and the others it may name. `None`: the loop and what puts it together see everything.
/// `libvirt` alone means the trait and its types, not the modules below (the D-Bus client, the fake).
/// A new module needs a line here.
const MAY_SEE: [(&str, Option<&[&str]>); 14] = [
    ("", None),
    ("setup", None),
    ("run", None),
    ("control_loop", None),
    ("performer", Some(&["actuators", "journal"])),
    ("journal", Some(&[])),
    ("cli", Some(&["bus"])),
    ("bus", Some(&[])),
    ("config", Some(&[])),
    ("handle", Some(&[])),
    ("libvirt", Some(&["bus"])),
    ("sensors", Some(&["libvirt"])),
    ("actuators", Some(&["libvirt"])),
    ("dbus", Some(&["handle", "bus"])),
];

/// What trimtabctl may name of the daemon's library: the proxies of the daemon's own D-Bus API.
const CONTROL_PROGRAM: [&str; 2] = ["dbus", "proxy"];

/// `below_libvirt`: names of the modules below `libvirt`.
fn check(file: &str, text: &str, below_libvirt: &[String]) -> Vec<String> {
    let module = paths::module_of(file);
    let top = module.first().map_or("", String::as_str);
    let visible = match MAY_SEE.iter().find(|(name, _)| *name == top) {
        Some((_, Some(visible))) => visible,
        Some((_, None)) => return Vec::new(),
        None => return vec![format!("{file}: module {top} has no line in MAY_SEE")],
    };
    let mut findings = Vec::new();
    for named in paths::named(text, &module) {
        let [krate, other, rest @ ..] = named.path.as_slice() else { continue };
        if krate != "crate" || other == top {
            continue;
        }
        let inside = rest.first().is_some_and(|name| below_libvirt.contains(name));
        if !visible.contains(&other.as_str()) || (other == "libvirt" && inside) {
            findings.push(format!("{file}:{}: {top} may not see {}", named.line, named.path.join("::")));
        }
    }
    findings
}

fn check_control_program(file: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for named in paths::named(text, &["main".to_owned()]) {
        let ours = named
            .path
            .first()
            .is_some_and(|name| matches!(name.as_str(), "trimtabd" | "trimtab_policy" | "trimtab_store"));
        let proxy = named.path.first().is_some_and(|name| name == "trimtabd")
            && named.path[1..].iter().take(2).eq(CONTROL_PROGRAM);
        if ours && !proxy {
            findings.push(format!("{file}:{}: trimtabctl may not see {}", named.line, named.path.join("::")));
        }
    }
    findings
}

#[test]
fn modules_of_the_daemon_see_only_what_they_may() {
    let mut findings = Vec::new();
    let files = tree::files("daemon/src", "rs");
    let below = files.iter().filter_map(|(path, _)| path.strip_prefix("daemon/src/libvirt/"));
    let below: Vec<String> =
        below.filter_map(|rest| rest.split(['/', '.']).next()).map(str::to_owned).collect();
    for (path, text) in files {
        let file = path.strip_prefix("daemon/src/").expect("below daemon/src");
        if file.starts_with("bin/trimtabctl") {
            findings.extend(check_control_program(&path, &text));
        } else if !tree::is_test(&path) {
            findings.extend(check(file, &text, &below));
        }
    }
    tree::none(&findings, "modules of the daemon (xtask/tests/rules/modules.rs)");
}

#[test]
fn a_forbidden_view_is_found() {
    let see = |file: &str, text: &str| check(file, text, &["client".to_owned()]);
    assert_eq!(see("dbus/guest.rs", "use crate::handle::Handle;"), Vec::<String>::new());
    assert_eq!(see("dbus/guest.rs", "use super::super::libvirt::Hypervisor;").len(), 1);
    assert_eq!(see("sensors/mod.rs", "use crate::libvirt::{GuestRef, Hypervisor};"), Vec::<String>::new());
    assert_eq!(see("sensors/mod.rs", "use crate::libvirt::qemu_pid_in;"), Vec::<String>::new());
    assert_eq!(see("sensors/mod.rs", "use crate::libvirt::client::Client;").len(), 1);
    assert_eq!(see("sensors/mod.rs", "fn f() { crate::actuators::set(); }").len(), 1);
    assert_eq!(see("newcomer.rs", "").len(), 1);
    assert_eq!(see("control_loop/mod.rs", "use crate::libvirt::client::Client;"), Vec::<String>::new());
    assert_eq!(
        check_control_program("main.rs", "use trimtabd::dbus::proxy::ManagerProxy;"),
        Vec::<String>::new()
    );
    assert_eq!(check_control_program("main.rs", "use trimtabd::handle::View;").len(), 1);
    assert_eq!(check_control_program("main.rs", "use trimtab_policy::units;").len(), 1);
}
