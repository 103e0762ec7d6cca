//! Parsers of the kernel's text files, on bytes, without allocation: they run some hundred times a second.
//!
//! Approach: every parser takes what a read gave and returns `None` (or skips the line) where the text is not as the
//! kernel documents it; none can panic, whatever the bytes (tests and /fuzz feed them garbage). Units are the kernel's
//! unless the name says otherwise. May not: do I/O or keep state.

mod host;
mod thread;

pub use host::{MemInfo, host_stat, mem_info, psi};
pub use thread::{Io, Role, SchedStat, Stat, comm_role, group_role, io, sched_stat, stat, vhost_owner};

/// Splits leading decimal digits off; `None` without any or if they overflow.
pub(crate) fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let mut value = 0u64;
    for digit in &text[..digits] {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    (digits > 0).then_some((value, &text[digits..]))
}

/// The text as one whole decimal number, spaces around it allowed.
pub(crate) fn whole_number(text: &[u8]) -> Option<u64> {
    let (value, rest) = number(text.trim_ascii())?;
    rest.is_empty().then_some(value)
}

/// Non-empty fields between spaces, tabs and line ends.
pub(crate) fn fields(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty())
}

/// Lines without their end.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
}
