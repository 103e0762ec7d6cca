//! dpkg and apt: what is installed, what an installation would do, and doing it.
//!
//! May not: remove a package, recommend packages, or decide whether to go on (`mod.rs` does).

use super::downgrade;
use crate::cmd::{self, Captured};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// Package lists older than this are fetched anew before something is installed: mirrors drop superseded packages.
const LISTS_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// Installed packages, version by name (without the architecture).
pub(crate) type Installed = BTreeMap<String, String>;

/// One line of an installation plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Package.
    pub(crate) name: String,
    /// Version installed now, if any.
    pub(crate) from: Option<String>,
    /// Version afterwards.
    pub(crate) to: String,
    /// A lower version replaces a higher one, for this reason.
    pub(crate) downgrade: Option<String>,
}

/// What apt would do, step by step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Arguments of `apt-get install` (names, or name=version for a downgrade).
    pub(crate) arguments: Vec<String>,
    /// Everything that would change.
    pub(crate) steps: Vec<Step>,
}

impl Plan {
    /// Nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Packages that would change.
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// The plan for people: what was asked for, what that brings along, and what would change.
    pub(crate) fn table(&self, asked: &[&str]) -> String {
        let mut text = String::new();
        let fresh = self.steps.iter().filter(|step| step.from.is_none());
        let (named, along): (Vec<&Step>, Vec<&Step>) =
            fresh.partition(|step| asked.contains(&step.name.as_str()));
        let names =
            |steps: &[&Step]| steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "To be installed ({}): {}", named.len(), names(&named));
        if !along.is_empty() {
            let _ = writeln!(text, "with what they need ({}): {}", along.len(), names(&along));
        }
        for step in self.steps.iter().filter(|step| step.from.is_some()) {
            let from = step.from.as_deref().unwrap_or_default();
            match &step.downgrade {
                Some(why) => {
                    let _ = writeln!(
                        text,
                        "To be DOWNGRADED: {} {from} -> {}, because {why}",
                        step.name, step.to
                    );
                }
                None => {
                    let _ = writeln!(text, "To be upgraded: {} {from} -> {}", step.name, step.to);
                }
            }
        }
        text.trim_end().to_owned()
    }

    /// The machine's own libvirt daemon, if it runs and this plan would change a package of it or of qemu.
    pub(crate) fn touches_running_libvirt(&self) -> Option<String> {
        let changes = self.steps.iter().any(|step| {
            step.from.is_some() && (step.name.starts_with("libvirt") || step.name.starts_with("qemu"))
        });
        if changes { super::services::running_libvirt() } else { None }
    }
}

/// `apt-get` as everything here runs it: no questions, plain English, no service restarts by needrestart.
fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C")
        .env("NEEDRESTART_SUSPEND", "1")
        .args(["-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]);
    command
}

/// Every installed package.
pub(crate) fn installed() -> Result<Installed> {
    let format = "${db:Status-Status}\t${Package}\t${Version}\n";
    let text = cmd::output(Command::new("dpkg-query").args(["-W", "-f", format]))?;
    Ok(parse_installed(&text))
}

fn parse_installed(text: &str) -> Installed {
    let mut found = Installed::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        if let (Some("installed"), Some(name), Some(version)) = (fields.next(), fields.next(), fields.next())
        {
            found.insert(name.to_owned(), version.to_owned());
        }
    }
    found
}

/// `apt-get update` when there are no lists, old lists, or lists that do not know a package that is wanted.
pub(crate) fn refresh_lists(wanted: &[&str]) -> Result<()> {
    if lists_age().is_some_and(|age| age < LISTS_MAX_AGE) && unknown(wanted)?.is_empty() {
        return Ok(());
    }
    println!("Fetching the package lists (apt-get update)");
    let said = cmd::capture(apt_get().arg("update"))?;
    let unknown = unknown(wanted)?;
    if unknown.is_empty() {
        // One source of many may be out of reach; what is wanted is there.
        return Ok(());
    }
    let hint = if said.ok {
        "is `universe` (Ubuntu) or `main` (Debian) among the sources?".to_owned()
    } else {
        format!("apt-get update failed: {}", last_lines(&said))
    };
    bail!("no package source of this machine has {}: {hint}", unknown.join(", "))
}

