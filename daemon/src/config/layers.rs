//! Finds the fragments, reads them and lays them over one another. May not: know what a key means.

use super::error::{ConfigError, ConfigErrors};
use super::locate;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Name of the main file in each directory.
const MAIN: &str = "trimtab.toml";
/// Directory of the fragments in each directory.
const FRAGMENTS: &str = "config.d";
/// A configuration is written by hand: more than this is a mistake (a log, a device).
const MAX_BYTES: u64 = 1 << 20;

/// One file whose syntax is right.
#[derive(Debug)]
pub(super) struct Fragment {
    path: PathBuf,
    text: String,
    table: toml::Table,
}

impl Fragment {
    pub(super) fn text(&self) -> &str {
        &self.text
    }
    pub(super) fn table(&self) -> &toml::Table {
        &self.table
    }
    pub(super) fn into_path(self) -> PathBuf {
        self.path
    }
    /// Where the key is set, if it is.
    pub(super) fn span_of(&self, key: &str) -> Option<Range<usize>> {
        locate::span_of(&self.text, key)
    }
    /// An error at a byte of this fragment.
    pub(super) fn error(&self, offset: usize, key: Option<String>, what: &str) -> ConfigError {
        error_at(&self.path, &self.text, offset, key, what)
    }
}

fn error_at(path: &Path, text: &str, offset: usize, key: Option<String>, what: &str) -> ConfigError {
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    ConfigError { file: path.to_owned(), place: Some(locate::place(text, offset)), key, what }
}

/// All fragments of these directories in the order in which they are laid over one another, and what is wrong with the
/// ones that are left out.
///
/// # Errors
/// A directory that is there but cannot be listed.
pub(super) fn read(dirs: &[PathBuf]) -> Result<(Vec<Fragment>, Vec<ConfigError>), ConfigErrors> {
    let mut main = None;
    let mut named = BTreeMap::new();
    for dir in dirs {
        let file = dir.join(MAIN);
        if file.symlink_metadata().is_ok() {
            main = Some(file);
        }
        let dir = dir.join(FRAGMENTS);
        let unlisted = |error: io::Error| ConfigError::file(&dir, format!("cannot be listed: {error}"));
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(unlisted)?,
        };
        for entry in entries {
            let path = entry.map_err(unlisted)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                named.insert(path.file_name().map(ToOwned::to_owned), path);
            }
        }
    }
    let (mut fragments, mut errors) = (Vec::new(), Vec::new());
    for path in main.into_iter().chain(named.into_values()) {
        match read_one(path) {
            Ok(fragment) => fragments.push(fragment),
            Err(error) => errors.push(error),
        }
    }
    Ok((fragments, errors))
}

fn read_one(path: PathBuf) -> Result<Fragment, ConfigError> {
    let unread = |error: io::Error| ConfigError::file(&path, format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    // A link to /dev/null masks a file; any other device or pipe would be read up to the limit.
    fs::File::open(&path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(unread)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ConfigError::file(&path, format!("is larger than {MAX_BYTES} bytes")));
    }
    parse(path, bytes)
}

pub(super) fn parse(path: PathBuf, bytes: Vec<u8>) -> Result<Fragment, ConfigError> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
        error_at(&path, &text, good, None, "is not UTF-8 from here on")
    })?;
    match toml::from_str(&text) {
        Ok(table) => Ok(Fragment { path, text, table }),
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            Err(error_at(&path, &text, offset, None, error.message()))
        }
    }
}

/// Lays `over` over `under`: tables key by key, anything else replaces.
pub(super) fn merge(under: &mut toml::Table, over: &toml::Table) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => merge(under, over),
            _ => {
                under.insert(key.clone(), value.clone());
            }
        }
    }
}
