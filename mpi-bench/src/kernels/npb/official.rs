//! The judgement of all kernels that compute real numbers: each within a relative distance of its official value.

use crate::kernel::Check;

/// One number of the result beside the value that NPB gives for the class.
pub(super) struct Compared {
    /// Name in messages: `zeta`, `residual 3`.
    pub(super) what: String,
    /// As computed.
    pub(super) found: f64,
    /// NPB's.
    pub(super) official: f64,
}

impl Compared {
    pub(super) fn new(what: impl Into<String>, found: f64, official: f64) -> Self {
        Self { what: what.into(), found, official }
    }

    fn deviation(&self) -> f64 {
        ((self.found - self.official) / self.official).abs()
    }
}

/// Passes when every relative deviation is at most `limit`; a NaN fails. The message tells of the worst.
pub(super) fn judge(all: &[Compared], limit: f64) -> Check {
    let rank = |c: &&Compared| if c.deviation().is_nan() { f64::INFINITY } else { c.deviation() };
    let Some(worst) = all.iter().max_by(|a, b| rank(a).total_cmp(&rank(b))) else {
        return Check { passed: false, residual: None, detail: "nothing to compare".to_owned() };
    };
    let what = format!("{} = {:.15e}, official {:.15e}: deviation", worst.what, worst.found, worst.official);
    Check::at_most(&what, worst.deviation(), limit)
}

#[cfg(test)]
mod tests {
    use super::{Compared, judge};

    #[test]
    fn the_worst_counts_and_nan_fails() {
        let good = || Compared::new("good", 2.0, 2.0);
        assert!(judge(&[good(), Compared::new("near", 1.0 + 1e-9, 1.0)], 1e-8).passed);
        let far = judge(&[good(), Compared::new("far", -3.1, -3.0), good()], 1e-8);
        assert!(!far.passed && far.detail.contains("far"));
        assert!(!judge(&[good(), Compared::new("lost", f64::NAN, 1.0)], 1e-8).passed);
        assert!(!judge(&[], 1e-8).passed);
    }
}
