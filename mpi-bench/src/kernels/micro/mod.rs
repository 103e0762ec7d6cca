//! Noise, CPU and network family: what virtualisation and placement do that the classic benchmarks average away.

mod cpu;
mod detour;
mod net_matrix;
mod per_rank;
mod quantum;

use crate::registry::{Entry, entry};

/// The kernels of this family, in the order of `list`.
#[must_use]
pub fn entries() -> Vec<Entry> {
    vec![
        entry::<quantum::FixedQuantum>(),
        entry::<detour::Detour>(),
        entry::<cpu::Cpu>(),
        entry::<net_matrix::NetMatrix>(),
    ]
}
