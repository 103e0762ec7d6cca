//! The live objective: weighted speedup under an entitlement floor (docs/algorithms/objective.md).
//!
//! objective = sum(w_i s_i) / sum(w_i) over active guests, s_i the estimated speed relative to running alone. The score is
//! a table that a human can print: one term per guest with what it got, wants, is entitled to and whether that is below
//! the floor. May not: decide.

use crate::units::GuestId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Least speed that is told apart from none.
const SPEED_MIN: f64 = 0.01;

/// What the objective needs to know of one active guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Party {
    /// Who.
    pub guest: GuestId,
    /// Present name.
    pub name: String,
    /// Weight from the metadata.
    pub weight: u32,
    /// Estimated speed relative to running alone, 0..=1.
    pub speed: f64,
    /// CPU that it gets, in CPUs.
    pub run: f64,
    /// CPU that its threads wait for, in CPUs.
    pub wait: f64,
}

impl Party {
    /// CPU that it would use alone. One that starves has no speed to scale up by: it wants what it waits for.
    fn want(&self) -> f64 {
        if self.speed > SPEED_MIN { self.run / self.speed } else { self.run + self.wait }
    }
}

/// One guest's line in the score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// Who, and what was measured.
    pub party: Party,
    /// CPU that it would use alone: what it gets now, scaled up by what it loses now.
    pub want: f64,
    /// Its weight's share of the host, in CPUs.
    pub entitled: f64,
    /// Least CPU that it must get: the floor's part of the smaller of `want` and `entitled`.
    pub floor: f64,
}

impl Term {
    /// Whether the guest gets less than its floor.
    pub fn is_below(&self) -> bool {
        self.party.run < self.floor - 1e-9
    }
    /// CPU missing to the floor, zero if none.
    pub fn missing(&self) -> f64 {
        (self.floor - self.party.run).max(0.0)
    }
}

/// The objective and how it came about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The objective, 0..=1; absent when no guest is active.
    pub value: Option<f64>,
    /// One term per active guest, in order of identity.
    pub terms: Vec<Term>,
}

impl Score {
    /// Guests below their floor.
    pub fn below(&self) -> impl Iterator<Item = &Term> {
        self.terms.iter().filter(|t| t.is_below())
    }
    /// The term of one guest.
    pub fn term(&self, guest: GuestId) -> Option<&Term> {
        self.terms.iter().find(|t| t.party.guest == guest)
    }
}

/// Scores active guests that share `capacity` CPUs. `floor_pct` is the part of the entitlement that nobody may fall below.
///
/// The capacity is what the host delivers to guests or leaves idle, which is less than its number of CPUs where other
/// processes run or where the host is itself a guest that is robbed of time.
pub fn score(parties: Vec<Party>, capacity: f64, floor_pct: f64) -> Score {
    let weights: f64 = parties.iter().map(|p| f64::from(p.weight)).sum();
    if weights <= 0.0 {
        return Score::default();
    }
    let value = parties.iter().map(|p| f64::from(p.weight) * p.speed).sum::<f64>() / weights;
    let terms = parties
        .into_iter()
        .map(|party| {
            let want = party.want().min(capacity);
            let entitled = capacity * f64::from(party.weight) / weights;
            Term { floor: floor_pct / 100.0 * want.min(entitled), want, entitled, party }
        })
        .collect();
    Score { value: Some(value), terms }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<20} {:>7} {:>6} {:>6} {:>6} {:>8} {:>6}",
            "guest", "weight", "speed", "run", "want", "entitled", "floor"
        )?;
        for t in &self.terms {
            let p = &t.party;
            let mark = if t.is_below() { "  below its floor" } else { "" };
            writeln!(
                f,
                "{:<20} {:>7} {:>6.3} {:>6.2} {:>6.2} {:>8.2} {:>6.2}{mark}",
                p.name, p.weight, p.speed, p.run, t.want, t.entitled, t.floor
            )?;
        }
        match self.value {
            Some(value) => write!(f, "objective {value:.3}"),
            None => f.write_str("objective absent: no guest is active"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(n: u8, weight: u32, speed: f64, run: f64) -> Party {
        Party { guest: GuestId([n; 16]), name: format!("g{n}"), weight, speed, run, wait: 0.0 }
    }

    #[test]
    fn objective_is_the_weighted_mean_of_speeds() {
        let s = score(
            vec![party(1, 2048, 0.5, 0.59), party(2, 1024, 0.35, 0.7), party(3, 1024, 0.35, 0.7)],
            2.0,
            90.0,
        );
        assert!((s.value.unwrap() - 0.425).abs() < 1e-12);
        assert_eq!(score(vec![], 2.0, 90.0), Score::default());
    }

    #[test]
    fn floor_is_of_the_smaller_of_want_and_entitlement() {
        let s = score(
            vec![party(1, 1024, 0.25, 0.5), party(2, 1024, 1.0, 0.1), party(3, 1024, 0.5, 0.7)],
            2.0,
            90.0,
        );
        let below: Vec<&str> = s.below().map(|t| t.party.name.as_str()).collect();
        assert_eq!(below, ["g1"], "g2 has all it wants, g3 has its share: {s}");
        assert!((s.terms[0].floor - 0.6).abs() < 1e-12);
        assert!((s.terms[0].missing() - 0.1).abs() < 1e-12);
        assert!(s.to_string().contains("below its floor"));
    }

    #[test]
    fn who_gets_nothing_is_below_its_floor() {
        let starving = Party { wait: 1.0, ..party(1, 1024, 0.01, 0.0) };
        let s = score(vec![starving, party(2, 1024, 1.0, 1.9)], 2.0, 90.0);
        assert!((s.terms[0].want - 1.0).abs() < 1e-12 && s.terms[0].is_below(), "{s}");
    }
}
