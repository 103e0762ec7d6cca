//! The files of the package, where Debian wants them. May not: know anything of control files.

use super::{directory, put};
use crate::cmd;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The only configuration file that dpkg asks about when both sides changed it.
pub(super) const CONFFILE: &str = "/etc/trimtab/trimtab.toml";

/// Copies: from the workspace, to the root.
const FILES: [(&str, &str); 14] = [
    ("systemd/trimtab.toml", "etc/trimtab/trimtab.toml"),
    ("systemd/trimtabd.service", "usr/lib/systemd/system/trimtabd.service"),
    ("systemd/trimtab-libvirt-dbus.service", "usr/lib/systemd/system/trimtab-libvirt-dbus.service"),
    (
        "systemd/libvirt-dbus.service.d/10-trimtab.conf",
        "usr/lib/systemd/system/libvirt-dbus.service.d/10-trimtab.conf",
    ),
    ("systemd/sysusers.conf", "usr/lib/sysusers.d/trimtab.conf"),
    ("systemd/tmpfiles.conf", "usr/lib/tmpfiles.d/trimtab.conf"),
    ("systemd/org.trimtab1.conf", "usr/share/dbus-1/system.d/org.trimtab1.conf"),
    ("systemd/org.trimtab1.policy", "usr/share/polkit-1/actions/org.trimtab1.policy"),
    ("systemd/trimtab.rules", "usr/share/polkit-1/rules.d/60-trimtab.rules"),
    ("README.md", "usr/share/doc/trimtab/README.md"),
    ("docs/OPERATIONS.md", "usr/share/doc/trimtab/OPERATIONS.md"),
    ("docs/ARCHITECTURE.md", "usr/share/doc/trimtab/ARCHITECTURE.md"),
    ("LICENSE-APACHE", "usr/share/doc/trimtab/LICENSE-APACHE"),
    ("LICENSE-MIT", "usr/share/doc/trimtab/LICENSE-MIT"),
];

const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/trimtabctl"),
    ("zsh", "usr/share/zsh/vendor-completions/_trimtabctl"),
    ("fish", "usr/share/fish/vendor_completions.d/trimtabctl.fish"),
];

/// Lays the tree out below `stage`.
pub(super) fn fill(stage: &Path, root: &Path, binaries: &Path) -> Result<()> {
    for (from, to) in FILES {
        put(&stage.join(to), &read(&root.join(from))?, 0o644)?;
    }
    put(&stage.join("usr/sbin/trimtabd"), &read(&binaries.join("trimtabd"))?, 0o755)?;
    let ctl = stage.join("usr/bin/trimtabctl");
    put(&ctl, &read(&binaries.join("trimtabctl"))?, 0o755)?;
    // For an admin's own fragments.
    directory(&stage.join("etc/trimtab/config.d"))?;
    for (shell, to) in COMPLETIONS {
        let text = cmd::output(Command::new(&ctl).args(["completions", shell]))?;
        put(&stage.join(to), text.as_bytes(), 0o644)?;
    }
    let pages = stage.join("usr/share/man/man1");
    directory(&pages)?;
    cmd::output(Command::new(&ctl).arg("man").arg(&pages))?;
    for page in fs::read_dir(&pages)? {
        let page = page?.path();
        put(&page, &read(&page)?, 0o644)?;
        compress(&page)?;
    }
    let page = stage.join("usr/share/man/man8/trimtabd.8");
    put(&page, &read(&root.join("systemd/trimtabd.8"))?, 0o644)?;
    compress(&page)?;
    let changes = stage.join("usr/share/doc/trimtab/changelog");
    put(&changes, &read(&root.join("CHANGELOG.md"))?, 0o644)?;
    compress(&changes)?;
    let copyright = [read(&root.join("systemd/debian/copyright"))?, licence(root)?].concat();
    put(&stage.join("usr/share/doc/trimtab/copyright"), &copyright, 0o644)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The MIT text as a machine-readable copyright file wants it; Apache's is in every Debian.
fn licence(root: &Path) -> Result<Vec<u8>> {
    let text = String::from_utf8(read(&root.join("LICENSE-MIT"))?)?;
    let line = |line: &str| if line.trim().is_empty() { " .\n".to_owned() } else { format!(" {line}\n") };
    let mut out: String = text.lines().map(line).collect();
    out.push_str("\nLicense: Apache-2.0\n The full text is in /usr/share/common-licenses/Apache-2.0.\n");
    Ok(out.into_bytes())
}

/// Without name and time, so that the same text gives the same bytes.
fn compress(path: &Path) -> Result<()> {
    cmd::output(Command::new("gzip").args(["-9n", "--force"]).arg(path)).map(|_| ())
}
