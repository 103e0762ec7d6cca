//! Keep package scripts from starting or enabling services on this machine.
//!
//! The packages of libvirt and qemu enable and start libvirtd, its sockets, libvirt-guests, qemu-kvm. Here they are wanted as files only, for
//! private hosts in namespaces; a machine's own libvirt is none of our business. So, for the time of the installation, a
//! policy-rc.d forbids every start, stop and restart (Debian policy 9.3.3.1), and their units that the installation
//! has enabled are disabled again, before they could come up with the next boot. Units that were enabled before are left as
//! they are. What was at /usr/sbin/policy-rc.d is put back on every way out, and by the next run after a kill -9.

use crate::cmd;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const POLICY: &str = "/usr/sbin/policy-rc.d";
const SAVED: &str = "/usr/sbin/policy-rc.d.before-trimtab-setup";
const MARK: &str = "# written by trimtab's cargo xtask setup";
/// Where `systemctl enable` makes its links.
const ENABLED: &str = "/etc/systemd/system";
/// Beginning of the names of the packages whose units are disabled again. Others (systemd, logrotate) come along as
/// dependencies, belong to the base of a machine and would be a trap when installed but disabled.
const KEPT_OFF: [&str; 2] = ["libvirt", "qemu"];

/// Holds service starts off from [`Guard::take`] to [`Guard::release`] (or drop).
pub(crate) struct Guard {
    policy: Policy,
    enabled_before: BTreeSet<PathBuf>,
}

impl Guard {
    /// Forbid starts; remember what is enabled.
    pub(crate) fn take() -> Result<Guard> {
        let policy = Policy::put(Path::new(POLICY), Path::new(SAVED))?;
        Ok(Guard { policy, enabled_before: links(Path::new(ENABLED)) })
    }

    /// Disable what has been enabled since, put the machine's own policy back. Returns the units that were disabled.
    pub(crate) fn release(self) -> Result<Vec<String>> {
        let units = newly_enabled(&self.enabled_before, &links(Path::new(ENABLED)));
        let mut disabled = Vec::new();
        for unit in units {
            if is_kept_off(&unit)? {
                disable(&unit)?;
                disabled.push(unit);
            }
        }
        self.policy.take_back()?;
        Ok(disabled)
    }
}

/// The policy-rc.d put in place of the machine's own.
struct Policy {
    path: PathBuf,
    saved: PathBuf,
    done: bool,
}

impl Policy {
    fn put(path: &Path, saved: &Path) -> Result<Policy> {
        let ours = fs::read_to_string(path).is_ok_and(|text| text.contains(MARK));
        if path.symlink_metadata().is_ok() && !ours {
            fs::rename(path, saved).with_context(|| format!("cannot set {} aside", path.display()))?;
        }
        let policy = Policy { path: path.to_path_buf(), saved: saved.to_path_buf(), done: false };
        let text = format!("#!/bin/sh\n{MARK}; it goes away when that ends\nexit 101\n");
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        Ok(policy)
    }

    fn restore(&mut self) -> Result<()> {
        if self.done {
            return Ok(());
        }
        self.done = true;
        if self.saved.symlink_metadata().is_ok() {
            fs::rename(&self.saved, &self.path)
        } else {
            fs::remove_file(&self.path)
        }
        .with_context(|| format!("cannot put {} back", self.path.display()))
    }

    fn take_back(mut self) -> Result<()> {
        self.restore()
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            eprintln!("warning: {error:#}");
        }
    }
}

/// Every link below a directory of units.
fn links(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let Ok(entries) = fs::read_dir(dir) else { return found };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_symlink() {
            found.insert(path);
        } else if path.is_dir() {
            found.extend(links(&path));
        }
    }
    found
}

/// Names of the units to which links have been added.
fn newly_enabled(before: &BTreeSet<PathBuf>, after: &BTreeSet<PathBuf>) -> BTreeSet<String> {
    let target = |link: &PathBuf| fs::read_link(link).unwrap_or_else(|_| link.clone());
    let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    after.difference(before).filter_map(|link| name(target(link))).filter(|unit| unit != "null").collect()
}

/// Whether a unit comes with a package of libvirt or qemu.
fn is_kept_off(unit: &str) -> Result<bool> {
    let said = cmd::capture(Command::new("dpkg-query").args(["-S", &format!("*/systemd/system/{unit}")]))?;
    let mut owners = said.out.lines().filter_map(|line| line.split(':').next());
    Ok(owners.any(|owner| KEPT_OFF.iter().any(|kept_off| owner.starts_with(kept_off))))
}

fn disable(unit: &str) -> Result<()> {
    let said = cmd::capture(Command::new("systemctl").args(["--no-reload", "disable", unit]))?;
    if !said.ok {
        bail!("cannot disable {unit} again: {}", said.err.trim());
    }
    Ok(())
}

/// Name of a libvirt daemon that runs for this machine itself (in our own pid namespace), if any.
pub(crate) fn running_libvirt() -> Option<String> {
    let own = fs::read_link("/proc/self/ns/pid").ok()?;
    let entries = fs::read_dir("/proc").ok()?;
    entries.flatten().map(|entry| entry.path()).find_map(|path| {
        let name = fs::read_to_string(path.join("comm")).ok()?.trim().to_owned();
        let daemon = matches!(name.as_str(), "libvirtd" | "virtqemud");
        (daemon && fs::read_link(path.join("ns/pid")).ok()? == own).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("temporary directory");
        dir
    }

    #[test]
    fn the_machines_own_policy_comes_back() {
        let dir = scratch("policy");
        let (path, saved) = (dir.join("policy-rc.d"), dir.join("saved"));
        // None before: none after.
        drop(Policy::put(&path, &saved).expect("put"));
        assert!(!path.exists());
        // One before: the same after, also when a run in between was killed.
        fs::write(&path, "own").expect("write");
        std::mem::forget(Policy::put(&path, &saved).expect("put"));
        assert!(fs::read_to_string(&path).expect("read").contains("exit 101"));
        Policy::put(&path, &saved).expect("put").take_back().expect("back");
        assert_eq!(fs::read_to_string(&path).expect("read"), "own");
        assert!(!saved.exists());
        fs::remove_dir_all(dir).expect("clean up");
    }

    #[test]
    fn new_links_are_found_by_the_unit_they_enable() {
        let dir = scratch("links");
        fs::create_dir_all(dir.join("sockets.target.wants")).expect("mkdir");
        symlink("/lib/systemd/system/old.service", dir.join("old.service")).expect("link");
        let before = links(&dir);
        symlink("/lib/systemd/system/libvirtd.socket", dir.join("sockets.target.wants/libvirtd.socket"))
            .expect("link");
        symlink("/dev/null", dir.join("masked.service")).expect("link");
        let units = newly_enabled(&before, &links(&dir));
        assert_eq!(units.into_iter().collect::<Vec<_>>(), ["libvirtd.socket"]);
        fs::remove_dir_all(dir).expect("clean up");
    }
}
