//! HPC Challenge: the list of its kernels. One file or folder a kernel; shared pieces beside them.

mod b_eff;
mod dgemm;
mod fft;
mod grid;
mod hpl;
pub mod input;
mod lcg;
mod libc_rand;
mod ptrans;
mod random_access;
pub mod report;
mod stream;

use crate::registry::{Entry, entry};

/// The kernels of this family, in the order of `list`.
#[must_use]
pub fn entries() -> Vec<Entry> {
    vec![
        entry::<hpl::Hpl>(),
        entry::<dgemm::Dgemm>(),
        entry::<stream::Stream<false>>(),
        entry::<stream::Stream<true>>(),
        entry::<random_access::RandomAccess<random_access::Lfsr>>(),
        entry::<random_access::RandomAccess<random_access::Lcg>>(),
        entry::<ptrans::Ptrans>(),
        entry::<fft::Fft>(),
        entry::<b_eff::BEff>(),
    ]
}

/// Relative rounding error of f64 as HPL_dlamch gives it: 2^-53.
const EPS: f64 = f64::EPSILON / 2.0;

/// HPCC's threshold for scaled residuals.
const THRESHOLD: f64 = 16.0;
