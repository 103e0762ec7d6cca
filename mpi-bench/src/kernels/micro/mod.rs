//! Noise, CPU and network family: the list of its kernels. One file a kernel; shared pieces beside them.

use crate::registry::Entry;

/// The kernels of this family, in the order of `list`.
#[must_use]
pub fn entries() -> Vec<Entry> {
    Vec::new()
}
