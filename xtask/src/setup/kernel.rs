//! The kernel that guests boot: the distribution's own package, downloaded and unpacked under target/, not installed.
//!
//! May not: touch /boot or the machine's own kernels.

use super::apt;
use crate::{cmd, workspace};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `boot/vmlinuz-*` and `lib/modules/*` lie below; also what `TRIMTAB_GUEST_KERNEL` names for the testbed.
pub(crate) fn dir() -> PathBuf {
    workspace::target_dir().join("guest-kernel")
}

/// Whether it has been fetched.
pub(crate) fn present() -> bool {
    image(&dir()).is_some()
}

fn image(dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(dir.join("boot")).ok()?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
}

/// Fetch the newest kernel that the meta package points to.
pub(crate) fn fetch(meta: &str) -> Result<()> {
    let image_package = dependency(meta, "linux-image-")?;
    let mut packages = vec![image_package.clone()];
    // Ubuntu keeps the modules apart.
    packages.extend(dependency(&image_package, "linux-modules-"));
    let dir = dir();
    let partial = dir.with_extension("partial");
    // Left by an interrupted run; made anew either way.
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    for package in &packages {
        println!("Downloading {package}");
        let deb = apt::download(package, &partial)?;
        cmd::output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&partial))?;
        fs::remove_file(&deb)?;
    }
    if image(&partial).is_none() {
        bail!("{} brought no boot/vmlinuz", packages.join(" and "));
    }
    let _ = fs::remove_dir_all(&dir);
    fs::rename(&partial, &dir).with_context(|| format!("cannot move {} into place", dir.display()))
}

/// The first dependency of a package that begins so.
fn dependency(package: &str, prefix: &str) -> Result<String> {
    let text = cmd::output(Command::new("apt-cache").env("LC_ALL", "C").args(["depends", package]))?;
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let found = names.map(str::trim).find(|name| name.starts_with(prefix));
    found.map(str::to_owned).with_context(|| format!("{package} depends on no {prefix}*"))
}