/// Age of the newest package list.
fn lists_age() -> Option<Duration> {
    let entries = fs::read_dir("/var/lib/apt/lists").ok()?;
    let packages =
        entries.flatten().filter(|entry| entry.file_name().to_string_lossy().contains("_Packages"));
    // The lists keep the mirror's modification time; the time of the last update is the directory's or the status change's.
    let newest = packages.filter_map(|entry| entry.metadata().ok()).map(|meta| changed(&meta)).max()?;
    SystemTime::now().duration_since(newest).ok()
}

fn changed(meta: &fs::Metadata) -> SystemTime {
    use std::os::unix::fs::MetadataExt;
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(meta.ctime()).unwrap_or(0))
}

/// Those of the packages that no source has.
fn unknown(wanted: &[&str]) -> Result<Vec<String>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let text = cmd::output(Command::new("apt-cache").env("LC_ALL", "C").arg("policy").args(wanted))?;
    Ok(wanted.iter().filter(|name| !has_candidate(&text, name)).map(|name| (*name).to_owned()).collect())
}

fn has_candidate(policy: &str, name: &str) -> bool {
    let mut lines = policy.lines().skip_while(|line| line.strip_suffix(':') != Some(name)).skip(1);
    let candidate = lines.find_map(|line| line.trim().strip_prefix("Candidate: "));
    candidate.is_some_and(|version| version != "(none)")
}

/// Let apt work out the installation of `missing`, with downgrades only where there is no other way.
pub(crate) fn plan(missing: &[&str], installed: &Installed) -> Result<Plan> {
    if missing.is_empty() {
        return Ok(Plan::default());
    }
    let plain: Vec<String> = missing.iter().map(|name| (*name).to_owned()).collect();
    let said = simulate(&plain)?;
    if said.ok {
        return Ok(Plan { steps: parse_simulation(&said.out, &BTreeMap::new()), arguments: plain });
    }
    let Some(downgrades) = downgrade::find(installed, &plain)? else {
        bail!("apt cannot install {}: {}", missing.join(", "), last_lines(&said));
    };
    let mut arguments = plain;
    arguments.extend(downgrades.iter().map(|(name, (version, _))| format!("{name}={version}")));
    let said = simulate(&arguments)?;
    if !said.ok {
        bail!("apt cannot install {}: {}", arguments.join(", "), last_lines(&said));
    }
    let reasons = downgrades.into_iter().map(|(name, (_, why))| (name, why)).collect();
    Ok(Plan { steps: parse_simulation(&said.out, &reasons), arguments })
}

/// A dry run of an installation. It removes nothing.
pub(crate) fn simulate(arguments: &[String]) -> Result<Captured> {
    cmd::capture(apt_get().args(INSTALL).arg("--simulate").args(arguments))
}

const INSTALL: [&str; 5] =
    ["install", "--yes", "--no-install-recommends", "--no-remove", "--allow-downgrades"];

fn parse_simulation(text: &str, reasons: &BTreeMap<String, String>) -> Vec<Step> {
    text.lines().filter_map(|line| parse_inst(line, reasons)).collect()
}

/// `Inst qemu-utils [1:10.0.2] (1:7.2 Debian:12.11/stable [amd64])`; the bracket only when one is installed.
fn parse_inst(line: &str, reasons: &BTreeMap<String, String>) -> Option<Step> {
    let rest = line.strip_prefix("Inst ")?;
    let (name, rest) = rest.split_once(' ')?;
    let (from, rest) = match rest.strip_prefix('[') {
        Some(bracket) => bracket.split_once("] ").map(|(from, rest)| (Some(from.to_owned()), rest))?,
        None => (None, rest),
    };
    let to = rest.strip_prefix('(')?.split([' ', ')']).next()?.to_owned();
    let name = name.split(':').next()?.to_owned();
    Some(Step { downgrade: reasons.get(&name).cloned(), name, from, to })
}

