//! Mean, confidence interval and ratio of samples. Pure.
//!
//! The interval of a mean is Student's t at 95 %. The ratio of two means uses the delta method on logarithms with Welch's
//! degrees of freedom: laps of two machines have different variances.

/// Mean and spread of a set of samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Number of samples, at least 1.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation of the sample (n - 1); 0 for one sample.
    pub sd: f64,
}

/// Summary of the samples; `None` if there are none.
#[must_use]
pub fn summary(samples: &[f64]) -> Option<Summary> {
    if samples.is_empty() {
        return None;
    }
    let n = samples.len();
    let mean = samples.iter().sum::<f64>() / n as f64;
    let squares: f64 = samples.iter().map(|x| (x - mean).powi(2)).sum();
    let sd = if n > 1 { (squares / (n - 1) as f64).sqrt() } else { 0.0 };
    Some(Summary { n, mean, sd })
}

impl Summary {
    /// Half the width of the 95 % interval of the mean; `None` for one sample.
    #[must_use]
    pub fn half_width(&self) -> Option<f64> {
        (self.n > 1).then(|| t_975((self.n - 1) as f64) * self.sd / (self.n as f64).sqrt())
    }

    /// The 95 % interval of the mean; `None` for one sample.
    #[must_use]
    pub fn ci95(&self) -> Option<[f64; 2]> {
        self.half_width().map(|h| [self.mean - h, self.mean + h])
    }
}

/// Ratio `numerator / denominator` of two means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The ratio.
    pub value: f64,
    /// Its 95 % interval; `None` when one side has a single sample.
    pub ci95: Option<[f64; 2]>,
}

/// Ratio of the means; `None` unless both means are above 0.
#[must_use]
pub fn ratio(numerator: &Summary, denominator: &Summary) -> Option<Ratio> {
    if !(numerator.mean > 0.0 && denominator.mean > 0.0) {
        return None;
    }
    let value = numerator.mean / denominator.mean;
    if numerator.n < 2 || denominator.n < 2 {
        return Some(Ratio { value, ci95: None });
    }
    let part = |s: &Summary| (s.sd / s.mean).powi(2) / s.n as f64;
    let (a, b) = (part(numerator), part(denominator));
    if a + b == 0.0 {
        return Some(Ratio { value, ci95: Some([value, value]) });
    }
    let degrees = (a + b).powi(2) / (a * a / (numerator.n - 1) as f64 + b * b / (denominator.n - 1) as f64);
    let spread = (t_975(degrees) * (a + b).sqrt()).exp();
    Some(Ratio { value, ci95: Some([value / spread, value * spread]) })
}

/// Value below which the share `p` (0..=1) of the samples lies: nearest rank on a sorted slice, as OSU's P99 does.
/// `None` if empty.
#[must_use]
pub fn percentile(sorted: &[f64], p: f64) -> Option<f64> {
    let rank = (p * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied()
}

/// 97.5 % quantile of Student's t. Exact to 3 digits for 1 to 4 degrees (table), the Cornish-Fisher expansion above.
fn t_975(degrees: f64) -> f64 {
    const SMALL: [f64; 5] = [12.706, 12.706, 4.303, 3.182, 2.776];
    if degrees < 5.0 {
        let low = degrees.floor().max(1.0);
        let at = low as usize;
        let next = if at < 4 { SMALL[at + 1] } else { expansion(5.0) };
        return SMALL[at] + (next - SMALL[at]) * (degrees - low).max(0.0);
    }
    expansion(degrees)
}

fn expansion(v: f64) -> f64 {
    let z = 1.959_964_f64;
    let (z3, z5, z7) = (z.powi(3), z.powi(5), z.powi(7));
    let g1 = (z3 + z) / 4.0;
    let g2 = (5.0 * z5 + 16.0 * z3 + 3.0 * z) / 96.0;
    let g3 = (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / 384.0;
    z + g1 / v + g2 / v.powi(2) + g3 / v.powi(3)
}

#[cfg(test)]
mod tests {
    use super::{percentile, ratio, summary, t_975};

    #[test]
    fn t_quantiles_match_the_printed_table() {
        for (degrees, t) in
            [(1.0, 12.706), (2.0, 4.303), (4.0, 2.776), (5.0, 2.571), (10.0, 2.228), (30.0, 2.042)]
        {
            assert!((t_975(degrees) - t).abs() < 0.004, "{degrees}: {} != {t}", t_975(degrees));
        }
    }

    #[test]
    fn interval_of_a_known_sample() {
        let s = summary(&[1.0, 2.0, 3.0]).expect("three samples");
        assert_eq!((s.n, s.mean, s.sd), (3, 2.0, 1.0));
        let [low, high] = s.ci95().expect("three samples");
        assert!((low - (2.0 - 4.303 / 3f64.sqrt())).abs() < 1e-3 && (high + low - 4.0).abs() < 1e-12);
        assert_eq!(summary(&[5.0]).and_then(|s| s.ci95()), None);
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn ratio_holds_the_truth_and_needs_two_samples() {
        let a = summary(&[2.0, 2.02, 1.98, 2.01]).expect("samples");
        let b = summary(&[1.0, 1.01, 0.99, 1.0]).expect("samples");
        let r = ratio(&a, &b).expect("positive");
        let [low, high] = r.ci95.expect("enough samples");
        assert!(low < 2.0 && 2.0 < high && high - low < 0.1, "{r:?}");
        let one = summary(&[1.0]).expect("sample");
        assert_eq!(ratio(&a, &one).and_then(|r| r.ci95), None);
    }

    #[test]
    fn percentile_is_the_nearest_rank() {
        let v: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&v, 0.99), Some(99.0));
        assert_eq!(percentile(&v, 1.0), Some(100.0));
        assert_eq!(percentile(&[7.0], 0.5), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
