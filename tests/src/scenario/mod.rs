//! The noisy-neighbour scenario and the `loop` bench: three real guests on two CPUs, measured from /proc.
//!
//! One guest writes (O_DIRECT, 64 KiB, sequential), two burn CPU on two vCPUs each. Arms: untouched, under Trimtab, the best
//! static configuration found by trying them one by one (oracle), each guest alone (solo).
//! May not: know how Trimtab decides; it is started as an admin would and asked through trimtabctl.

pub mod arms;
pub mod bench;
pub mod budget;
pub mod demo;
pub mod objective;
pub mod progress;
pub mod report;
pub mod rig;
pub mod setting;

/// What can go wrong in a scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The testbed.
    #[error(transparent)]
    Testbed(#[from] crate::Error),
    /// The machine is too small.
    #[error("the scenario needs {needed} CPUs, this process may use {have}")]
    Cpus {
        /// How many it needs.
        needed: usize,
        /// How many there are.
        have: usize,
    },
    /// A measurement failed.
    #[error("{0}")]
    Failed(String),
    /// A report could not be written.
    #[error("write {path}: {source}")]
    Report {
        /// Where.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Result of everything in a scenario.
pub type Result<T, E = ScenarioError> = std::result::Result<T, E>;
