//! Keep or revert: the noise-aware test of a trial (docs/algorithms/trial.md, with measured error rates).
//!
//! Problem: a few seconds of a noisy, autocorrelated objective before and after a change; did it help by more than noise?
//! Approach: Welch's t on the two means with the variance of a mean enlarged for autocorrelation (lag-1 coefficient pooled
//! over both windows and drawn towards a prior, because six samples cannot tell it), looked at several times while the
//! window after grows. Kept only if the lower confidence bound is above zero and the estimate above the least gain; an
//! answer that stays open at the last look is a revert, because the state before is the one known to be harmless.
//! May not: know about knobs or guests.

use crate::config::TrialConfig;

/// Prior of the lag-1 autocorrelation of the objective at 1 s ticks, and how many samples it is worth. Throughput of a disk
/// and load balancing of the kernel both have memory of about a second.
const PRIOR_RHO: f64 = 0.3;
const PRIOR_SAMPLES: f64 = 12.0;
/// Relative standard deviation that is assumed at least: a handful of samples may agree by chance.
const NOISE_MIN: f64 = 0.01;

/// What the test must respect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Least relative gain that is worth keeping.
    pub min_gain: f64,
    /// One-sided confidence at each look, 0.5..1.
    pub confidence: f64,
    /// No further look will follow.
    pub last_look: bool,
    /// The change only undoes former changes of ours: kept unless it is worse.
    pub undoes: bool,
    /// The change was made to bring guests back to their floors, and it did so without pushing anybody else below.
    pub cured: bool,
}

/// Each look comes after so many times the window of the look before.
const LOOK_GROWTH: f64 = 1.5;

/// Whether an open trial is looked at now: the first time after `after_ms`, then each time when the window is half as long
/// again, the last time when `after_max_ms` is reached. Few looks, because every look is one more chance to be fooled.
///
/// `measured_ms` is the length of the window after, `looks` how often was looked already. `Some(true)` is the last look.
pub fn look_due(measured_ms: u64, looks: u64, config: &TrialConfig) -> Option<bool> {
    let times = LOOK_GROWTH.powi(i32::try_from(looks).unwrap_or(i32::MAX));
    let due_ms = (config.after_ms as f64 * times).min(config.after_max_ms as f64);
    (measured_ms as f64 >= due_ms).then_some(measured_ms >= config.after_max_ms)
}

/// Whether a trial that begins with this window before could tell a gain of `expected` from the noise by its last look, after
/// `after_ticks` samples that are as noisy. A trial that cannot would be reverted whatever it does: better to wait for a longer
/// window before. `false` for fewer than two samples.
pub fn could_tell(before: &[f64], expected: f64, after_ticks: usize, confidence: f64) -> bool {
    let Some(b) = mean(before).filter(|b| *b > 0.0 && before.len() >= 2) else { return false };
    let rho = autocorrelation(before, b, &[], 0.0);
    let (var_b, df_b) = variance_of_mean(before, b, rho);
    let (have, will) = (effective(before.len(), rho), effective(after_ticks, rho));
    let var_a = var_b * have / will;
    half_width((var_b, df_b), (var_a, (will - 1.0).max(1.0)), confidence) / b <= expected
}

/// What the test says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It helped.
    Keep,
    /// It did not help, or that cannot be told.
    Revert,
    /// Measure on.
    Undecided,
}

/// The numbers behind a judgement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Mean before.
    pub before: f64,
    /// Mean after.
    pub after: f64,
    /// Relative gain.
    pub gain: f64,
    /// Lower bound of the gain at the rule's confidence.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl Evidence {
    /// Standard error of the gain, roughly: at the usual confidence the bounds are two of them away, or more if samples are few.
    pub fn error(&self) -> f64 {
        (self.high - self.low) / 4.0
    }
}

