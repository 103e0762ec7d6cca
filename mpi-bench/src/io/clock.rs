//! A clock that the ranks of a team share: "last close minus first open" needs times of different ranks to be comparable.
//!
//! On one node CLOCK_MONOTONIC is the same for all processes. Across nodes each rank takes its time as it leaves a barrier,
//! as IOR does; the error is the skew of that barrier.

use crate::team::Team;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    ahead: f64,
}

fn monotonic() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

impl Clock {
    /// Collective over the team.
    #[must_use]
    pub fn new(team: &Team) -> Self {
        let one_node = team.min(f64::from(u8::from(team.node().size() == team.size()))) > 0.0;
        team.barrier();
        let mine = monotonic();
        // The sum over the ranks of a value that only rank 0 gives: rank 0's.
        let first = team.sum(if team.is_root() { mine } else { 0.0 });
        Self { ahead: if one_node { 0.0 } else { mine - first } }
    }

    /// Seconds since some moment that is the same for the whole team.
    #[must_use]
    pub fn now(&self) -> f64 {
        monotonic() - self.ahead
    }
}
