//! `trimtabctl top` on a terminal, against the real daemon.

use crate::stage::{Ask, quick};
use trimtab_tests::trimtab::program;

#[test]
fn live_top_draws_what_the_daemon_sees() {
    let stage = stage!();
    let trimtab = stage.daemon(quick("observe"));
    trimtab.until("three guests", |status| status.guests == 3);
    trimtab.ticks(4);
    let ctl = program("trimtabctl").unwrap();
    // `script` is the terminal; without a size there would be nothing to draw on.
    let line = format!("stty rows 30 cols 120; exec '{}' top -n 3 -d 0.6", ctl.display());
    let out = stage
        .host
        .command("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("TERM", "xterm-256color")
        .output()
        .unwrap();
    let drawn = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{drawn}");
    // Into the other screen and back, as a program does that leaves the terminal as it found it.
    for part in ["\x1b[?1049h", "\x1b[?1049l", "writer", "burner1", "burner2", "observe"] {
        assert!(drawn.contains(part), "{part:?} is missing in {drawn:?}");
    }
    // Only what differs is drawn anew: two more looks have moved figures on.
    let first = drawn.find("burner2").unwrap();
    assert!(drawn[first..].matches("\x1b[").count() > 20, "{drawn:?}");
    // Where there is no terminal: a line of JSON a look.
    let lines = trimtab.ctl(&["top", "--json", "-n", "2", "-d", "0.6"]).unwrap();
    let looks: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ticks: Vec<u64> = looks.iter().map(|look| look["status"]["ticks"].as_u64().unwrap()).collect();
    assert!(ticks.len() == 2 && ticks[0] < ticks[1], "{ticks:?}");
    assert_eq!(looks[1]["guests"].as_array().unwrap().len(), 3);
    trimtab.stop().unwrap();
}
