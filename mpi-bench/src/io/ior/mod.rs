//! IOR's patterns: one engine for the kernels `ior-posix` and `ior-mpiio` and for the subcommand `ior`.

pub mod engine;
pub mod json;
pub mod kernel;
pub mod session;
pub mod table;
pub mod test;
pub mod walk;
