//! Library of the daemon: all host I/O of Trimtab. The pure decisions are in trimtab-policy, the journal in trimtab-store.
//!
//! Inside this crate: `sensors`, `actuators` see `libvirt`'s trait and policy types, never each other; `dbus` sees
//! `handle`, never `libvirt`; only `run` and `control_loop` read a clock (tests/ checks these rules).

pub mod actuators;
pub mod bus;
pub mod cli;
pub mod config;
pub mod control_loop;
pub mod dbus;
pub mod handle;
pub mod journal;
pub mod libvirt;
pub mod performer;
pub mod run;
pub mod sensors;
pub mod setup;
