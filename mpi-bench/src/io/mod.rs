//! File and metadata I/O family: the list of its kernels, and what they share (backends, pattern, cache, clock).

pub mod backend;
pub mod cache;
pub mod clock;
pub mod files;
pub mod ior;
pub mod iozone;
pub mod mdtest;
pub mod pattern;
pub mod pool;
pub mod scratch;

use crate::registry::{Entry, entry};

/// The kernels of this family, in the order of `list`.
#[must_use]
pub fn entries() -> Vec<Entry> {
    vec![
        entry::<ior::kernel::Ior<ior::kernel::Posix>>(),
        entry::<ior::kernel::Ior<ior::kernel::MpiIo>>(),
        entry::<iozone::kernel::Iozone>(),
        entry::<mdtest::Mdtest>(),
    ]
}