/// Compares the objective's samples after a change with those before. `None` if a window has fewer than two samples or the
/// objective was not positive before.
pub fn judge(before: &[f64], after: &[f64], rule: &Rule) -> Option<(Judgement, Evidence)> {
    let (b, a) = (mean(before)?, mean(after)?);
    if b <= 0.0 || before.len() < 2 || after.len() < 2 {
        return None;
    }
    let rho = autocorrelation(before, b, after, a);
    let (var_b, df_b) = variance_of_mean(before, b, rho);
    let (var_a, df_a) = variance_of_mean(after, a, rho);
    let half = half_width((var_b, df_b), (var_a, df_a), rule.confidence) / b;
    let gain = a / b - 1.0;
    let evidence = Evidence { before: b, after: a, gain, low: gain - half, high: gain + half };
    Some((decide(&evidence, rule), evidence))
}

/// Half the confidence interval of the difference of two means, each given by its variance and degrees of freedom (Welch).
fn half_width((var_b, df_b): (f64, f64), (var_a, df_a): (f64, f64), confidence: f64) -> f64 {
    let var = var_a + var_b;
    let df = (var * var / (var_b * var_b / df_b + var_a * var_a / df_a)).max(1.0);
    t_quantile(confidence, df) * var.sqrt()
}

/// Mean of a few autocorrelated samples and its standard error; `None` for fewer than two. `others` are earlier samples of the
/// same quantity, about a mean of their own: what a few samples cannot tell of noise and memory, a longer series can.
pub fn mean_and_error(samples: &[f64], others: &[f64]) -> Option<(f64, f64)> {
    let m = mean(samples).filter(|_| samples.len() >= 2)?;
    let o = mean(others).unwrap_or_default();
    let rho = autocorrelation(samples, m, others, o);
    let (mut sigma2, df) = noise(samples, m, rho);
    if others.len() >= 2 {
        let (others2, others_df) = noise(others, o, rho);
        sigma2 = (sigma2 * df + others2 * others_df) / (df + others_df);
    }
    Some((m, (sigma2 / effective(samples.len(), rho)).sqrt()))
}

fn decide(e: &Evidence, rule: &Rule) -> Judgement {
    if rule.undoes {
        return match (e.high < 0.0 || e.gain < -rule.min_gain, e.low > -rule.min_gain || rule.last_look) {
            (true, _) if e.high < 0.0 || rule.last_look => Judgement::Revert,
            (false, true) => Judgement::Keep,
            _ => Judgement::Undecided,
        };
    }
    // A floor is worth what noise could hide and less than the least gain, no more.
    let affordable = rule.cured && e.high >= 0.0 && e.gain > -rule.min_gain;
    if affordable || (e.low > 0.0 && e.gain >= rule.min_gain) {
        Judgement::Keep
    } else if e.high < rule.min_gain || rule.last_look {
        Judgement::Revert
    } else {
        Judgement::Undecided
    }
}

fn mean(samples: &[f64]) -> Option<f64> {
    (!samples.is_empty()).then(|| samples.iter().sum::<f64>() / samples.len() as f64)
}

/// Lag-1 coefficient of the residuals of both windows, corrected for the bias of short series, drawn to the prior.
fn autocorrelation(before: &[f64], b: f64, after: &[f64], a: f64) -> f64 {
    let (mut products, mut squares) = (0.0, 0.0);
    for (samples, mean) in [(before, b), (after, a)] {
        squares += samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        products += samples.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum::<f64>();
    }
    let n = (before.len() + after.len()) as f64;
    let raw = if squares > 0.0 { products / squares } else { 0.0 };
    // Subtracting each window's mean pulls the estimate down by about (1 + 3 rho) / n per window (Kendall).
    let windows = if after.is_empty() { 1.0 } else { 2.0 };
    let unbiased = raw + windows * (1.0 + 3.0 * raw.max(0.0)) / n;
    ((unbiased * n + PRIOR_RHO * PRIOR_SAMPLES) / (n + PRIOR_SAMPLES)).clamp(0.0, 0.9)
}

/// Variance of the mean of an AR(1) series, and the degrees of freedom that remain.
fn variance_of_mean(samples: &[f64], mean: f64, rho: f64) -> (f64, f64) {
    let (sigma2, df) = noise(samples, mean, rho);
    (sigma2 / effective(samples.len(), rho), df)
}

