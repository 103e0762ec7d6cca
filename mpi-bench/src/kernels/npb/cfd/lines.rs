//! The order in which lines are solved where they cross ranks: groups of lines follow each other through the chain of ranks
//! forward, and back as soon as the last rank has eliminated. What is computed is the sweep's business.
//!
//! At step s the rank at place r eliminates group s - r and substitutes back in group s - 2 (ranks - 1) + r, so that at most
//! 2 (ranks - 1 - r) + 1 groups are under way on it and their factors stay in the cache. With one rank both are one group.

use super::grid::Span;
use crate::mpi_raw;
use crate::team::Team;

/// Elimination and back substitution of a group of lines on this rank.
pub(in super::super) trait Sweep {
    /// Number of groups, the same on every rank of the chain.
    fn groups(&self) -> usize;

    /// Doubles that elimination and substitution of a group hand to the next rank.
    fn state(&self) -> [usize; 2];

    /// Eliminates along a group; `state` comes from the rank before (zeroes at the boundary) and is left for the one after.
    fn eliminate(&mut self, group: usize, state: &mut [f64]);

    /// Substitutes back; `state` as above, in the other direction.
    fn substitute(&mut self, group: usize, state: &mut [f64]);
}

/// Groups whose factors a rank must keep at the same time; group g goes into slot g modulo this.
pub(in super::super) fn slots(span: &Span) -> usize {
    2 * (span.ranks - 1 - span.place) + 1
}

/// Solves all lines along the direction of `span`.
pub(in super::super) fn run(team: &Team, span: &Span, sweep: &mut impl Sweep) {
    let groups = sweep.groups();
    let lag = 2 * (span.ranks - 1);
    let [mut down, mut up] = sweep.state().map(|len| vec![0.0; len]);
    let (mut down_next, mut up_next) = (down.clone(), up.clone());
    for step in 0..groups + lag {
        let group = step.checked_sub(span.place).filter(|&group| group < groups);
        if let Some(group) = group {
            if span.before.is_none() {
                down.fill(0.0);
            }
            sweep.eliminate(group, &mut down);
        }
        let back = (step + span.place).checked_sub(lag).filter(|&group| group < groups);
        if let Some(group) = back {
            if span.after.is_none() {
                up.fill(0.0);
            }
            sweep.substitute(group, &mut up);
        }
        // Both directions in one call, or a rank that hands down would wait for one that hands up.
        if let Some(before) = span.before {
            let out = if back.is_some() { &up[..] } else { &[] };
            mpi_raw::sendrecv(team.comm(), (out, before), (&mut down_next, before), 0);
        }
        if let Some(after) = span.after {
            let out = if group.is_some() { &down[..] } else { &[] };
            mpi_raw::sendrecv(team.comm(), (out, after), (&mut up_next, after), 0);
        }
        std::mem::swap(&mut down, &mut down_next);
        std::mem::swap(&mut up, &mut up_next);
    }
}
