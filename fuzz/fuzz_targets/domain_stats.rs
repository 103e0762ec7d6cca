//! Feeds `bodies/domain_stats.rs`, which says what must hold. May not: hold a check itself.
#![no_main]

#[path = "../bodies/domain_stats.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::run(bytes));
