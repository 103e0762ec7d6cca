//! The whole daemon on a real host: its four promises, and faults that the guests must not notice.
//!
//! All tests share one host with the noisy neighbour on it and take turns; each starts a daemon of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod stage;

mod admin;
mod clock;
mod config;
mod cpus;
mod guests;
mod journal;
mod outages;
mod promises;
mod top;
