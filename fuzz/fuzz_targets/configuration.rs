//! Feeds `bodies/configuration.rs`, which says what must hold. May not: hold a check itself.
#![no_main]

#[path = "../bodies/configuration.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::run(bytes));