/// Carry the plan out, shown as it goes. Fetched anew once when a mirror has dropped a package in the meantime.
pub(crate) fn install(plan: &Plan) -> Result<()> {
    let run = || cmd::shown(apt_get().args(INSTALL).args(&plan.arguments));
    if run()?.success() {
        return Ok(());
    }
    println!("apt-get failed; once more with fresh package lists");
    cmd::shown_ok(apt_get().arg("update"))?;
    let status = run()?;
    if !status.success() {
        bail!("apt-get install failed ({status}); its messages are above");
    }
    Ok(())
}

/// Fetch the .deb of `package` into `dir` without installing it.
pub(crate) fn download(package: &str, dir: &std::path::Path) -> Result<std::path::PathBuf> {
    let said = cmd::capture(apt_get().current_dir(dir).args(["download", package]))?;
    if !said.ok {
        bail!("cannot download {package}: {}", last_lines(&said));
    }
    let prefix = format!("{package}_");
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let found = entries.flatten().find(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    found.map(|entry| entry.path()).with_context(|| format!("apt-get download {package} left no file"))
}

/// The last lines of what apt said, on one line.
fn last_lines(said: &Captured) -> String {
    let lines: Vec<&str> =
        said.out.lines().chain(said.err.lines()).map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count() {
        let found =
            parse_installed("installed\tcpio\t2.13\nconfig-files\tmpich\t4.0\nnot-installed\tzstd\t\n");
        assert_eq!(found.keys().collect::<Vec<_>>(), ["cpio"]);
    }

    #[test]
    fn a_simulation_is_read_with_new_upgraded_and_downgraded() {
        let text = "Reading package lists...\n\
            Inst qemu-utils [1:10.0.2+ds-2~bpo12+1] (1:7.2+dfsg-7+deb12u16 Debian:12.11/oldstable [amd64]) []\n\
            Inst libnuma1 (2.0.16-1 Debian:12.11/oldstable [amd64])\n\
            Inst libc6:i386 [2.36-8] (2.36-9 Debian:12.11/oldstable [i386])\n\
            Conf libnuma1 (2.0.16-1 Debian:12.11/oldstable [amd64])\n";
        let reasons = BTreeMap::from([("qemu-utils".to_owned(), "it is in the way".to_owned())]);
        let steps = parse_simulation(text, &reasons);
        assert_eq!(steps.len(), 3);
        assert_eq!(steps[0].from.as_deref(), Some("1:10.0.2+ds-2~bpo12+1"));
        assert_eq!(steps[0].to, "1:7.2+dfsg-7+deb12u16");
        assert_eq!(steps[0].downgrade.as_deref(), Some("it is in the way"));
        assert_eq!((steps[1].from.as_deref(), steps[1].to.as_str()), (None, "2.0.16-1"));
        assert_eq!((steps[2].name.as_str(), steps[2].downgrade.as_deref()), ("libc6", None));
        let table = Plan { arguments: Vec::new(), steps }.table(&["libnuma1"]);
        assert!(table.contains("To be installed (1): libnuma1"), "{table}");
        assert!(
            table.contains("DOWNGRADED: qemu-utils 1:10.0.2+ds-2~bpo12+1 -> 1:7.2+dfsg-7+deb12u16"),
            "{table}"
        );
        assert!(table.contains("To be upgraded: libc6 2.36-8 -> 2.36-9"), "{table}");
    }

    #[test]
    fn a_package_without_a_candidate_is_unknown() {
        let policy = "cpio:\n  Installed: (none)\n  Candidate: 2.13+dfsg-7.1\n  Version table:\n\
                      libvirt-dbus:\n  Installed: (none)\n  Candidate: (none)\n";
        assert!(has_candidate(policy, "cpio"));
        assert!(!has_candidate(policy, "libvirt-dbus"));
        assert!(!has_candidate(policy, "hpcc"));
    }
}
