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

/// The smallest of `got / (FLOOR * entitled)` over the guests, >= 1 when the floor holds. A guest is entitled to its weight's
/// share of `capacity` (CPUs), but never to more than it uses alone: then it wants no more.
pub fn floor_margin(weights: &[f64], cpu: &[f64], solo_cpu: &[f64], capacity: f64) -> f64 {
    let total: f64 = weights.iter().sum();
    weights
        .iter()
        .zip(cpu)
        .zip(solo_cpu)
        .map(|((w, cpu), solo)| {
            let entitled = (w / total * capacity).min(*solo);
            if entitled > 0.0 { cpu / (FLOOR * entitled) } else { f64::INFINITY }
        })
        .fold(f64::INFINITY, f64::min)
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
