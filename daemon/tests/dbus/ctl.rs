//! trimtabctl as a process: exit codes, JSON and text as golden files.

use crate::api::{World, world};
use crate::bus::PrivateBus;
use crate::golden;
use std::process::{Output, Stdio};
use trimtabd::dbus::proxy::NAME;

/// Runs trimtabctl on this bus, in UTC and English, with nothing else in the environment.
async fn ctl(address: &str, args: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_trimtabctl"));
    command.env_clear().env("TZ", "UTC").env("TERM", "xterm").args(["--bus", address]).args(args);
    command.stdin(Stdio::null()).output().await.unwrap()
}

/// Exit code, standard output and standard error.
async fn run(w: &World, args: &[&str]) -> (i32, String, String) {
    let output = ctl(&w.bus.address(), args).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// `(292d 22h ago)` depends on the day.
fn without_ages(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(end) = rest.find(" ago)") {
        let begin = rest[..end].rfind('(').unwrap();
        out.push_str(&rest[..begin]);
        out.push_str("(AGE ago)");
        rest = &rest[end + " ago)".len()..];
    }
    out + rest
}

/// Golden files: the arguments, and the name of the file.
const READS: [(&[&str], &str); 9] = [
    (&["status"], "status"),
    (&["guests"], "guests"),
    (&["guest", "writer"], "guest-writer"),
    (&["guest", "burner"], "guest-burner"),
    (&["decisions"], "decisions"),
    (&["notes"], "notes"),
    (&["explain", "3"], "explain-pending"),
    (&["explain", "2"], "explain-kept"),
    (&["policy", "show"], "policy-show"),
];

#[tokio::test]
async fn what_is_read_is_printed_as_text_and_as_json() {
    let w = world().await;
    for (args, name) in READS {
        let (code, text, error) = run(&w, args).await;
        assert_eq!((code, error.as_str()), (0, ""), "{args:?}");
        let text = without_ages(&text).replace(&w.bus.address(), "ADDRESS");
        golden::check(&format!("ctl-{name}.txt"), &text);
        let (code, text, error) = run(&w, &[&["--json"], args].concat()).await;
        assert_eq!((code, error.as_str()), (0, ""), "{args:?}");
        golden::check(&format!("ctl-{name}.json"), &text);
    }
}

#[tokio::test]
async fn decisions_have_the_promised_keys_and_options() {
    let w = world().await;
    let decisions = async |args: &[&str]| -> Vec<serde_json::Value> {
        let (code, text, error) = run(&w, &[&["--json", "decisions"], args].concat()).await;
        assert_eq!(code, 0, "{error}");
        serde_json::from_str(&text).unwrap()
    };
    let keys = ["id", "time", "guest", "knob", "from", "to", "why", "expected", "before", "after", "verdict"];
    let all = decisions(&[]).await;
    assert_eq!(all.len(), 3);
    for (decision, key) in all.iter().flat_map(|decision| keys.map(|key| (decision, key))) {
        assert!(decision.get(key).is_some(), "{key} in {decision}");
    }
    assert_eq!(decisions(&["-n", "1"]).await[0]["id"], 3);
    assert_eq!(decisions(&["--guest", "burner"]).await[0]["id"], 2);
    assert_eq!(decisions(&["--since", "1m"]).await.len(), 0);
    assert_eq!(decisions(&["--since", "2026-01-31 11:58"]).await.len(), 2);
}

#[tokio::test]
async fn notes_have_the_options_of_decisions() {
    let w = world().await;
    let notes = async |args: &[&str]| run(&w, &[&["notes"], args].concat()).await.1;
    assert_eq!(notes(&["-n", "1"]).await.lines().count(), 1);
    assert!(notes(&["--guest", "writer"]).await.contains("could not be put back"));
    assert_eq!(notes(&["--guest", "burner"]).await, "No notes.\n");
    assert!(!notes(&["--since", "2026-01-31 11:58:30"]).await.contains("usable CPUs"));
}

#[tokio::test]
async fn what_is_changed_is_said_and_the_loop_was_asked() {
    let w = world().await;
    for (args, text, json) in [
        (&["mode"][..], "enforce\n", serde_json::json!({"mode": "enforce"})),
        (&["mode", "advise"], "advise\n", serde_json::json!({"mode": "advise"})),
        (&["pause"], "paused\n", serde_json::json!({"paused": true})),
        (&["resume"], "resumed\n", serde_json::json!({"paused": false})),
        (
            &["revert", "2"],
            "burner cpu.shares: done\n",
            serde_json::json!({"id": 2, "lines": ["burner cpu.shares: done"]}),
        ),
        (
            &["restore", "writer"],
            "writer emulator.affinity: done\n",
            serde_json::json!({"guest": "writer", "lines": ["writer emulator.affinity: done"]}),
        ),
        (
            &["restore", "--all"],
            "writer emulator.affinity: done\n",
            serde_json::json!({"guest": null, "lines": ["writer emulator.affinity: done"]}),
        ),
    ] {
        assert_eq!(run(&w, args).await, (0, text.to_owned(), String::new()), "{args:?}");
        let (code, text, _) = run(&w, &[args, &["--json"]].concat()).await;
        assert_eq!((code, serde_json::from_str::<serde_json::Value>(&text).unwrap()), (0, json), "{args:?}");
    }
    let asked = w.fake.asked();
    assert_eq!(asked.iter().filter(|request| *request == "set-mode Advise").count(), 2, "{asked:?}");
    assert_eq!(asked.iter().filter(|request| *request == "restore None").count(), 2, "{asked:?}");
}

#[tokio::test]
async fn exit_codes_tell_failures_apart() {
    let w = world().await;
    for (args, code, message) in [
        (&["revert", "1"][..], 1, "decision 1 was reverted already"),
        (&["revert", "9"], 1, "SetSchedulerParameters of burner"),
        (&["revert", "8"], 6, "1 of 2 knobs are not back yet"),
        (&["reload"], 2, "trimtab.toml:3: mode"),
        (&["explain", "77"], 5, "no decision 77"),
        (&["guest", "nobody"], 5, "no guest 'nobody'"),
        (&["decisions", "--guest", "nobody"], 5, "no guest 'nobody'"),
        (&["restore"], 2, "--all"),
        (&["restore", "writer", "--all"], 2, "--all"),
        (&["decisions", "-n", "0"], 2, "1..=10000"),
        (&["decisions", "--since", "soon"], 2, "'soon' is neither a span"),
        (&["mode", "full"], 2, "observe, advise, enforce"),
        (&["top"], 2, "top needs a terminal"),
        (&["top", "--interval", "0"], 2, "0.1 to 3600"),
        (&[], 2, "Usage"),
    ] {
        let (found, text, error) = run(&w, args).await;
        assert_eq!((found, text.as_str()), (code, ""), "{args:?}: {error}");
        assert!(error.contains(message), "{args:?}: {error}");
    }
    let output = ctl("nowhere", &["status"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("'nowhere' is not a bus"));
    let (code, text, error) = run(&w, &["--json", "explain", "77"]).await;
    assert_eq!((code, text.as_str()), (5, ""));
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!(error["error"]["kind"], "not-found", "{error}");
}

#[tokio::test]
async fn a_daemon_that_is_away_is_said_so() {
    let mut bus = PrivateBus::start();
    let output = ctl(&bus.address(), &["status"]).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{error}");
    let want = format!(
        "trimtabd does not answer on the bus {}; is it running?\nTry: systemctl status trimtabd",
        bus.address()
    );
    assert!(error.contains(&want), "{error}");
    // On the bus, but hung: it owns the name and answers nothing.
    let hung = bus.bus().builder().name(NAME).build().await.unwrap();
    let output = ctl(&bus.address(), &["status"]).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("did not answer within 10 s"), "{error}");
    drop(hung);
    bus.kill();
    let output = ctl(&bus.address(), &["guests"]).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn colour_comes_only_when_it_is_wanted() {
    let w = world().await;
    assert!(!run(&w, &["decisions"]).await.1.contains('\x1b'), "no terminal, no colour");
    let (_, text, _) = run(&w, &["--color", "always", "decisions"]).await;
    assert!(text.contains("\x1b[32mkept\x1b[0m"), "{text}");
}

#[tokio::test]
async fn manual_and_completions_need_no_daemon() {
    let output = ctl("unix:path=/nonexistent", &["man"]).await;
    let page = String::from_utf8(output.stdout).unwrap();
    for part in [
        ".TH trimtabctl 1",
        ".SH \"EXIT STATUS\"",
        ".SH ENVIRONMENT",
        ".SH EXAMPLES",
        "trimtabctl\\-explain(1)",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let dir = tempfile::tempdir().unwrap();
    let output = ctl("unix:path=/nonexistent", &["man", dir.path().to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(dir.path().join("trimtabctl.1")).unwrap(), page);
    assert!(dir.path().join("trimtabctl-decisions.1").exists());
    let output = ctl("unix:path=/nonexistent", &["man", "/nonexistent"]).await;
    assert_eq!(output.status.code(), Some(1));
    for (shell, part) in [
        ("bash", "complete -F _trimtabctl"),
        ("zsh", "#compdef trimtabctl"),
        ("fish", "complete -c trimtabctl"),
    ] {
        let output = ctl("unix:path=/nonexistent", &["completions", shell]).await;
        assert!(String::from_utf8(output.stdout).unwrap().contains(part), "{shell}");
    }
}

#[tokio::test]
async fn top_as_json_is_a_line_a_look() {
    let w = world().await;
    let (code, text, error) = run(&w, &["top", "--json", "-n", "2", "-d", "0.1"]).await;
    assert_eq!((code, error.as_str()), (0, ""));
    let looks: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(looks.len(), 2);
    assert_eq!(looks[1]["status"]["mode"], "enforce");
    assert_eq!(looks[1]["guests"].as_array().unwrap().len(), 2);
}
