//! The noisy neighbour: an O_DIRECT writer and two burners on two CPUs.

use super::world::World;
use trimtab_policy::config::PolicyConfig;
use trimtab_policy::decision::{Mode, Verdict};
use trimtab_policy::engine::Command;

#[test]
fn heavier_writer_gets_better_within_30_s() {
    let (mut w, writer, a, b) = World::neighbours(2048, Mode::Enforce, 1);
    let before = w.measure(writer, 5).0;
    w.seconds(25);
    assert!(w.count(Verdict::Kept) >= 1, "{}", w.story());
    let after = w.measure(writer, 10).0;
    assert!(after >= 1.4 * before, "{before:.3e} -> {after:.3e}\n{}", w.story());
    let (ca, cb) = (w.measure(a, 5).1, w.measure(b, 5).1);
    assert!(ca >= 0.45 && cb >= 0.45, "burners fell to {ca:.2} and {cb:.2}\n{}", w.story());
    w.assert_clean();
}

#[test]
fn equal_weights_keep_the_floor() {
    let (mut w, writer, a, b) = World::neighbours(1024, Mode::Enforce, 1);
    w.seconds(120);
    let rates = [writer, a, b].map(|g| w.measure(g, 10).1);
    assert!(rates[1] >= 0.58 && rates[2] >= 0.58, "{rates:?}\n{}", w.story());
    w.assert_clean();
}

/// Two equal burners trade what is left between them by chance: that must not pass for harm to one of them. On this host the
/// first step of the shares brings both to within some 3 % of their floor, on either side.
#[test]
fn equal_weights_gain_within_their_floors() {
    let gain = |seed| {
        let (mut w, writer, ..) = World::neighbours(1024, Mode::Enforce, seed);
        let before = w.measure(writer, 10).0;
        w.seconds(150);
        w.assert_clean();
        w.measure(writer, 10).0 / before
    };
    let gains: Vec<f64> = (1..=10).map(gain).collect();
    assert!(gains.iter().filter(|&&g| g >= 1.15).count() >= 4, "{gains:?}");
}

#[test]
fn observe_and_advise_change_nothing() {
    for mode in [Mode::Observe, Mode::Advise] {
        let (mut w, ..) = World::neighbours(2048, mode, 3);
        w.seconds(60);
        w.assert_clean();
        assert_eq!(w.writes, 0);
        assert_eq!(w.count(Verdict::Advised), usize::from(mode == Mode::Advise), "{}", w.story());
    }
}

#[test]
fn a_reload_changes_the_mode_only_if_the_file_does() {
    let (mut w, ..) = World::neighbours(2048, Mode::Observe, 1);
    let file = |mode| Command::Reconfigure(Box::new(PolicyConfig { mode, ..PolicyConfig::default() }));
    w.command(Command::SetMode(Mode::Enforce));
    w.command(file(Mode::Observe));
    assert_eq!((w.engine.mode(), w.engine.config().mode), (Mode::Enforce, Mode::Enforce));
    w.command(file(Mode::Advise));
    assert_eq!(w.engine.mode(), Mode::Advise);
    w.command(Command::SetMode(Mode::Enforce));
    w.command(file(Mode::Observe));
    assert_eq!(w.engine.mode(), Mode::Observe);
}

#[test]
fn restore_puts_everything_back() {
    let (mut w, writer, ..) = World::neighbours(2048, Mode::Enforce, 1);
    w.seconds(40);
    assert!(!w.at_originals() && w.engine.originals().count() > 0);
    let lines = w.command(Command::Restore(Some(writer)));
    assert!(lines.iter().any(|l| l.starts_with("vcpu0.affinity of writer: 0 -> 0-1")), "{lines:?}");
    w.command(Command::Restore(None));
    assert!(w.at_originals() && w.lint.originals.is_empty(), "{}", w.story());
    w.assert_clean();
}

#[test]
fn what_is_restored_is_reverted_in_the_journal() {
    for crash in [false, true] {
        let (mut w, writer, ..) = World::neighbours(2048, Mode::Enforce, 1);
        w.seconds(40);
        assert!(w.count(Verdict::Kept) > 0, "{}", w.story());
        if crash {
            w.crash();
            w.seconds(3);
        }
        w.command(Command::Restore(Some(writer)));
        let kept: Vec<_> = w.decisions().filter(|d| d.verdict == Verdict::Kept).collect();
        assert!(
            kept.iter().all(|d| d.outcome.ends_with("; the knobs of writer were restored by command")),
            "those that turned knobs of others too stand\n{}",
            w.story()
        );
        w.command(Command::Restore(None));
        assert_eq!(w.count(Verdict::Kept), 0, "{}", w.story());
        let said = |d: &&trimtab_policy::decision::Decision| {
            d.outcome.starts_with("reverted: restored by command; before that, kept: ") && d.closed.is_some()
        };
        assert!(w.decisions().any(|d| said(&d)), "{}", w.story());
        w.assert_clean();
    }
}

#[test]
fn what_the_admin_undid_is_not_done_again_soon() {
    let (mut w, ..) = World::neighbours(2048, Mode::Enforce, 1);
    w.seconds(30);
    let kept = w.decisions().rfind(|d| d.verdict == Verdict::Kept).unwrap().clone();
    w.command(Command::Revert(Box::new(kept.clone())));
    let again = |w: &World| {
        w.decisions()
            .filter(|d| d.id > kept.id && d.profile == kept.profile && d.recipe == kept.recipe)
            .count()
    };
    w.seconds(300);
    assert_eq!(again(&w), 0, "{}", w.story());
    w.crash();
    w.seconds(60);
    assert_eq!(again(&w), 0, "remembered across a restart\n{}", w.story());
    w.assert_clean();
}

#[test]
fn a_kept_decision_is_reverted_by_number() {
    let (mut w, ..) = World::neighbours(2048, Mode::Enforce, 1);
    w.seconds(30);
    let kept = w.decisions().rfind(|d| d.verdict == Verdict::Kept).unwrap().clone();
    w.command(Command::Pause);
    w.command(Command::Revert(Box::new(kept.clone())));
    assert_eq!(w.lint.decisions[&kept.id].verdict, Verdict::Reverted);
    for c in &kept.changes {
        assert_eq!(w.host.guests[&c.guest].knobs[&c.knob], c.from, "{}", w.story());
    }
    w.assert_clean();
}
