//! The objective, the entitlement floor and the few statistics of the scenario. Pure.

/// Weighted speedup: sum(w_i rate_i / solo_i) / sum(w_i). A guest without a solo rate (it wants nothing) does not count.
pub fn weighted_speedup(weights: &[f64], rates: &[f64], solo: &[f64]) -> f64 {
    let mut sum = 0.0;
    let mut total = 0.0;
    for ((w, rate), solo) in weights.iter().zip(rates).zip(solo) {
        if *solo > 0.0 {
            sum += w * rate / solo;
            total += w;
        }
    }
    if total > 0.0 { sum / total } else { 0.0 }
}

/// Share of its weight's part of the host below which no guest that wants more may fall.
pub const FLOOR: f64 = 0.9;

/// Part of the floor, and half of the part of what a guest had, that measuring may miss: as the daemon's.
const SLACK: f64 = 0.01;
/// So many standard errors below are beyond the noise: as the daemon's.
const ERRORS: f64 = 2.0;

/// CPUs that each guest's floor is: a guest is entitled to its weight's share of `capacity` (CPUs), but never to more than it
/// uses alone: then it wants no more.
fn floors(weights: &[f64], solo_cpu: &[f64], capacity: f64) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    weights.iter().zip(solo_cpu).map(|(w, solo)| FLOOR * (w / total * capacity).min(*solo)).collect()
}

/// The smallest of `got / floor` over the guests, >= 1 when the floor holds.
pub fn floor_margin(weights: &[f64], cpu: &[f64], solo_cpu: &[f64], capacity: f64) -> f64 {
    let floors = floors(weights, solo_cpu, capacity);
    let of_floor = cpu.iter().zip(&floors).filter(|(_, floor)| **floor > 0.0).map(|(cpu, floor)| cpu / floor);
    of_floor.fold(f64::INFINITY, f64::min)
}

/// What a guest got and did in a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Got {
    /// CPUs, the mean.
    pub cpu: f64,
    /// Standard error of the mean.
    pub error: f64,
    /// Its work, in any unit: MB/s of the writer, CPUs of a burner.
    pub rate: f64,
}

/// What all guests got and did in a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Each of them: the writer, then the burners.
    pub each: [Got; 3],
    /// The mean of the burners, which are alike: what one gets more than the other within a window is chance, so that the error of
    /// the mean is less than theirs.
    pub burners: Got,
}

/// How well one guest, or the mean of those that are alike, fares: the best of what it got of its floor, of what it got of what
/// it had, and of what it does of what it did; the first two with so many standard errors in its favour.
fn fares(floor: f64, got: &Got, had: &Got, errors: f64) -> f64 {
    let of_floor = (got.cpu + errors * got.error) / (floor * (1.0 - SLACK));
    let lost = 1.0 - 2.0 * SLACK;
    let of_had = (got.cpu + errors * got.error.hypot(had.error)) / (had.cpu * lost);
    let of_work = got.rate / (had.rate * lost);
    if floor > 0.0 && had.cpu > 0.0 { of_floor.max(of_had).max(of_work) } else { f64::INFINITY }
}

/// How well the worst guest fares by the rule by which the daemon keeps a change, >= 1 when nobody is harmed. A guest is harmed
/// if it gets less than its floor and less than it had untouched, and does less than it did: who is below its floor with nothing
/// turned, and loses nothing, is no fault of the change, nor is who does as much with less. All this beyond the noise, its own
/// or that of the mean of those like it.
pub fn harmless(weights: &[f64; 3], got: &Seen, had: &Seen, solo_cpu: &[f64; 3], capacity: f64) -> f64 {
    let floors = floors(weights, solo_cpu, capacity);
    let fares_of = |(i, &floor): (usize, &f64)| {
        let alone = |errors| fares(floor, &got.each[i], &had.each[i], errors);
        let alike = if i == 0 { alone(ERRORS) } else { fares(floor, &got.burners, &had.burners, ERRORS) };
        alone(ERRORS).min(alone(0.0).max(alike))
    };
    floors.iter().enumerate().map(fares_of).fold(f64::INFINITY, f64::min)
}

/// The middle value, or the mean of the two middle ones; absent for no values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(sorted[n / 2]),
        _ => Some((sorted[n / 2 - 1] + sorted[n / 2]) / 2.0),
    }
}

