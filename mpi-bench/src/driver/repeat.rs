//! When a metric has been measured often enough.

use crate::kernel::Reading;
use crate::stats;

/// Rule for the number of laps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Repeat {
    /// Exactly so many, at least 1.
    Times(u32),
    /// Until the 95 % interval of every metric is within +-`relative_half_width` of its mean, at most `limit` laps.
    Until {
        /// 0.02 for 2 %.
        relative_half_width: f64,
        /// Laps after which it stops whatever the spread.
        limit: u32,
    },
}

/// Fewest laps of [`Repeat::Until`]: with two, chance agreement would end it.
const MIN_LAPS: usize = 3;

impl Repeat {
    /// Are these laps enough? Every lap holds the same readings in the same order.
    #[must_use]
    pub fn satisfied(&self, laps: &[Vec<Reading>]) -> bool {
        match *self {
            Self::Times(n) => laps.len() >= n.max(1) as usize,
            Self::Until { relative_half_width, limit } => {
                laps.len() >= limit as usize
                    || (laps.len() >= MIN_LAPS && widest(laps).is_some_and(|w| w <= relative_half_width))
            }
        }
    }
}

/// The widest relative half width over the metrics; `None` with fewer than two laps.
fn widest(laps: &[Vec<Reading>]) -> Option<f64> {
    let metrics = laps.first()?.len();
    let width = |i: usize| {
        let samples: Vec<f64> = laps.iter().filter_map(|lap| lap.get(i)).map(|r| r.value).collect();
        let summary = stats::summary(&samples)?;
        let half = summary.half_width()?;
        Some(if summary.mean == 0.0 { half } else { half / summary.mean.abs() })
    };
    (0..metrics).map(width).try_fold(0.0_f64, |widest, w| Some(widest.max(w?)))
}

#[cfg(test)]
mod tests {
    use super::Repeat;
    use crate::kernel::Reading;

    fn laps(values: &[f64]) -> Vec<Vec<Reading>> {
        values.iter().map(|&v| vec![Reading::new("x", v)]).collect()
    }

    #[test]
    fn fixed_number() {
        assert!(!Repeat::Times(2).satisfied(&laps(&[1.0])));
        assert!(Repeat::Times(2).satisfied(&laps(&[1.0, 9.0])));
        assert!(!Repeat::Times(0).satisfied(&laps(&[])));
    }

    #[test]
    fn until_narrow_or_out_of_patience() {
        let rule = Repeat::Until { relative_half_width: 0.02, limit: 5 };
        assert!(!rule.satisfied(&laps(&[1.0, 1.0])), "two laps agree by chance");
        assert!(rule.satisfied(&laps(&[1.0, 1.001, 0.999])));
        assert!(!rule.satisfied(&laps(&[1.0, 2.0, 1.5])));
        assert!(rule.satisfied(&laps(&[1.0, 2.0, 1.5, 1.0, 3.0])));
    }
}
