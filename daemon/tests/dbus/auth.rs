//! Who may change something: with real users, and with the real polkitd.

use crate::api::World;
use crate::bus::PrivateBus;
use crate::fake::FakeLoop;
use crate::polkit::{Polkit, missing};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use trimtabd::dbus::proxy::{Client, Error};
use trimtabd::dbus::{AuthConfig, serve};

/// The policy file that is installed.
fn policy_file() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/org.trimtab1.policy"))
}

/// Every mutating command and its action.
const MUTATING: [(&[&str], &str); 6] = [
    (&["mode", "observe"], "org.trimtab1.set-mode"),
    (&["pause"], "org.trimtab1.pause"),
    (&["resume"], "org.trimtab1.pause"),
    (&["revert", "2"], "org.trimtab1.revert"),
    (&["restore", "--all"], "org.trimtab1.restore"),
    (&["reload"], "org.trimtab1.reload"),
];

/// A group that every Debian has, standing for `trimtab`.
const GROUP: &str = "daemon";

/// Whether the test can run; says so if it cannot.
fn can_run(test: &str) -> bool {
    let Some(why) = missing() else { return true };
    let required = std::env::var_os("TRIMTAB_REQUIRE_LIVE").is_some_and(|v| v == "1");
    assert!(!required, "{test} cannot run and TRIMTAB_REQUIRE_LIVE=1: {why}");
    // Not eprintln!: the harness would swallow it.
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
    false
}

/// A world on this bus under this rule.
async fn world(bus: PrivateBus, auth: AuthConfig) -> World {
    let (fake, handle) = FakeLoop::start();
    let server = serve(bus.bus(), handle, auth).await.unwrap();
    let client = Client::connect(&bus.bus()).await.unwrap();
    World { server, client, fake, bus }
}

fn polkit_rule() -> AuthConfig {
    AuthConfig::Polkit { group: GROUP.to_owned() }
}

/// trimtabctl where every user can run it: the build directory may be closed to others.
fn program(w: &World) -> PathBuf {
    let copy = w.bus.dir().join("trimtabctl");
    if !copy.exists() {
        // Not fs::copy: a process that another test forks in that moment would hold the file open for writing, and
        // nobody could execute it.
        let cp = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_trimtabctl")).arg(&copy).status();
        assert!(cp.unwrap().success());
    }
    copy
}

/// Runs trimtabctl as `nobody` in this group; exit code and standard error.
async fn as_nobody(w: &World, group: &str, args: &[&str]) -> (i32, String) {
    let mut command = tokio::process::Command::new("setpriv");
    command.args(["--reuid=nobody", &format!("--regid={group}"), "--clear-groups"]).arg(program(w));
    let output = command.args(["--bus", &w.bus.address()]).args(args).output().await.unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Runs it as root.
async fn as_root(w: &World, args: &[&str]) -> i32 {
    let mut command = tokio::process::Command::new(program(w));
    command.args(["--bus", &w.bus.address()]).args(args).output().await.unwrap().status.code().unwrap()
}

/// SetMode by `nobody` through busctl, which must fail; `yes` or `no`: whether polkit may ask a human.
async fn busctl_set_mode(w: &World, interactive: &str) -> String {
    let mut command = tokio::process::Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "busctl"]);
    command.arg(format!("--address={}", w.bus.address()));
    command.arg(format!("--allow-interactive-authorization={interactive}"));
    command.args([
        "call",
        "org.trimtab1",
        "/org/trimtab1",
        "org.trimtab1.Manager",
        "SetMode",
        "s",
        "observe",
    ]);
    let output = command.output().await.unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn without_polkit_root_and_the_group_may() {
    if !can_run("without_polkit_root_and_the_group_may") {
        return;
    }
    let w = world(PrivateBus::start(), polkit_rule()).await;
    for (args, action) in MUTATING {
        let (code, error) = as_nobody(&w, "nogroup", args).await;
        assert_eq!(code, 4, "{args:?}: {error}");
        let want = format!(
            "{action} is not allowed: polkit does not run, and uid 65534 is neither root nor in group {GROUP}"
        );
        assert!(error.contains(&want), "{error}");
    }
    assert_eq!(w.fake.asked(), Vec::<String>::new(), "the loop never heard of it");
    assert_eq!(as_nobody(&w, "nogroup", &["status"]).await.0, 0, "reading is free");
    for (args, _) in MUTATING {
        // The fake loop refuses to reload: that it was asked is what counts.
        let want = if args == ["reload"] { 2 } else { 0 };
        assert_eq!(as_nobody(&w, GROUP, args).await.0, want, "{args:?}");
        assert_eq!(as_root(&w, args).await, want, "{args:?}");
    }
    assert_eq!(w.fake.asked().len(), 2 * MUTATING.len());
}

