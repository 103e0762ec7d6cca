//! Whether live tests can run here: root, the programs, namespaces. Says what is missing in one sentence.

use super::Missing;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Programs that a host needs, with the Debian and Ubuntu package that has each.
const PROGRAMS: &[(&str, &str)] = &[
    ("bash", "bash"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("ip", "iproute2"),
    ("busctl", "systemd"),
    ("dbus-daemon", "dbus-daemon"),
    ("libvirtd", "libvirt-daemon-system"),
    ("virsh", "libvirt-clients"),
    ("libvirt-dbus", "libvirt-dbus"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("dpkg-deb", "dpkg"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
];

/// Where a program is, looking also where a bare PATH does not.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// The static busybox, for guests.
pub(crate) fn static_busybox() -> Option<PathBuf> {
    // A dynamically linked busybox (package busybox) names its loader; the static one has none.
    program("busybox").filter(|file| {
        std::fs::read(file)
            .is_ok_and(|bytes| !bytes[..bytes.len().min(4096)].windows(9).any(|w| w == b"/ld-linux"))
    })
}

/// Checks once per process.
pub(crate) fn available() -> Result<(), Missing> {
    static ANSWER: OnceLock<Result<(), Missing>> = OnceLock::new();
    ANSWER.get_or_init(check).clone()
}

fn check() -> Result<(), Missing> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(Missing::Platform);
    }
    let (mut programs, mut packages): (Vec<String>, Vec<String>) = PROGRAMS
        .iter()
        .filter(|(name, _)| program(name).is_none())
        .map(|&(name, package)| (name.to_owned(), package.to_owned()))
        .unzip();
    if static_busybox().is_none() {
        programs.push("static busybox".to_owned());
        packages.push("busybox-static".to_owned());
    }
    if !Path::new("/lib/systemd/systemd").exists() {
        programs.push("systemd".to_owned());
        packages.push("systemd".to_owned());
    }
    packages.sort();
    packages.dedup();
    if !programs.is_empty() {
        return Err(Missing::Packages { programs, packages });
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Missing::Root);
    }
    if !Path::new("/dev/net/tun").exists() {
        return Err(Missing::Refused("/dev/net/tun is missing: guests would have no network".to_owned()));
    }
    let namespaces = std::process::Command::new("unshare")
        .args([
            "--mount", "--net", "--uts", "--ipc", "--cgroup", "--pid", "--fork", "mount", "-t", "tmpfs",
            "none", "/mnt",
        ])
        .output();
    match namespaces {
        Ok(out) if out.status.success() => Ok(()),
        Ok(out) => Err(Missing::Refused(format!(
            "this machine or container refuses new namespaces: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        ))),
        Err(error) => Err(Missing::Refused(format!("unshare: {error}"))),
    }
}
