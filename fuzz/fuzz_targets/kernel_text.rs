//! Feeds `bodies/kernel_text.rs`, which says what must hold. May not: hold a check itself.
#![no_main]

#[path = "../bodies/kernel_text.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::run(bytes));
