//! Where threads are found when the kernel balances load within their affinities.
//!
//! CPUs that no affinity tells apart form one group. Each class starts evenly over the CPUs it may use and moves from
//! loaded groups to less loaded ones until the loads are even or an affinity stops it: the fixed point of a load
//! balancer, by damped multiplicative steps. May not: know about guests.

use super::share::Mask;
use std::collections::BTreeMap;

/// Rounds of balancing: two classes on two groups are within 1 % of their fixed point after about 12.
const ROUNDS: usize = 16;

/// Fractions of each class in each group of CPUs.
pub(crate) struct Spread {
    /// CPUs of each group.
    pub(crate) groups: Vec<Vec<u32>>,
    /// How many they are.
    pub(crate) sizes: Vec<f64>,
    /// `parts[class]`: (group, fraction), summing to 1 over the groups that the class may use.
    pub(crate) parts: Vec<Vec<(usize, f64)>>,
}

/// Spreads classes of the given affinity and load over `cpus`.
pub(crate) fn spread(cpus: &[u32], classes: &[(&Mask, f64)]) -> Spread {
    let mut masks: Vec<&Mask> = classes.iter().map(|(m, _)| *m).collect();
    masks.sort();
    masks.dedup();
    let mut groups: BTreeMap<Vec<usize>, Vec<u32>> = BTreeMap::new();
    for &cpu in cpus {
        let members: Vec<usize> = (0..masks.len()).filter(|&m| masks[m].contains(cpu)).collect();
        if !members.is_empty() {
            groups.entry(members).or_default().push(cpu);
        }
    }
    let sizes: Vec<f64> = groups.values().map(|cpus| cpus.len() as f64).collect();
    let mut parts: Vec<Vec<(usize, f64)>> = classes
        .iter()
        .map(|(mask, _)| {
            let index = masks.binary_search(mask).ok();
            let mine = groups.keys().enumerate().filter(|(_, key)| index.is_some_and(|i| key.contains(&i)));
            let mine: Vec<(usize, f64)> = mine.map(|(g, _)| (g, sizes[g])).collect();
            normalised(mine)
        })
        .collect();
    if sizes.len() > 1 {
        for _ in 0..ROUNDS {
            balance(&sizes, classes, &mut parts);
        }
    }
    Spread { groups: groups.into_values().collect(), sizes, parts }
}

fn balance(sizes: &[f64], classes: &[(&Mask, f64)], parts: &mut [Vec<(usize, f64)>]) {
    let mut load = vec![0.0; sizes.len()];
    for ((_, weight), part) in classes.iter().zip(parts.iter()) {
        for &(g, f) in part {
            load[g] += weight * f / sizes[g];
        }
    }
    let mean = load.iter().sum::<f64>() / load.len() as f64 + 1e-9;
    for part in parts.iter_mut().filter(|p| p.len() > 1) {
        for (g, f) in part.iter_mut() {
            *f *= (mean / (load[*g] + 0.01 * mean)).sqrt();
        }
        *part = normalised(std::mem::take(part));
    }
}

fn normalised(mut part: Vec<(usize, f64)>) -> Vec<(usize, f64)> {
    let sum: f64 = part.iter().map(|(_, f)| f).sum();
    for (_, f) in &mut part {
        *f /= sum.max(1e-12);
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_classes_avoid_loaded_cpus() {
        let (one, both, zero) = (Mask::of([1]), Mask::of([0, 1]), Mask::of([0]));
        let s = spread(&[0, 1], &[(&one, 1.0), (&both, 1.0), (&zero, 0.5)]);
        let on_zero: f64 = s.parts[1].iter().filter(|(g, _)| s.parts[2][0].0 == *g).map(|(_, f)| f).sum();
        assert!((on_zero - 0.75).abs() < 0.03, "{on_zero}");
    }

    #[test]
    fn indistinguishable_cpus_are_one_group() {
        let all = Mask::of(0..64);
        let s = spread(&(0..64).collect::<Vec<_>>(), &[(&all, 1.0), (&all, 1.0)]);
        assert_eq!(s.sizes, [64.0]);
    }
}
