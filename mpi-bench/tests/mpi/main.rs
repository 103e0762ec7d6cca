//! The program as users start it: built binary, real launcher, real MPI library. A file per family; one test program.

mod compare;
mod corruption;
mod driver;
mod hpcc;
mod hpcc_ranks;
mod io;
mod launch;
mod mdtest;
mod nodes;
mod npb;
mod npb_cfd;
mod osu;
mod pictures;
mod quick;
mod slurm;
