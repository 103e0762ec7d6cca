//! The kernels, a folder per family. They depend on `kernel`, `setup`, `team`, `mpi_raw`; never on the driver or the CLI.

pub mod hpcc;
pub mod micro;
pub mod npb;
pub mod osu;
