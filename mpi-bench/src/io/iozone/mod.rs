//! iozone's thirteen tests: what they do (`ops`), how one is done and timed (`run`), and the kernel that strings them together.

pub mod kernel;
pub mod ops;
pub mod report;
pub mod run;
mod stdio;
pub mod sweep;
