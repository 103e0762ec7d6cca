//! The policy's configuration: plain data with bounds. May not: read files (daemon/src/config does).

use crate::decision::Mode;
use serde::{Deserialize, Serialize};

/// Everything that the policy can be told. Defaults are the commented defaults of systemd/trimtab.toml.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// How far Trimtab may go.
    pub mode: Mode,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self { mode: Mode::Observe }
    }
}
