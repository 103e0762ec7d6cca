//! The dependency rules of docs/ARCHITECTURE.md, held by tests: which crate may use which, which module of the daemon
//! sees which other, who reads a clock, what the pure core may not touch, and that the documents name what exists.
//!
//! May not: build or start anything but `cargo metadata` and this crate's own program.

mod architectures;
mod clock;
mod crates;
mod docs;
mod features;
mod files;
mod modules;
mod paths;
mod purity;
mod tree;
