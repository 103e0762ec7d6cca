//! The pure core of Trimtab: observations in, decisions out.
//!
//! No clock, no I/O, no async, no globals, no randomness but a passed-in one: time and seeds are arguments, effects are
//! returned for the driver (the daemon's control loop) to perform. Knows no other crate of the workspace.

mod arbiter;
pub mod config;
pub mod control;
mod cpu_set;
pub mod decision;
pub mod engine;
pub mod identify;
pub mod knob;
pub mod knowledge;
mod ledger;
pub mod model;
pub mod objective;
pub mod rates;
pub mod sample;
pub mod topology;
pub mod trial;
pub mod units;
