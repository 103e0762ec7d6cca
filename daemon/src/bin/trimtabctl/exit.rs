//! Failures and their exit codes, documented in `--help` and the man page. May not: print.

use serde::Serialize;
use trimtabd::dbus::proxy::{ClientError, Error};

/// The kinds of failure that a script can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Refused or failed.
    Failed,
    /// Wrong argument.
    Usage,
    /// No answer from the daemon or the bus.
    Away,
    /// polkit, or the group rule, said no.
    NotAuthorized,
    /// No such guest or decision.
    NotFound,
    /// Knobs are still on their way back.
    Unfinished,
}

impl Kind {
    /// Exit status.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Away => 3,
            Self::NotAuthorized => 4,
            Self::NotFound => 5,
            Self::Unfinished => 6,
        }
    }
}

/// Why the command did not do what it was asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    /// Its kind.
    pub(crate) kind: Kind,
    /// One or two sentences for a human.
    pub(crate) message: String,
}

impl Failure {
    /// A failure of kind `Failed`.
    pub(crate) fn failed(message: String) -> Self {
        Self { kind: Kind::Failed, message }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let kind = match &error {
            ClientError::NoBus { .. } | ClientError::Away { .. } | ClientError::Hung { .. } => Kind::Away,
            ClientError::Daemon(Error::NotFound(_)) => Kind::NotFound,
            ClientError::Daemon(Error::NotAuthorized(_)) => Kind::NotAuthorized,
            ClientError::Daemon(Error::InvalidArgs(_)) => Kind::Usage,
            ClientError::Daemon(Error::Unfinished(_)) => Kind::Unfinished,
            ClientError::Daemon(Error::Failed(_) | Error::Conflict(_) | Error::ZBus(_)) => Kind::Failed,
        };
        let mut message = error.to_string();
        if matches!(error, ClientError::Away { .. } | ClientError::Hung { .. }) {
            message.push_str("\nTry: systemctl status trimtabd");
        }
        Self { kind, message }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(format!("cannot write: {error}"))
    }
}
