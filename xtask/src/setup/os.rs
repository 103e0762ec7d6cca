//! Which distribution this is.
//!
//! May not: guess. A system that was never tried is refused, with the list of what it would need.

use super::packages;
use anyhow::{Context, Result, bail};
use std::fmt;
use std::fs;

/// A system whose package names are known and tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// bookworm.
    Debian12,
    /// trixie.
    Debian13,
    /// noble.
    Ubuntu2404,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            System::Debian12 => "Debian 12",
            System::Debian13 => "Debian 13",
            System::Ubuntu2404 => "Ubuntu 24.04",
        })
    }
}

/// Read /etc/os-release.
pub(crate) fn detect() -> Result<System> {
    let text = fs::read_to_string("/etc/os-release")
        .or_else(|_| fs::read_to_string("/usr/lib/os-release"))
        .context("cannot read /etc/os-release")?;
    match parse(&text) {
        Some(_) if std::env::consts::ARCH != "x86_64" => {
            bail!("guests of the testbed are x86-64, this machine is {}", std::env::consts::ARCH)
        }
        Some(system) => Ok(system),
        None => bail!(
            "{} is not one of Debian 12, Debian 13, Ubuntu 24.04; install what these Debian packages contain by hand: {}",
            field(&text, "PRETTY_NAME").unwrap_or("this system"),
            packages::everything().join(" ")
        ),
    }
}

fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(line.trim().trim_matches('"'))
}

fn parse(text: &str) -> Option<System> {
    match (field(text, "ID")?, field(text, "VERSION_ID")?) {
        ("debian", "12") => Some(System::Debian12),
        ("debian", "13") => Some(System::Debian13),
        ("ubuntu", "24.04") => Some(System::Ubuntu2404),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown_systems() {
        let bookworm = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(parse(bookworm), Some(System::Debian12));
        assert_eq!(parse("ID=ubuntu\nVERSION_ID=\"24.04\"\n"), Some(System::Ubuntu2404));
        assert_eq!(parse("ID=ubuntu\nVERSION_ID=\"22.04\"\nID_LIKE=debian\n"), None);
        assert_eq!(parse("ID=fedora\nVERSION_ID=41\n"), None);
        assert_eq!(parse(""), None);
    }
}
