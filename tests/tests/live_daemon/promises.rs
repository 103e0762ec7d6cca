//! What an admin may rely on: nothing without leave, nothing without a reason on record, everything can be undone.

use crate::stage::{Ask, NONE, QUICK, Shown, quick};
use serde::Deserialize;
use std::collections::BTreeMap;
use trimtab_tests::trimtab::{Decision, Start, Trimtab};

/// Knob values of all guests: `writer cpu.shares` and so on.
type Values = BTreeMap<String, String>;

fn values(shown: &[Shown]) -> Values {
    let one = |guest: &Shown| {
        let name = guest.name.clone();
        guest.knobs.clone().into_iter().map(move |(knob, value)| (format!("{name} {knob}"), value))
    };
    shown.iter().flat_map(one).collect()
}

/// One change of a decision.
#[derive(Debug, Deserialize)]
struct Change {
    guest: String,
    knob: String,
    from: String,
    to: String,
}

/// The part of a decision that tells of its changes.
#[derive(Debug, Deserialize)]
struct Changed {
    id: u64,
    verdict: String,
    changes: Vec<Change>,
}

/// Newest first.
fn changed(trimtab: &Trimtab) -> Vec<Changed> {
    trimtab.json(&["decisions", "-n", "1000"]).unwrap()
}

fn kept(trimtab: &Trimtab, after: u64) -> Decision {
    trimtab.decision("a kept decision", |d| d.verdict == "kept" && d.id > after)
}

#[test]
fn live_observe_and_advise_change_nothing() {
    let stage = stage!();
    stage.crowd();
    let (pulse, untouched) = (stage.pulse(), stage.knobs());
    let trimtab = stage.daemon(quick("observe"));
    trimtab.until("three guests", |status| status.guests == 3);
    // Long enough for a decision, as the next mode shows.
    trimtab.ticks(20);
    trimtab.until("an objective", |status| status.mode == "observe" && status.objective.is_some());
    let whole = |guest: &Shown| guest.cpu_cores.is_some() && !guest.knobs.is_empty();
    trimtab.until_shown("figures and knobs", |shown| shown.iter().all(whole));
    assert_eq!(trimtab.decisions().unwrap(), []);
    assert_eq!(stage.unlike(&untouched), NONE);

    trimtab.ctl(&["mode", "advise"]).unwrap();
    let advised = trimtab.decision("advice", |_| true);
    trimtab.ticks(12);
    let all = trimtab.decisions().unwrap();
    assert!(all.iter().all(|decision| decision.verdict == "advised"), "{all:#?}");
    assert_eq!(stage.unlike(&untouched), NONE);
    assert!(trimtab.shown().iter().all(|guest| guest.originals.is_empty()));
    let story = trimtab.ctl(&["explain", &advised.id.to_string()]).unwrap();
    assert!(story.contains("Would do") && story.contains("nothing was changed"), "{story}");
    let error = trimtab.refused(&["revert", &advised.id.to_string()]);
    assert!(error.contains("advised"), "{error}");
    assert!(!trimtab.log().contains(": done"), "{}", trimtab.log());
    pulse.beats();
    trimtab.stop().unwrap();
    assert_eq!(stage.unlike(&untouched), NONE);
}

