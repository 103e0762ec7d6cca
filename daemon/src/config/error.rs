//! Errors that tell an admin where to look.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong. Text: `FILE:LINE:COLUMN: KEY: what`, as editors and compilers have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The fragment.
    pub file: PathBuf,
    /// Line and column, both from 1; columns count characters. Absent where the whole file is meant.
    pub place: Option<(usize, usize)>,
    /// Path of the key, `store.max_size_mib`; absent for a syntax error.
    pub key: Option<String>,
    /// What is wrong with it.
    pub what: String,
}

impl ConfigError {
    pub(super) fn file(file: &Path, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), place: None, key: None, what: what.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is wrong, one a line. Nothing was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}
