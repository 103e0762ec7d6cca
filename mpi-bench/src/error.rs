//! What can go wrong, and the exit code of each. Messages name the kernel and the parameter, file or rank at fault.
//!
//! No variant changes anything on disk: files made by a run are removed by the watchdog's list whatever happens.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Exit codes of the program, fixed for users' scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Exit {
    /// Every result verified.
    Verified = 0,
    /// At least one result failed its verification.
    VerificationFailed = 1,
    /// The command line, a parameter or an input file is wrong.
    Usage = 2,
    /// The machine, the file system or the MPI library did not allow it; also a time-out or a signal.
    Environment = 3,
}

/// Errors of the driver and of the kernels.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for something that does not exist or does not fit together.
    #[error("{0}")]
    Usage(String),
    /// A kernel's parameter has a value it cannot have.
    #[error("{kernel}: parameter {name}={value}: {why}")]
    Parameter {
        /// Kernel's registry name.
        kernel: String,
        /// Parameter as the user writes it.
        name: &'static str,
        /// Value as given or derived.
        value: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// A kernel does not run on so many ranks. A suite goes on without it.
    #[error("{kernel}: parameter ranks={ranks}: {why}")]
    Unfit {
        /// Kernel's registry name.
        kernel: String,
        /// Ranks of its team.
        ranks: usize,
        /// What numbers would fit.
        why: String,
    },
    /// An input file does not say what it should.
    #[error("{}:{line}: {why}", path.display())]
    Input {
        /// File read.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What was expected there.
        why: String,
    },
    /// The host lacks something.
    #[error("{0}")]
    Environment(String),
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// Verb: open, write, read, sync, remove.
        action: &'static str,
        /// File or directory.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Another rank of the team failed; every rank holds this copy so that all of them stop together.
    #[error("rank {rank}: {text}")]
    Remote {
        /// Rank in the communicator that agreed on the failure.
        rank: i32,
        /// That rank's message.
        text: String,
        /// That rank's kind of error.
        kind: Kind,
    },
}

/// What an error means for the rest of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The user has to change something.
    Usage,
    /// As [`Error::Unfit`].
    Unfit,
    /// The system refused something; other kernels may still run.
    Environment,
}

impl Kind {
    /// All, by the number that ranks exchange.
    pub const ALL: [Self; 3] = [Self::Usage, Self::Unfit, Self::Environment];
}

impl Error {
    /// What it means for the rest of the run.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Usage(_) | Self::Parameter { .. } | Self::Input { .. } => Kind::Usage,
            Self::Unfit { .. } => Kind::Unfit,
            Self::Environment(_) | Self::Io { .. } => Kind::Environment,
            Self::Remote { kind, .. } => *kind,
        }
    }

    /// The exit code that this error ends the program with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self.kind() {
            Kind::Usage | Kind::Unfit => Exit::Usage,
            Kind::Environment => Exit::Environment,
        }
    }

    /// An [`Error::Io`] maker for `map_err`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// Result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;