#[test]
fn live_every_change_is_on_record_and_can_be_reverted() {
    let stage = stage!();
    stage.crowd();
    let (pulse, untouched) = (stage.pulse(), stage.knobs());
    let trimtab = stage.daemon(quick("observe"));
    trimtab.until("three guests", |status| status.guests == 3);
    // vCPUs, emulators, iothreads, shares.
    let before = values(&trimtab.until_shown("every knob", |shown| values(shown).len() == 1 + 2 + 2 + 3 * 3));

    trimtab.ctl(&["mode", "enforce"]).unwrap();
    let first = kept(&trimtab, 0);
    trimtab.quiet();
    assert_ne!(stage.knobs(), untouched);

    // What the journal tells, played over what was there before, is what there is: no change without its line.
    let on_record = changed(&trimtab);
    let mut expected = before;
    for decision in on_record.iter().rev().filter(|decision| decision.verdict == "kept") {
        for change in &decision.changes {
            let was = expected.insert(format!("{} {}", change.guest, change.knob), change.to.clone());
            assert_eq!(was.as_ref(), Some(&change.from), "{decision:?}");
        }
    }
    trimtab.until_shown("what is on record", |shown| values(shown) == expected);

    // Each has its reason, what was expected and what came of it.
    assert!(!first.why.is_empty() && first.expected != 0.0, "{first:?}");
    assert!(first.before.is_some() && first.after.is_some() && !first.outcome.is_empty(), "{first:?}");
    let story = trimtab.ctl(&["explain", &first.id.to_string()]).unwrap();
    let parts = ["Why:", "Changed:", "Expected:", "Measured:", "Verdict: kept", "trimtabctl revert"];
    assert!(parts.iter().all(|part| story.contains(part)), "{story}");

    // Undone one by one, the newest first; then all is as before, and there is nothing left to undo.
    for decision in on_record.iter().filter(|decision| decision.verdict == "kept") {
        let said = trimtab.ctl(&["revert", &decision.id.to_string()]).unwrap();
        assert!(decision.changes.iter().all(|change| said.contains(&change.knob)), "{said}");
        let reverted =
            trimtab.decision("the reverted one", |d| d.id == decision.id && d.verdict == "reverted");
        assert!(reverted.outcome.contains("by command"), "{reverted:?}");
    }
    assert_eq!(stage.unlike(&untouched), NONE);
    let error = trimtab.refused(&["revert", &first.id.to_string()]);
    assert!(error.contains("reverted"), "{error}");
    let error = trimtab.refused(&["revert", "999999"]);
    assert!(error.contains("no decision 999999"), "{error}");
    pulse.beats();
    trimtab.stop().unwrap();
}

#[test]
fn live_restore_puts_everything_back_also_after_an_end() {
    let stage = stage!();
    stage.crowd();
    let (pulse, untouched) = (stage.pulse(), stage.knobs());
    let mut trimtab = stage.daemon(quick("enforce"));
    let mut newest = kept(&trimtab, 0).id;
    // What cannot go back is no success: the guest is named, and the others' knobs are back.
    let turned = trimtab.shown().into_iter().find(|guest| !guest.originals.is_empty()).unwrap().name;
    let (hung, others): (Vec<_>, Vec<_>) =
        stage.guests().into_iter().partition(|guest| guest.name() == turned);
    hung[0].stop().unwrap();
    let error = trimtab.refused(&["restore", "--all"]);
    assert!(error.contains(&format!("of {turned} (")) && error.contains("exit status: 6"), "{error}");
    let mut of_others = untouched.clone();
    of_others.retain(|what, _| !what.starts_with(&turned));
    assert_eq!(stage.knobs_of(&others), of_others);
    hung[0].cont().unwrap();
    trimtab.restore().unwrap();
    // The next trial may have begun.
    trimtab.quiet();
    trimtab.given_back().unwrap();
    assert_eq!(stage.unlike(&untouched), NONE, "restored while running");

    for how in ["stop", "kill"] {
        trimtab.ctl(&["resume"]).unwrap();
        newest = kept(&trimtab, newest).id;
        trimtab.quiet();
        let turned = stage.knobs();
        assert_ne!(turned, untouched);
        match how {
            "stop" => trimtab.process_mut().stop().map(drop).unwrap(),
            _ => trimtab.process_mut().kill().unwrap(),
        }
        assert_eq!(stage.unlike(&turned), NONE, "guests run on as they are after {how}");
        pulse.beats();
        // Whatever the mode, restore restores.
        trimtab = stage.daemon(Start { config: QUICK.to_owned(), ..Start::mode("observe") });
        trimtab.until("three guests", |status| status.guests == 3);
        trimtab.ticks(2);
        assert_eq!(stage.unlike(&turned), NONE, "a start changes nothing after {how}");
        trimtab.restore().unwrap();
        assert_eq!(stage.unlike(&untouched), NONE, "restored after {how}");
        trimtab.ticks(2);
        assert!(trimtab.shown().iter().all(|guest| guest.originals.is_empty()), "{:?}", trimtab.shown());
        trimtab.stop().unwrap();
        trimtab = stage.daemon(quick("enforce"));
        trimtab.ctl(&["pause"]).unwrap();
    }
    pulse.beats();
    trimtab.stop().unwrap();
}
