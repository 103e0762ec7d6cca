//! Weighted max-min sharing of CPUs among thread classes with affinities.
//!
//! Problem: how much CPU does each class get when every class may use some CPUs only, wants a limited amount, and the
//! kernel shares by weight? Approach: progressive filling. All classes rise together, each at the speed of its weight,
//! until a set of CPUs is full; the classes confined to it stop there, the others go on. Feasibility is checked on the
//! affinities that occur and their unions (Hall's condition); with more than `UNIONS_MAX` distinct affinities only on
//! the affinities themselves and on the whole, which can only overestimate. Units: CPUs.
//! May not: know about guests.

use std::collections::BTreeSet;

/// Distinct affinities up to which all unions are looked at.
const UNIONS_MAX: usize = 6;

/// A set of CPUs as bits, cheap to compare and unite.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mask(Vec<u64>);

impl Mask {
    pub(crate) fn of(cpus: impl IntoIterator<Item = u32>) -> Self {
        let mut words = Vec::new();
        for cpu in cpus {
            let word = (cpu / 64) as usize;
            if words.len() <= word {
                words.resize(word + 1, 0u64);
            }
            words[word] |= 1 << (cpu % 64);
        }
        Self(words)
    }
    pub(crate) fn count(&self) -> u32 {
        self.0.iter().map(|w| w.count_ones()).sum()
    }
    pub(crate) fn contains(&self, cpu: u32) -> bool {
        self.0.get((cpu / 64) as usize).is_some_and(|w| w & (1 << (cpu % 64)) != 0)
    }
    pub(crate) fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().enumerate().all(|(i, w)| w & !other.0.get(i).copied().unwrap_or_default() == 0)
    }
    fn or(&self, other: &Self) -> Self {
        let (long, short) = if self.0.len() >= other.0.len() { (self, other) } else { (other, self) };
        let mut words = long.0.clone();
        for (w, o) in words.iter_mut().zip(&short.0) {
            *w |= o;
        }
        Self(words)
    }
}

/// Threads that share a fate: same guest, same affinity.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// CPUs that it may use.
    pub(crate) on: Mask,
    /// CPU that it wants.
    pub(crate) demand: f64,
    /// Speed at which it rises.
    pub(crate) weight: f64,
}

/// CPU that each claim gets, in order.
pub(crate) fn fill(claims: &[Claim]) -> Vec<f64> {
    let sets = constraints(claims);
    let inside: Vec<Vec<usize>> =
        sets.iter().map(|set| (0..claims.len()).filter(|&i| claims[i].on.is_subset(set)).collect()).collect();
    let mut got: Vec<Option<f64>> = vec![None; claims.len()];
    loop {
        let mut tightest: Option<(f64, usize)> = None;
        for (s, members) in inside.iter().enumerate() {
            let level = level_at_capacity(claims, members, &got, f64::from(sets[s].count()));
            if let Some(level) = level.filter(|&l| tightest.is_none_or(|(best, _)| l < best)) {
                tightest = Some((level, s));
            }
        }
        let Some((level, s)) = tightest else { break };
        for &i in &inside[s] {
            got[i].get_or_insert((level * claims[i].weight).min(claims[i].demand));
        }
    }
    got.iter().zip(claims).map(|(g, c)| g.unwrap_or(c.demand)).collect()
}

/// The level at which the undecided members fill what the decided ones left; `None` if they cannot fill it.
fn level_at_capacity(claims: &[Claim], members: &[usize], got: &[Option<f64>], capacity: f64) -> Option<f64> {
    let mut left = capacity;
    let mut open: Vec<(f64, &Claim)> = Vec::new();
    for &i in members {
        match got[i] {
            Some(x) => left -= x,
            None if claims[i].weight > 0.0 => open.push((claims[i].demand / claims[i].weight, &claims[i])),
            None => {}
        }
    }
    // Nobody undecided: this set says nothing more, however rounding left it.
    if open.is_empty() || open.iter().map(|(_, c)| c.demand).sum::<f64>() <= left + 1e-12 {
        return None;
    }
    open.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut rising: f64 = open.iter().map(|(_, c)| c.weight).sum();
    let mut level = 0.0;
    for (full_at, claim) in open {
        let step = (full_at - level) * rising;
        if step > left {
            break;
        }
        left -= step;
        level = full_at;
        rising -= claim.weight;
    }
    Some(if rising > 1e-12 { level + left.max(0.0) / rising } else { level })
}

fn constraints(claims: &[Claim]) -> Vec<Mask> {
    let distinct: BTreeSet<Mask> = claims.iter().map(|c| c.on.clone()).collect();
    let mut sets = distinct.clone();
    if distinct.len() <= UNIONS_MAX {
        for mask in &distinct {
            let unions: Vec<Mask> = sets.iter().map(|s| s.or(mask)).collect();
            sets.extend(unions);
        }
    } else {
        sets.insert(distinct.iter().fold(Mask::default(), |all, m| all.or(m)));
    }
    sets.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(on: &[u32], demand: f64, weight: f64) -> Claim {
        Claim { on: Mask::of(on.iter().copied()), demand, weight }
    }

    fn rounded(claims: &[Claim]) -> Vec<f64> {
        fill(claims).iter().map(|x| (x * 1000.0).round() / 1000.0).collect()
    }

    #[test]
    fn equal_weights_share_equally_and_small_demands_are_met() {
        assert_eq!(
            rounded(&[claim(&[0, 1], 2.0, 1.0), claim(&[0, 1], 2.0, 1.0), claim(&[0, 1], 0.5, 1.0)]),
            [0.75, 0.75, 0.5]
        );
    }

    #[test]
    fn weights_count() {
        assert_eq!(
            rounded(&[claim(&[0, 1], 2.0, 2.0), claim(&[0, 1], 2.0, 1.0), claim(&[0, 1], 2.0, 1.0)]),
            [1.0, 0.5, 0.5]
        );
    }

    #[test]
    fn affinity_confines() {
        let isolated = [claim(&[1], 2.0, 1.0), claim(&[1], 2.0, 1.0), claim(&[0], 1.0, 1.0)];
        assert_eq!(rounded(&isolated), [0.5, 0.5, 1.0]);
        let one_sided = [claim(&[1], 2.0, 1.0), claim(&[0, 1], 2.0, 1.0), claim(&[0], 0.8, 1.0)];
        assert_eq!(rounded(&one_sided), [0.667, 0.667, 0.667]);
    }

    #[test]
    fn weightless_claims_and_rounding_end() {
        let claims =
            [claim(&[0], 0.1, 0.0), claim(&[0], 0.7, 0.3), claim(&[0], 0.9, 0.1), claim(&[0, 1], 3.0, 0.7)];
        let got = fill(&claims);
        assert!(got.iter().all(|x| x.is_finite()), "{got:?}");
    }

    #[test]
    fn nobody_exceeds_demand_or_capacity() {
        let many: Vec<Claim> =
            (0..40).map(|i| claim(&[i % 8, (i + 1) % 8], 0.7, f64::from(i % 3 + 1))).collect();
        let got = fill(&many);
        assert!(got.iter().zip(&many).all(|(&g, c)| g <= c.demand + 1e-9 && g >= 0.0));
        assert!(got.iter().sum::<f64>() <= 8.0 + 1e-9);
    }
}
