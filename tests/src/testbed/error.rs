//! What can go wrong with a testbed. A failed testbed is always taken down as a whole.

use std::path::PathBuf;
use std::time::Duration;

/// Result of everything in the testbed.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why live tests cannot run on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Not root.
    #[error("real hosts need root (namespaces, cgroups): run as root")]
    Root,
    /// Not on this kind of machine.
    #[error("real hosts need x86-64 Linux")]
    Platform,
    /// Programs that no package brought; the Debian packages that would.
    #[error("missing {}: install the packages {} (`cargo xtask setup` does)", .programs.join(", "), .packages.join(" "))]
    Packages {
        /// The programs looked for.
        programs: Vec<String>,
        /// Packages of Debian and Ubuntu that have them.
        packages: Vec<String>,
    },
    /// The kernel or the container around us refuses something.
    #[error("{0}")]
    Refused(String),
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Live tests cannot run here at all.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A file or process operation failed.
    #[error("{what}")]
    Io {
        /// What was tried, with its path.
        what: String,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// A command failed.
    #[error("{command}: {status}: {output}")]
    Command {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// What it said, both streams.
        output: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {} s; last seen: {seen}", after.as_secs_f64())]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
        /// The last state or log lines seen.
        seen: String,
    },
    /// The keeper could not remove everything.
    #[error("the testbed {} left something behind: {said}", work.display())]
    Left {
        /// Its work directory.
        work: PathBuf,
        /// The keeper's words.
        said: String,
    },
    /// A program of ours is not built.
    #[error("{0} is not built beside this program: cargo build -p trimtabd --bins")]
    NotBuilt(String),
    /// A program of ours answered something that cannot be understood.
    #[error("{0}")]
    Answer(String),
    /// A guest that should run does not.
    #[error("{0}")]
    Guest(String),
}

impl Error {
    /// For `map_err`: names what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what: format!("{what}: {source}"), source }
    }
}