/// Variance of one sample of an AR(1) series, and its degrees of freedom.
fn noise(samples: &[f64], mean: f64, rho: f64) -> (f64, f64) {
    let n = samples.len() as f64;
    let effective = effective(samples.len(), rho);
    let sum: f64 = samples.iter().map(|x| (x - mean).powi(2)).sum();
    // E[sum] = sigma^2 (n - n/effective) for a correlated series.
    let sigma2 = (sum / (n - n / effective).max(1.0)).max((NOISE_MIN * mean).powi(2));
    (sigma2, (effective - 1.0).max(1.0))
}

/// As how many independent samples `n` of an AR(1) series count.
fn effective(n: usize, rho: f64) -> f64 {
    (n as f64 * (1.0 - rho) / (1.0 + rho)).max(1.5)
}

/// Quantile of Student's t with (real) `df >= 1` degrees of freedom for `p` in 0.5..1 (Hill 1970, CACM algorithm 396).
fn t_quantile(p: f64, df: f64) -> f64 {
    let two_tailed = 2.0 * (1.0 - p);
    if (df - 1.0).abs() < 1e-9 {
        let x = two_tailed * std::f64::consts::FRAC_PI_2;
        return x.cos() / x.sin();
    }
    if (df - 2.0).abs() < 1e-9 {
        return (2.0 / (two_tailed * (2.0 - two_tailed)) - 2.0).sqrt();
    }
    let a = 1.0 / (df - 0.5);
    let b = 48.0 / (a * a);
    let mut c = ((20_700.0 * a / b - 98.0) * a - 16.0) * a + 96.36;
    let d = ((94.5 / (b + c) - 3.0) / b + 1.0) * (a * std::f64::consts::FRAC_PI_2).sqrt() * df;
    let mut x = d * two_tailed;
    let mut y = x.powf(2.0 / df);
    if y > 0.05 + a {
        x = normal_quantile(two_tailed * 0.5);
        y = x * x;
        if df < 5.0 {
            c += 0.3 * (df - 4.5) * (x + 0.6);
        }
        c += (((0.05 * d * x - 5.0) * x - 7.0) * x - 2.0) * x + b;
        y = (((((0.4 * y + 6.3) * y + 36.0) * y + 94.5) / c - y - 3.0) / b + 1.0) * x;
        y = a * y * y;
        y = if y > 0.002 { y.exp() - 1.0 } else { 0.5 * y * y + y };
    } else {
        y = ((1.0 / (((df + 6.0) / (df * y) - 0.089 * d - 0.822) * (df + 2.0) * 3.0) + 0.5 / (df + 4.0)) * y
            - 1.0)
            * (df + 1.0)
            / (df + 2.0)
            + 1.0 / y;
    }
    (df * y).sqrt()
}

