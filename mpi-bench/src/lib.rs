//! `trimtab-bench`: MPI benchmarks that verify what they measure.
//!
//! A kernel (`kernel.rs`) computes; the driver (`driver/`) decides who runs it, how often, and whether its figure may be
//! shown. Kernels never print, never read the command line, never call MPI but through [`team`] and `mpi_raw`.
//! Unsafe MPI calls are in [`mpi_raw`] only.

pub mod cli;
pub mod compare;
pub mod counters;
mod cpu;
pub mod driver;
pub mod error;
pub mod host;
pub mod io;
pub mod janitor;
pub mod kernel;
pub mod kernels;
pub mod linalg;
pub mod memory;
pub mod mpi_raw;
pub mod print;
pub mod registry;
pub mod result;
pub mod rng;
pub mod setup;
pub mod stats;
pub mod svg;
pub mod team;
pub mod watchdog;
