//! What dpkg needs to know: control, conffiles, checksums and the maintainer scripts. May not: place files of the package.

use super::{put, tree};
use crate::cmd;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Version of the package: that of the workspace.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// What every Linux that has these packages has; the C library is added with the version that the programs ask for.
const DEPENDS: &str =
    "libgcc-s1, dbus | dbus-broker, libvirt-dbus, systemd (>= 252), init-system-helpers (>= 1.54~)";

/// Debian's name of the architecture that we are built for.
pub(super) fn architecture() -> Result<&'static str> {
    Ok(match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64el",
        "s390x" => "s390x",
        "riscv64" => "riscv64",
        other => bail!("no Debian architecture is known for {other}"),
    })
}

/// Writes DEBIAN/ for the tree in `stage`.
pub(super) fn fill(stage: &Path, root: &Path, binaries: &Path, arch: &str) -> Result<()> {
    let mut files = Vec::new();
    list(stage, stage, &mut files)?;
    files.sort();
    let debian = stage.join("DEBIAN");
    let sums = cmd::output(Command::new("md5sum").arg("--").args(&files).current_dir(stage))?;
    put(&debian.join("md5sums"), sums.as_bytes(), 0o644)?;
    put(&debian.join("conffiles"), format!("{}\n", tree::CONFFILE).as_bytes(), 0o644)?;
    for script in SCRIPTS {
        let from = root.join("systemd/debian").join(script);
        let text = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        put(&debian.join(script), &text, 0o755)?;
    }
    let libc = newest_glibc(binaries)?;
    let kib = size_kib(stage, &files)?;
    let control = format!(
        "Package: trimtab\n\
         Version: {VERSION}\n\
         Architecture: {arch}\n\
         Maintainer: The Trimtab developers <trimtab@users.noreply.github.com>\n\
         Installed-Size: {kib}\n\
         Depends: libc6 (>= {libc}), {DEPENDS}\n\
         Recommends: libvirt-daemon-system, polkitd | policykit-1\n\
         Suggests: sqlite3\n\
         Section: admin\n\
         Priority: optional\n\
         Homepage: https://github.com/trimtab/trimtab\n\
         Description: keeps virtualised HPC hosts in trim\n \
         On a KVM/libvirt host trimtabd senses where guests lose time, turns one small knob\n \
         (affinity, priority), measures whether that helped, and keeps the change or takes it back.\n \
         It starts in the mode observe, in which it changes nothing.\n"
    );
    put(&debian.join("control"), control.as_bytes(), 0o644)
}

/// Files below `dir`, relative to `stage`.
fn list(stage: &Path, dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            list(stage, &path, files)?;
        } else {
            files.push(path.strip_prefix(stage)?.to_path_buf());
        }
    }
    Ok(())
}

fn size_kib(stage: &Path, files: &[PathBuf]) -> Result<u64> {
    let mut kib = 0;
    for file in files {
        kib += stage.join(file).metadata()?.len().div_ceil(1024);
    }
    Ok(kib)
}

/// The newest symbol version of the C library that the programs ask for.
fn newest_glibc(binaries: &Path) -> Result<String> {
    let mut newest = (0, 0);
    for name in ["trimtabd", "trimtabctl"] {
        let path = binaries.join(name);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        newest = newest.max(newest_glibc_in(&bytes));
    }
    if newest == (0, 0) {
        bail!("the programs are not linked to the C library of Debian");
    }
    Ok(format!("{}.{}", newest.0, newest.1))
}

/// Version names stand in the binary as plain text, `GLIBC_2.34`, each ended by a zero byte.
fn newest_glibc_in(bytes: &[u8]) -> (u32, u32) {
    const NAME: &[u8] = b"GLIBC_";
    let versions =
        bytes.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME).filter_map(|(at, _)| {
            let rest = &bytes[at + NAME.len()..];
            let end = rest.iter().position(|byte| !(byte.is_ascii_digit() || *byte == b'.'))?;
            let (major, minor) = std::str::from_utf8(&rest[..end]).ok()?.split_once('.')?;
            let minor = minor.split('.').next()?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
    versions.max().unwrap_or((0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_counts_by_number() {
        let bytes = b"\0GLIBC_2.4\0x\0GLIBC_2.34\0GLIBC_2.2.5\0GLIBC_PRIVATE\0GLIBC_";
        assert_eq!(newest_glibc_in(bytes), (2, 34));
        assert_eq!(newest_glibc_in(b"nothing"), (0, 0));
    }
}