#[tokio::test]
async fn polkit_decides_where_it_runs() {
    if !can_run("polkit_decides_where_it_runs") {
        return;
    }
    let bus = PrivateBus::start();
    let _polkit = Polkit::start(&bus, Some(policy_file())).await;
    let w = world(bus, polkit_rule()).await;
    for (args, action) in MUTATING {
        // The group counts for nothing now.
        let (code, error) = as_nobody(&w, GROUP, args).await;
        if action == "org.trimtab1.pause" {
            assert_eq!(code, 0, "{args:?}: {error}");
        } else {
            assert_eq!(code, 4, "{args:?}: {error}");
            assert!(
                error.contains("polkit wants a password, and there is no agent to ask for one"),
                "{error}"
            );
        }
    }
    assert_eq!(w.fake.asked(), ["pause", "resume"]);
    for (args, _) in MUTATING {
        let want = if args == ["reload"] { 2 } else { 0 };
        assert_eq!(as_root(&w, args).await, want, "{args:?}");
    }
}

#[tokio::test]
async fn polkit_may_ask_a_human_only_if_the_caller_says_so() {
    if !can_run("polkit_may_ask_a_human_only_if_the_caller_says_so") {
        return;
    }
    let bus = PrivateBus::start();
    let _polkit = Polkit::start(&bus, Some(policy_file())).await;
    let w = world(bus, polkit_rule()).await;
    for (interactive, want) in [("no", "does not allow asking"), ("yes", "there is no agent")] {
        let error = busctl_set_mode(&w, interactive).await;
        assert!(error.contains(want), "{interactive}: {error}");
    }
}

#[tokio::test]
async fn a_polkit_that_fails_refuses_all_but_root() {
    if !can_run("a_polkit_that_fails_refuses_all_but_root") {
        return;
    }
    let bus = PrivateBus::start();
    // It knows none of the actions, as when the policy file is not installed.
    let polkit = Polkit::start(&bus, None).await;
    let w = world(bus, polkit_rule()).await;
    let (code, error) = as_nobody(&w, GROUP, &["pause"]).await;
    assert!(code == 4 && error.contains("polkit failed"), "{code}: {error}");
    assert_eq!(as_root(&w, &["pause"]).await, 0);
    polkit.stop();
    let error = busctl_set_mode(&w, "no").await;
    assert!(error.contains("polkit did not answer within 10 s"), "{error}");
    assert_eq!(as_root(&w, &["resume"]).await, 0);
    assert_eq!(w.fake.asked(), ["pause", "resume"]);
}

#[tokio::test]
async fn on_a_session_bus_only_the_same_user_may() {
    if !can_run("on_a_session_bus_only_the_same_user_may") {
        return;
    }
    let w = world(PrivateBus::start(), AuthConfig::SameUser).await;
    let (code, error) = as_nobody(&w, GROUP, &["pause"]).await;
    assert!(code == 4 && error.contains("only the user who runs trimtabd"), "{code}: {error}");
    assert_eq!(as_root(&w, &["pause"]).await, 0);
    assert_eq!(w.fake.asked(), ["pause"]);
}

#[tokio::test]
async fn the_error_has_its_name() {
    if !can_run("the_error_has_its_name") {
        return;
    }
    let w = world(PrivateBus::start(), AuthConfig::Polkit { group: "no-such-group".to_owned() }).await;
    let mut command = tokio::process::Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "dbus-send"]);
    command.arg(format!("--bus={}", w.bus.address())).args(["--print-reply", "--dest=org.trimtab1"]);
    let output = command.args(["/org/trimtab1", "org.trimtab1.Manager.Pause"]).output().await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("org.trimtab1.Error.NotAuthorized"), "{error}");
    assert!(!matches!(w.client.manager().pause().await, Err(Error::NotAuthorized(_))), "root still may");
}

#[test]
fn the_policy_file_has_the_actions_that_are_asked_for_and_names_the_owner() {
    let xml = std::fs::read_to_string(policy_file()).unwrap();
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(&xml, options).unwrap();
    let actions: Vec<_> = document.descendants().filter(|node| node.has_tag_name("action")).collect();
    let ids: BTreeSet<&str> = actions.iter().filter_map(|action| action.attribute("id")).collect();
    assert_eq!(ids, MUTATING.iter().map(|(_, action)| *action).collect());
    // polkit answers only root and an action's owner about other users' processes.
    for action in actions {
        let owner =
            action.children().find(|node| node.attribute("key") == Some("org.freedesktop.policykit.owner"));
        assert_eq!(
            owner.and_then(|node| node.text()),
            Some("unix-user:trimtab"),
            "{:?}",
            action.attribute("id")
        );
    }
}
