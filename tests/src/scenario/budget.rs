//! The demo's time: what is left of it for Trimtab's trials on this machine. Pure.

use std::time::Duration;

/// More brings nothing that the demo shows.
const LONGEST: Duration = Duration::from_secs(60);
/// Less is too short for a first verdict.
const LEAST: Duration = Duration::from_secs(25);

/// What has to fit, from what has been measured of this machine so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// For everything.
    pub limit: Duration,
    /// For what comes after the last round.
    pub closing: Duration,
    /// For a round, without the time that Trimtab takes in it.
    pub round: Duration,
}

impl Budget {
    /// How many of the `wanted` rounds fit in after `elapsed`, and how long Trimtab may take in the next.
    pub fn rounds(&self, elapsed: Duration, wanted: usize) -> (usize, Duration) {
        for rounds in (1..=wanted).rev() {
            let n = rounds as u32;
            let each = self.limit.saturating_sub(elapsed + self.closing + self.round * n) / n;
            if each >= LEAST {
                return (rounds, each.min(LONGEST));
            }
        }
        (0, Duration::ZERO)
    }

    /// When `rounds` have to begin so that Trimtab has time in them.
    pub fn begin(&self, rounds: usize) -> Duration {
        let each = self.round + (LEAST + LONGEST) / 2;
        self.limit.saturating_sub(self.closing + each * rounds as u32)
    }
}

/// How long Trimtab may take in the first round, so that `rest` of the round ends within `limit`.
pub fn first(limit: Duration, elapsed: Duration, rest: Duration) -> Duration {
    limit.saturating_sub(elapsed + rest).clamp(LEAST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const BUDGET: Budget = Budget {
        limit: Duration::from_secs(480),
        closing: Duration::from_secs(45),
        round: Duration::from_secs(25),
    };

    #[test]
    fn patience_shrinks_with_the_time_left_and_then_the_rounds_do() {
        assert_eq!(BUDGET.rounds(210 * S, 2), (2, 60 * S));
        assert_eq!(BUDGET.rounds(305 * S, 2), (2, 40 * S));
        assert_eq!(BUDGET.rounds(345 * S, 2), (1, 60 * S));
        assert_eq!(BUDGET.rounds(400 * S, 2), (0, Duration::ZERO));
        assert_eq!(BUDGET.rounds(210 * S, 0).0, 0);
        for elapsed in (0..480).step_by(7) {
            let (rounds, each) = BUDGET.rounds(elapsed * S, 3);
            let end = elapsed * S + (each + BUDGET.round) * rounds as u32 + BUDGET.closing;
            assert!(rounds == 0 || end <= BUDGET.limit, "{elapsed}: {rounds} of {each:?}");
        }
    }

    #[test]
    fn rounds_that_begin_in_time_all_fit() {
        let (rounds, each) = BUDGET.rounds(BUDGET.begin(2), 2);
        assert!(rounds == 2 && each >= LEAST, "{each:?}");
        assert_eq!(first(180 * S, 55 * S, 20 * S), 60 * S);
        assert_eq!(first(180 * S, 120 * S, 20 * S), 40 * S);
        assert_eq!(first(180 * S, 200 * S, 20 * S), LEAST, "late, but not for nothing");
    }
}
