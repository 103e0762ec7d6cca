//! Synthetic trials: an AR(1) objective before and after a step of known size, judged as the engine judges, at every tick
//! from the first look to the last.

use trimtab_policy::config::PolicyConfig;
use trimtab_policy::trial::{Judgement, Rule, judge, look_due};

/// One kind of trial.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// True relative gain.
    pub(crate) gain: f64,
    /// Relative standard deviation of one tick.
    pub(crate) noise: f64,
    /// Lag-1 autocorrelation.
    pub(crate) rho: f64,
    /// Ticks in the window before.
    pub(crate) before: usize,
    /// Whether the change brought guests back to their floors.
    pub(crate) cured: bool,
}

/// What became of many trials of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) trials: u32,
    pub(crate) kept: u32,
    /// Sum of the ticks until the verdict.
    pub(crate) ticks: u32,
}

impl Tally {
    pub(crate) fn kept_rate(&self) -> f64 {
        f64::from(self.kept) / f64::from(self.trials)
    }
}

/// xorshift64* with Box-Muller: the same numbers on every machine.
pub(crate) struct Normal(u64);

impl Normal {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
    fn next(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// Runs `trials` trials of one kind under the default configuration.
pub(crate) fn run(kind: Kind, trials: u32, random: &mut Normal) -> Tally {
    let config = PolicyConfig::default();
    let (first, last) =
        ((config.trial.after_ms / 1000) as usize, (config.trial.after_max_ms / 1000) as usize);
    let mut tally = Tally { trials, ..Tally::default() };
    for _ in 0..trials {
        // The series runs on through the change and the settling second, as the host's load does.
        let mut x = random.next();
        let mut tick = || {
            x = kind.rho * x + (1.0 - kind.rho * kind.rho).sqrt() * random.next();
            kind.noise * x
        };
        let before: Vec<f64> = (0..kind.before).map(|_| 0.4 * (1.0 + tick())).collect();
        tick();
        let after: Vec<f64> = (0..last).map(|_| 0.4 * (1.0 + kind.gain) * (1.0 + tick())).collect();
        let mut looks = 0;
        for look in first..=last {
            let Some(last_look) = look_due(look as u64 * 1000, looks, &config.trial) else { continue };
            looks += 1;
            let rule = Rule {
                min_gain: config.arbiter.min_gain_pct / 100.0,
                confidence: config.trial.confidence_pct / 100.0,
                last_look,
                undoes: false,
                cured: kind.cured,
            };
            match judge(&before, &after[..look], &rule).map(|(judgement, _)| judgement) {
                Some(Judgement::Undecided) | None => continue,
                Some(Judgement::Keep) => tally.kept += 1,
                Some(Judgement::Revert) => {}
            }
            tally.ticks += look as u32;
            break;
        }
    }
    tally
}
