//! The trial's error rates stay within the bounds that docs/algorithms/trial.md promises: some 35,000 synthetic trials.

#[path = "../examples/trial_rates/sim.rs"]
mod sim;

use sim::{Kind, Normal, run};

fn kept(gain: f64, noise: f64, rho: f64, before: usize) -> f64 {
    run(Kind { gain, noise, rho, before, cured: false }, 1_000, &mut Normal::new(7)).kept_rate()
}

#[test]
fn changes_that_bring_nothing_are_rarely_kept() {
    for before in [5, 12, 24] {
        for noise in [0.03, 0.10, 0.20] {
            for (rho, bound) in [(0.0, 0.06), (0.3, 0.07), (0.6, 0.10)] {
                let rate = kept(0.0, noise, rho, before);
                assert!(rate <= bound, "noise {noise}, rho {rho}, {before} s before: {rate} > {bound}");
            }
        }
    }
}

#[test]
fn harmful_changes_are_hardly_ever_kept() {
    for (noise, rho) in [(0.05, 0.3), (0.10, 0.6)] {
        let rate = kept(-0.10, noise, rho, 5);
        assert!(rate <= 0.02, "noise {noise}, rho {rho}: {rate}");
    }
}

#[test]
fn cures_that_cost_much_are_hardly_ever_kept() {
    let kept = |gain, noise| {
        let kind = Kind { gain, noise, rho: 0.3, before: 5, cured: true };
        run(kind, 1_000, &mut Normal::new(7)).kept_rate()
    };
    assert!(kept(-0.10, 0.03) <= 0.05 && kept(-0.20, 0.05) <= 0.02);
    assert!(kept(0.0, 0.03) >= 0.85 && kept(0.0, 0.01) >= 0.95);
}

#[test]
fn clear_gains_are_rarely_reverted() {
    for (gain, noise, bound) in
        [(0.05, 0.01, 0.90), (0.10, 0.03, 0.80), (0.20, 0.05, 0.85), (0.50, 0.10, 0.90)]
    {
        let rate = kept(gain, noise, 0.3, 5);
        assert!(rate >= bound, "gain {gain}, noise {noise}: {rate} < {bound}");
    }
}
