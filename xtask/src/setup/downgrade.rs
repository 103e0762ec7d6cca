//! When apt finds no solution: installed packages that come from no configured source and stand in the way.
//!
//! Seen on real machines: a qemu-utils installed once from backports, the backports source gone since, its `Breaks:`
//! forbidding the qemu of the release ("held broken packages"). Intuition: only packages whose installed version no
//! source has can be the cause of an unsolvable set on an otherwise consistent release; the smallest set of them that,
//! taken back to the version which the sources have, lets the simulation succeed is the answer. The resolver itself is
//! asked, dependencies are not interpreted here. May not: change anything, nor propose a removal.

use super::apt::{self, Installed};
use crate::cmd;
use anyhow::Result;
use std::collections::BTreeMap;
use std::process::Command;

/// Version to go back to, and why, by package.
pub(crate) type Downgrades = BTreeMap<String, (String, String)>;

/// The smallest set found, or `None` when no downgrade helps.
pub(crate) fn find(installed: &Installed, wanted: &[String]) -> Result<Option<Downgrades>> {
    let names: Vec<&String> = installed.keys().collect();
    let policy = cmd::output(Command::new("apt-cache").env("LC_ALL", "C").arg("policy").args(&names))?;
    let solves = |set: &[Stray]| -> Result<bool> {
        let extra = set.iter().map(|stray| format!("{}={}", stray.name, stray.to));
        let arguments: Vec<String> = wanted.iter().cloned().chain(extra).collect();
        Ok(apt::simulate(&arguments)?.ok)
    };
    let Some(least) = least(strays(&policy), solves)? else { return Ok(None) };
    let reason = |from: &str| format!("{from} comes from no source of this machine and keeps the others out");
    Ok(Some(least.into_iter().map(|stray| (stray.name, (stray.to, reason(&stray.from)))).collect()))
}

/// A package whose installed version no source has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stray {
    name: String,
    /// Installed version.
    from: String,
    /// Best version that a source has.
    to: String,
}

/// One package alone if that is enough; else all of them, less what turns out not to be needed.
fn least(mut set: Vec<Stray>, solves: impl Fn(&[Stray]) -> Result<bool>) -> Result<Option<Vec<Stray>>> {
    for stray in &set {
        if solves(std::slice::from_ref(stray))? {
            return Ok(Some(vec![stray.clone()]));
        }
    }
    if set.len() < 2 || !solves(&set)? {
        return Ok(None);
    }
    let mut index = 0;
    while index < set.len() {
        let taken = set.remove(index);
        if !solves(&set)? {
            set.insert(index, taken);
            index += 1;
        }
    }
    Ok(Some(set))
}

/// A version in the table of `apt-cache policy`.
struct Listed<'a> {
    version: &'a str,
    installed: bool,
    /// Some source has it, not only dpkg's status file.
    sourced: bool,
}

/// Read `apt-cache policy NAME...`.
fn strays(policy: &str) -> Vec<Stray> {
    let mut found = Vec::new();
    let mut name = "";
    let mut table: Vec<Listed<'_>> = Vec::new();
    // The closing line ends the last package as the next package's heading ends the others.
    for line in policy.lines().chain(["end:"]) {
        if !line.starts_with(' ') {
            found.extend(stray(name, &table));
            table.clear();
            name = line.trim_end_matches(':');
        } else if line.starts_with("        ") {
            if let Some(last) = table.last_mut() {
                last.sourced |= !line.contains("/var/lib/dpkg/status");
            }
        } else if let Some(rest) = line.strip_prefix(" *** ").or_else(|| line.strip_prefix("     ")) {
            let version = rest.split(' ').next().unwrap_or_default();
            table.push(Listed { version, installed: line.starts_with(" ***"), sourced: false });
        }
    }
    found
}

fn stray(name: &str, table: &[Listed<'_>]) -> Option<Stray> {
    let installed = table.iter().find(|listed| listed.installed && !listed.sourced)?;
    // The table is sorted, best version first.
    let other = table.iter().find(|listed| !listed.installed && listed.sourced)?;
    Some(Stray { name: name.to_owned(), from: installed.version.to_owned(), to: other.version.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "\
cpio:
  Installed: 2.13+dfsg-7.1
  Candidate: 2.13+dfsg-7.1
  Version table:
 *** 2.13+dfsg-7.1 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
        100 /var/lib/dpkg/status
kubectl:
  Installed: 1.33.0-1
  Candidate: 1.33.0-1
  Version table:
 *** 1.33.0-1 100
        100 /var/lib/dpkg/status
qemu-utils:
  Installed: 1:10.0.2+ds-2~bpo12+1
  Candidate: 1:10.0.2+ds-2~bpo12+1
  Version table:
 *** 1:10.0.2+ds-2~bpo12+1 100
        100 /var/lib/dpkg/status
     1:7.2+dfsg-7+deb12u18 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
     1:7.2+dfsg-7+deb12u15 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
";

    fn named(name: &str) -> Stray {
        Stray { name: name.into(), from: "2".into(), to: "1".into() }
    }

    #[test]
    fn only_a_version_without_a_source_and_with_an_alternative_is_a_stray() {
        let found = strays(POLICY);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].name, "qemu-utils");
        assert_eq!(found[0].to, "1:7.2+dfsg-7+deb12u18");
    }

    #[test]
    fn the_least_set_is_found() {
        let all = vec![named("a"), named("b"), named("c"), named("d")];
        let has = |set: &[Stray], name: &str| set.iter().any(|stray| stray.name == name);
        let one = least(all.clone(), |set| Ok(has(set, "c"))).expect("no error");
        assert_eq!(one, Some(vec![named("c")]));
        let two = least(all.clone(), |set| Ok(has(set, "b") && has(set, "d"))).expect("no error");
        assert_eq!(two, Some(vec![named("b"), named("d")]));
        assert_eq!(least(all, |_| Ok(false)).expect("no error"), None);
    }
}
