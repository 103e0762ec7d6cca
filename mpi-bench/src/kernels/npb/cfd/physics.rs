//! Constants of the equations and of their discretisation, as the NAS report RNR-94-007 names them. The cube has the same
//! spacing along every axis in all classes, so one set serves the three directions, but for the dissipation of second order.

/// Ratio of specific heats, and that minus one: c1 and c2.
pub(in super::super) const C1: f64 = 1.4;
pub(in super::super) const C2: f64 = 0.4;
/// c3 c4: viscosity.
pub(in super::super) const VISCOSITY: f64 = 0.1;
/// c1 c5 c3 c4: heat conduction.
pub(in super::super) const CONDUCTION: f64 = C1 * C1 * VISCOSITY;
/// How much more viscous the stress is along its own direction.
pub(in super::super) const NORMAL: f64 = 4.0 / 3.0;
/// Dissipation of second order along x, y and z.
pub(in super::super) const SECOND: [f64; 3] = [0.75, 0.75, 1.0];
/// Dissipation of fourth order.
pub(in super::super) const FOURTH: f64 = 0.25;

/// 1 / h^2 and 1 / 2h for a cube of `n` points an edge: t1 and t2.
pub(in super::super) fn spacing(n: usize) -> (f64, f64) {
    let per_length = (n - 1) as f64;
    (per_length * per_length, per_length / 2.0)
}

/// The fourth difference at interior point `index` of 0..n, from two points before to two after; one-sided by the boundary.
pub(in super::super) fn fourth_difference(index: usize, n: usize) -> [f64; 5] {
    match (index, n - 1 - index) {
        (1, _) => [0.0, 0.0, 5.0, -4.0, 1.0],
        (2, _) => [0.0, -4.0, 6.0, -4.0, 1.0],
        (_, 1) => [1.0, -4.0, 5.0, 0.0, 0.0],
        (_, 2) => [1.0, -4.0, 6.0, -4.0, 0.0],
        _ => [1.0, -4.0, 6.0, -4.0, 1.0],
    }
}

/// Both dissipations along direction `d`.
pub(in super::super) fn dissipation(index: usize, n: usize, d: usize) -> [f64; 5] {
    let (t1, _) = spacing(n);
    let second = [0.0, 1.0, -2.0, 1.0, 0.0];
    let fourth = fourth_difference(index, n);
    std::array::from_fn(|i| SECOND[d] * t1 * second[i] - FOURTH * fourth[i])
}

#[cfg(test)]
mod tests {
    use super::fourth_difference;

    #[test]
    fn the_difference_mirrors_at_the_middle() {
        for index in 1..11 {
            let mut mirrored = fourth_difference(11 - index, 12);
            mirrored.reverse();
            assert_eq!(fourth_difference(index, 12), mirrored);
        }
    }
}
