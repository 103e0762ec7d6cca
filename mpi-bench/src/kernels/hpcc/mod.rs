//! HPC Challenge: the list of its kernels. One file or folder a kernel; shared pieces beside them.

mod dgemm;
mod fft;
mod libc_rand;
mod random_access;
mod stream;

use crate::registry::{Entry, entry};

/// The kernels of this family, in the order of `list`.
#[must_use]
pub fn entries() -> Vec<Entry> {
    vec![
        entry::<dgemm::Dgemm>(),
        entry::<stream::Stream<false>>(),
        entry::<stream::Stream<true>>(),
        entry::<random_access::RandomAccess<random_access::Lfsr>>(),
        entry::<random_access::RandomAccess<random_access::Lcg>>(),
        entry::<fft::Fft>(),
    ]
}

/// Relative rounding error of f64 as HPL_dlamch gives it: 2^-53.
const EPS: f64 = f64::EPSILON / 2.0;

/// HPCC's threshold for scaled residuals.
const THRESHOLD: f64 = 16.0;
