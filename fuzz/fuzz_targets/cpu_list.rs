//! CPU lists: what parses prints as a list that parses to the same set.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trimtab_policy::topology::CpuSet;

fuzz_target!(|text: &str| {
    if let Ok(set) = text.parse::<CpuSet>() {
        assert_eq!(set.to_string().parse(), Ok(set));
    }
});
