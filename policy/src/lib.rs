//! The pure core of Trimtab: observations in, decisions out.
//!
//! No clock, no I/O, no async, no globals, no randomness but a passed-in one: time and seeds are arguments, effects are
//! returned for the driver (the daemon's control loop) to perform. Knows no other crate of the workspace.

pub mod config;
pub mod decision;
pub mod knob;
pub mod sample;
pub mod topology;
pub mod units;