/// The value below which a share `p` (0..=1) of the values lies (nearest rank); absent for no values.
pub fn percentile(values: &[f64], p: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (p * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The mean; absent for no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Ranks from 1, ties share their mean rank.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut i = 0;
    while i < order.len() {
        let mut j = i;
        while j + 1 < order.len() && values[order[j + 1]] == values[order[i]] {
            j += 1;
        }
        for &index in &order[i..=j] {
            ranks[index] = (i + j) as f64 / 2.0 + 1.0;
        }
        i = j + 1;
    }
    ranks
}

/// Spearman's rank correlation of pairs, -1..=1; absent for fewer than two pairs or without any variation.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (a, b) = (ranks(&a), ranks(&b));
    let (ma, mb) = (mean(&a)?, mean(&b)?);
    let mut cov = 0.0;
    let (mut va, mut vb) = (0.0, 0.0);
    for (x, y) in a.iter().zip(&b) {
        cov += (x - ma) * (y - mb);
        va += (x - ma).powi(2);
        vb += (y - mb).powi(2);
    }
    (va > 0.0 && vb > 0.0).then(|| cov / (va * vb).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weighted_speedup_is_one_alone_and_counts_weights() {
        assert_eq!(weighted_speedup(&[2.0, 1.0, 1.0], &[100.0, 2.0, 2.0], &[100.0, 2.0, 2.0]), 1.0);
        assert_eq!(weighted_speedup(&[2.0, 1.0, 1.0], &[50.0, 2.0, 1.0], &[100.0, 2.0, 2.0]), 0.625);
        assert_eq!(weighted_speedup(&[1.0, 1.0], &[1.0, 9.0], &[2.0, 0.0]), 0.5);
    }

    #[test]
    fn floor_counts_demand_and_weight() {
        // Entitled to 1/3 of 2 CPUs each; 0.6 is exactly the floor.
        let margin = floor_margin(&[1.0; 3], &[0.8, 0.6, 0.6], &[2.0; 3], 2.0);
        assert!((margin - 1.0).abs() < 1e-9, "{margin}");
        assert!(floor_margin(&[1.0; 3], &[0.9, 0.5, 0.6], &[2.0; 3], 2.0) < 1.0);
        // A guest that wants 0.1 alone and gets it takes nothing from the floor.
        assert!(floor_margin(&[1.0; 3], &[0.1, 0.9, 0.9], &[0.1, 2.0, 2.0], 2.0) > 1.0);
    }

    #[test]
    fn harm_is_below_the_floor_and_below_what_was_had_beyond_the_noise() {
        let one = |cpu, error, rate| Got { cpu, error, rate };
        // The burners' errors cancel in their mean, or are the same in it.
        let seen = |cpu: [f64; 3], error, of_mean| Seen {
            each: cpu.map(|cpu| one(cpu, error, cpu)),
            burners: one(f64::midpoint(cpu[1], cpu[2]), of_mean, f64::midpoint(cpu[1], cpu[2])),
        };
        let judge = |got: &Seen, had: &Seen| harmless(&[1.0; 3], got, had, &[2.0; 3], 2.0);
        let fares = |got, had, error| judge(&seen(got, error, error), &seen(had, 0.0, 0.0));
        // The floor of each is 0.6.
        assert!(fares([0.8, 0.6, 0.6], [0.6, 0.7, 0.7], 0.0) >= 1.0);
        assert!(fares([1.0, 0.5, 0.5], [0.6, 0.7, 0.7], 0.0) < 1.0, "two fell below it");
        assert!(fares([0.5, 0.75, 0.75], [0.5, 0.8, 0.7], 0.0) >= 1.0, "the first was below it before");
        assert!(fares([0.4, 0.8, 0.8], [0.5, 0.8, 0.7], 0.0) < 1.0, "and fell deeper");
        assert!(fares([1.0, 0.5, 0.5], [0.6, 0.7, 0.7], 0.05) >= 1.0, "within two errors of the floor");
        assert!(fares([1.0, 0.5, 0.5], [0.6, 0.7, 0.7], 0.04) < 1.0, "beyond them");
        let writes = |rate| {
            let mut got = seen([0.3, 0.8, 0.8], 0.0, 0.0);
            got.each[0].rate = rate;
            judge(&got, &seen([0.5, 0.8, 0.7], 0.0, 0.0))
        };
        assert!(writes(0.7) >= 1.0, "does more with less CPU");
        assert!(writes(0.48) < 1.0, "does less, too");
        let trading = |got| judge(&seen(got, 0.1, 0.005), &seen([0.6, 0.9, 0.5], 0.1, 0.005));
        assert!(trading([0.8, 0.72, 0.49]) >= 1.0, "one is behind the other by chance");
        assert!(trading([0.9, 0.65, 0.45]) < 1.0, "together they fell");
        assert!(trading([0.8, 0.9, 0.15]) < 1.0, "one fell by more than chance");
    }

    #[test]
    fn statistics() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(percentile(&[1.0, 2.0, 3.0, 4.0], 0.99), Some(4.0));
        assert_eq!(percentile(&[1.0, 2.0, 3.0, 4.0], 0.5), Some(2.0));
        assert_eq!(spearman(&[(1.0, 10.0), (2.0, 20.0), (3.0, 25.0)]), Some(1.0));
        assert_eq!(spearman(&[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]), Some(-1.0));
        assert_eq!(spearman(&[(1.0, 3.0), (1.0, 2.0)]), None);
        assert_eq!(ranks(&[5.0, 1.0, 5.0]), [2.5, 1.0, 2.5]);
    }
}
