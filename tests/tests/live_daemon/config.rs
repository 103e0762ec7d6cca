//! A bad configuration: refused at the start, and at a reload the old one stays.

use crate::stage::{Ask, quick};
use rustix::process::Signal;
use std::time::Duration;
use trimtab_tests::testbed::wait_for;
use trimtab_tests::trimtab::{Start, command};

/// Texts, and what the refusal names: line, column, key, and what is wrong.
const BAD: [(&str, &str); 4] = [
    ("# one\n[policy]\nmoode = \"enforce\"\n", "trimtab.toml:3:1: policy.moode: unknown field"),
    ("[sensors]\ninterval_ms = 1\n", "trimtab.toml:2:1: sensors.interval_ms: 1 is outside 250..=10000"),
    ("[policy.trial]\nafter_ms = \"6 s\"\n", "trimtab.toml:2:12: policy.trial.after_ms: "),
    ("[policy\n", "trimtab.toml:1:"),
];

#[test]
fn live_a_bad_configuration_is_refused() {
    let stage = stage!();
    let pulse = stage.pulse();
    for (text, wanted) in BAD {
        let start = stage.with_state(Start { config: text.to_owned(), mode: None, ..quick("observe") });
        for arguments in [&[][..], &["--check-config"]] {
            let out = command(stage.host, &start).unwrap().args(arguments).output().unwrap();
            let said = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(2), "{said}");
            assert!(said.contains(wanted), "{said}");
        }
    }
    let good = stage.with_state(Start { mode: None, ..quick("observe") });
    let out = command(stage.host, &good).unwrap().arg("--check-config").output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));

    // At a reload the whole of it is refused, and what was in force goes on.
    let trimtab = stage.daemon(Start { mode: None, ..quick("observe") });
    let in_force = trimtab.ctl(&["policy", "show"]).unwrap();
    assert!(in_force.contains("cool_down_ms = 1000"), "{in_force}");
    let file = stage.host.dir().join("trimtab/trimtab.toml");
    for (text, wanted) in BAD {
        std::fs::write(&file, text).unwrap();
        let error = trimtab.refused(&["reload"]);
        assert!(error.contains(wanted) && error.contains("exit status: 2"), "{error}");
        let from = trimtab.log().len();
        trimtab.process().signal(Signal::HUP).unwrap();
        trimtab.says(from, &["not taken over, the old one stays", wanted]);
        assert_eq!(trimtab.ctl(&["policy", "show"]).unwrap(), in_force);
    }
    trimtab.ticks(2);

    // A good one is taken over as far as that is possible, and the rest is said.
    let good =
        good.config.replace("cool_down_ms = 1000", "cool_down_ms = 2000").replace("= 500\n", "= 750\n");
    std::fs::write(&file, format!("{good}\n[policy]\nmode = \"advise\"\n")).unwrap();
    let from = trimtab.log().len();
    trimtab.process().signal(Signal::HUP).unwrap();
    wait_for("the new configuration", Duration::from_secs(20), || {
        let shown = trimtab.ctl(&["policy", "show"]).map_err(|error| error.to_string())?;
        if shown.contains("cool_down_ms = 2000") { Ok(()) } else { Err(shown) }
    })
    .unwrap();
    assert_eq!(trimtab.status().unwrap().mode, "advise");
    trimtab.says(from, &["at the next start", "sensors.interval_ms"]);
    pulse.beats();
    trimtab.stop().unwrap();
}
