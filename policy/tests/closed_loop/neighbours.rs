//! The noisy neighbour: an O_DIRECT writer and two burners on two CPUs.

use super::world::World;
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
