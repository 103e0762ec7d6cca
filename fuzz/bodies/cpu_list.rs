//! CPU lists: what parses prints as a list that parses to the same set. May not: be run for its result.

use trimtab_policy::topology::CpuSet;

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(set) = text.parse::<CpuSet>() {
        assert_eq!(set.to_string().parse(), Ok(set));
    }
}