/// Quantile of the standard normal for small `p` (negative result), Abramowitz and Stegun 26.2.23, error < 4.5e-4.
fn normal_quantile(p: f64) -> f64 {
    let t = (-2.0 * p.ln()).sqrt();
    let numerator = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let denominator = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    -(t - numerator / denominator)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule =
        Rule { min_gain: 0.03, confidence: 0.95, last_look: false, undoes: false, cured: false };

    #[test]
    fn t_quantiles_match_the_tables() {
        for (p, df, expected) in [
            (0.95, 1.0, 6.314),
            (0.95, 2.0, 2.920),
            (0.95, 3.0, 2.353),
            (0.95, 5.0, 2.015),
            (0.95, 10.0, 1.812),
            (0.975, 4.0, 2.776),
            (0.99, 7.0, 2.998),
            (0.9, 30.0, 1.310),
        ] {
            let got = t_quantile(p, df);
            assert!((got - expected).abs() < 0.01, "t({p}, {df}) = {got}, tables say {expected}");
        }
    }

    #[test]
    fn clear_gain_is_kept_clear_loss_reverted() {
        let before = [0.40, 0.41, 0.39, 0.40, 0.40];
        let (j, e) = judge(&before, &[0.60, 0.62, 0.61, 0.60, 0.61, 0.62], &RULE).unwrap();
        assert_eq!(j, Judgement::Keep);
        assert!(e.low > 0.4 && e.high < 0.65, "{e:?}");
        let (j, _) = judge(&before, &[0.35, 0.36, 0.35, 0.34, 0.35, 0.36], &RULE).unwrap();
        assert_eq!(j, Judgement::Revert);
    }

    #[test]
    fn noise_is_undecided_then_reverted() {
        let (before, after) = ([0.4, 0.5, 0.3, 0.45, 0.35], [0.45, 0.5, 0.35, 0.4, 0.38, 0.5]);
        assert_eq!(judge(&before, &after, &RULE).unwrap().0, Judgement::Undecided);
        let last = Rule { last_look: true, ..RULE };
        assert_eq!(judge(&before, &after, &last).unwrap().0, Judgement::Revert);
    }

    #[test]
    fn a_cure_may_cost_what_noise_could_hide() {
        let (before, cured) = ([0.40, 0.41, 0.39, 0.40, 0.40], Rule { cured: true, last_look: true, ..RULE });
        let of = |after: &[f64], rule: &Rule| judge(&before, after, rule).unwrap().0;
        assert_eq!(of(&[0.40, 0.39, 0.40, 0.40, 0.39, 0.40], &cured), Judgement::Keep);
        assert_eq!(
            of(&[0.40, 0.39, 0.40, 0.40, 0.39, 0.40], &Rule { cured: false, ..cured }),
            Judgement::Revert
        );
        // Clearly less, and less by more than the least gain within much noise: both are too dear.
        assert_eq!(of(&[0.38, 0.38, 0.38, 0.38, 0.38, 0.38], &cured), Judgement::Revert);
        assert_eq!(of(&[0.30, 0.46, 0.28, 0.50, 0.30, 0.46], &cured), Judgement::Revert);
    }

    #[test]
    fn a_longer_window_before_can_tell_smaller_gains() {
        let wobble: Vec<f64> = (0..24).map(|n| 0.4 * (1.0 + 0.1 * f64::from(n * 7 % 5 - 2))).collect();
        let tells = |ticks: usize, gain: f64| could_tell(&wobble[..ticks], gain, 30, 0.98);
        assert!(tells(5, 0.5) && tells(24, 0.2));
        assert!(!tells(5, 0.15) && tells(24, 0.15), "only with a longer window");
        assert!(!tells(24, 0.02) && !tells(1, 0.9));
        assert!(!could_tell(&[0.0; 9], 0.9, 30, 0.98), "no objective, nothing to compare with");
    }

    #[test]
    fn a_longer_series_tells_of_noise_that_a_few_samples_hide() {
        // What is left of a CPU goes to one of two guests for eight seconds, then to the other.
        let swings: Vec<f64> = (0..24).map(|n| if n / 8 % 2 == 0 { 0.81 } else { 0.59 }).collect();
        let few = [0.48, 0.50, 0.47, 0.51, 0.49, 0.48, 0.50];
        let (mean, alone) = mean_and_error(&few, &[]).unwrap();
        let (same, error) = mean_and_error(&few, &swings).unwrap();
        assert_eq!(mean, same);
        assert!(alone < 0.02 && error > 0.05, "{alone} {error}");
        assert_eq!(mean_and_error(&[0.5], &swings), None);
    }

    #[test]
    fn looks_are_few() {
        let config = TrialConfig::default();
        let mut taken = Vec::new();
        for second in 0..40u64 {
            if let Some(last) = look_due(second * 1000, taken.len() as u64, &config) {
                taken.push((second, last));
                if last {
                    break;
                }
            }
        }
        assert_eq!(taken, [(6, false), (9, false), (14, false), (21, false), (30, true)]);
    }

    #[test]
    fn too_little_is_no_judgement() {
        assert_eq!(judge(&[0.4], &[0.5, 0.5], &RULE), None);
        assert_eq!(judge(&[0.0, 0.0], &[0.5, 0.5], &RULE), None);
    }

    #[test]
    fn undoing_is_kept_unless_worse() {
        let undo = Rule { undoes: true, last_look: true, ..RULE };
        assert_eq!(judge(&[0.4, 0.41, 0.39], &[0.4, 0.4, 0.41], &undo).unwrap().0, Judgement::Keep);
        assert_eq!(judge(&[0.4, 0.41, 0.39], &[0.2, 0.21, 0.2], &undo).unwrap().0, Judgement::Revert);
    }
}
