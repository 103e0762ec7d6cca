//! Feeds `bodies/guest_metadata.rs`, which says what must hold. May not: hold a check itself.
#![no_main]

#[path = "../bodies/guest_metadata.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::run(bytes));
