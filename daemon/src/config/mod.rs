//! The configuration: TOML fragments, layered, checked as a whole, and either taken as a whole or not at all.
//!
//! Layers, later wins: `/usr/lib/trimtab`, `/etc/trimtab`, `/run/trimtab`, and for a daemon on the session bus the user's own,
//! `$XDG_CONFIG_HOME/trimtab`. In each, `trimtab.toml` and `config.d/*.toml`. As with systemd's drop-ins a file in a later
//! directory replaces the file of the same name in an earlier one (an empty one, or a link to /dev/null, thus masks it); what is
//! left is read as one document, first `trimtab.toml`, then the fragments in the order of their names. Tables merge key by key,
//! anything else is replaced.
//!
//! Invariant: a key that nobody knows, a value of the wrong type or outside its range is an error that names file, line,
//! column and key, even where a later fragment overrides it. May not: change anything, or keep a configuration.

mod error;
mod layers;
mod locate;
mod sections;
#[cfg(test)]
mod tests;

pub use error::{ConfigError, ConfigErrors};
pub use sections::{Config, DbusSection, LibvirtSection, SensorsSection, StoreSection};

use layers::Fragment;
use sections::Violation;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where fragments are looked for, later wins.
const DIRECTORIES: [&str; 3] = ["/usr/lib/trimtab", "/etc/trimtab", "/run/trimtab"];

/// Reads the configuration: of the machine, or of `only` and nowhere else. No file at all means the defaults. On the session
/// bus the user's own is laid over it: if `on_session` says so, or where nothing is said, the machine's configuration.
///
/// # Errors
/// Everything that is wrong in all fragments; `only` not being a directory.
pub fn load(only: Option<&Path>, on_session: Option<bool>) -> Result<Config, ConfigErrors> {
    match only {
        Some(dir) if !dir.is_dir() => Err(ConfigError::file(dir, "is not a directory").into()),
        Some(dir) => load_from(&[dir.to_owned()]),
        None => load_layers(DIRECTORIES.map(PathBuf::from).into(), on_session, users_own()),
    }
}

/// See `load`: `own` is where the user's own configuration is.
fn load_layers(
    mut dirs: Vec<PathBuf>,
    on_session: Option<bool>,
    own: Option<PathBuf>,
) -> Result<Config, ConfigErrors> {
    let Some(own) = own.filter(|_| on_session != Some(false)) else {
        return load_from(&dirs);
    };
    if on_session.is_none() {
        let config = load_from(&dirs)?;
        if config.dbus.bus != "session" {
            return Ok(config);
        }
    }
    dirs.push(own);
    load_from(&dirs)
}

/// `$XDG_CONFIG_HOME/trimtab`, by default `~/.config/trimtab`. A path that is not absolute counts as unset, as XDG has it.
fn users_own() -> Option<PathBuf> {
    let dir = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    Some(dir("XDG_CONFIG_HOME").or_else(|| Some(dir("HOME")?.join(".config")))?.join("trimtab"))
}

/// Reads the configuration of these directories, later wins.
///
/// # Errors
/// Everything that is wrong in all fragments.
pub fn load_from(dirs: &[PathBuf]) -> Result<Config, ConfigErrors> {
    let (fragments, errors) = layers::read(dirs)?;
    combine(fragments, errors)
}

/// Reads a configuration that has this content in its only file, called `path` in errors.
///
/// # Errors
/// Everything that is wrong.
pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Config, ConfigErrors> {
    combine(vec![layers::parse(path.to_owned(), bytes)?], Vec::new())
}

/// The fragments laid over each other, later wins; `errors` are those found so far.
fn combine(fragments: Vec<Fragment>, mut errors: Vec<ConfigError>) -> Result<Config, ConfigErrors> {
    let mut merged = toml::Table::new();
    for fragment in &fragments {
        match sections::parse(fragment) {
            Ok(alone) => {
                let violations = alone.violations();
                // Two keys that contradict each other may do so only because the other one is in another fragment.
                let own = violations.iter().filter(|v| v.other.is_none());
                errors.extend(own.filter_map(|v| v.at(fragment)));
                layers::merge(&mut merged, fragment.table());
            }
            Err(found) => errors.extend(found),
        }
    }
    if !errors.is_empty() {
        return Err(ConfigErrors(errors));
    }
    let mut config: Config = merged.try_into().map_err(|error: toml::de::Error| {
        // Each fragment was accepted alone; only a bug could make the sum of them unacceptable.
        ConfigErrors(vec![ConfigError::file(Path::new("merged configuration"), error.message())])
    })?;
    let errors: Vec<_> = config.violations().iter().map(|v| v.in_any(&fragments)).collect();
    if !errors.is_empty() {
        return Err(ConfigErrors(errors));
    }
    config.sources = fragments.into_iter().map(Fragment::into_path).collect();
    Ok(config)
}

impl Violation {
    /// As an error, if `fragment` sets the key.
    fn at(&self, fragment: &Fragment) -> Option<ConfigError> {
        let span = fragment.span_of(&self.key)?;
        Some(fragment.error(span.start, Some(self.key.clone()), &self.text))
    }

    /// As an error at the last fragment that sets the key, or else the one that it contradicts.
    fn in_any(&self, fragments: &[Fragment]) -> ConfigError {
        let last = |key: &str| fragments.iter().rev().find_map(|f| Some((f, f.span_of(key)?.start)));
        match last(&self.key).or_else(|| self.other.as_deref().and_then(last)) {
            Some((fragment, offset)) => fragment.error(offset, Some(self.key.clone()), &self.text),
            None => ConfigError::file(Path::new("built-in defaults"), format!("{}: {}", self.key, self.text)),
        }
    }
}

impl Config {
    /// The whole configuration in force as TOML, defaults included, with the files that it came from.
    pub fn to_toml(&self) -> String {
        let from: BTreeSet<_> = self.sources.iter().map(|path| path.display().to_string()).collect();
        let from = if from.is_empty() {
            "built-in defaults".to_owned()
        } else {
            from.into_iter().collect::<Vec<_>>().join(", ")
        };
        // Plain tables, strings and numbers within the ranges always encode.
        let text = toml::to_string_pretty(self).unwrap_or_else(|error| format!("# not shown: {error}\n"));
        format!("# from {from}\n{text}")
    }

    /// Keys that differ between the two and only take effect at the next start of the daemon.
    pub fn needs_restart(&self, new: &Self) -> Vec<String> {
        let tables = [self, new].map(|config| toml::Table::try_from(config).unwrap_or_default());
        let mut keys = Vec::new();
        for section in ["libvirt", "store", "sensors", "dbus"] {
            let [old, new] = [0, 1].map(|n| tables[n].get(section).and_then(toml::Value::as_table));
            let names: BTreeSet<_> = old.into_iter().chain(new).flat_map(toml::Table::keys).collect();
            let differs = |name: &&String| old.and_then(|t| t.get(*name)) != new.and_then(|t| t.get(*name));
            keys.extend(names.into_iter().filter(differs).map(|name| format!("{section}.{name}")));
        }
        keys
    }
}
