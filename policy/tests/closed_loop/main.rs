//! The engine in a closed loop with a synthetic host, every effect judged by an independent linter.
#![expect(clippy::unwrap_used, reason = "a test world may panic: that is how a test fails")]

mod chaos;
mod cores;
mod faults;
mod findings;
mod neighbours;
mod quiet;
mod watch;
mod world;
