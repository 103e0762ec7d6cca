//! Whether guests run under KVM or TCG: KVM only where a guest really boots under it. /dev/kvm alone proves nothing (nested
//! machines without the CPU's help, sandboxes). Asked once per boot of this machine; the answer is kept in the cache.

use super::image::{Image, cache_dir};
use super::util::{read, write};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How guests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// Hardware virtualisation.
    Kvm,
    /// qemu's emulator.
    Tcg,
}

impl Accel {
    /// libvirt's domain type.
    pub fn domain_type(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "qemu",
        }
    }
}

/// A guest boots under KVM in well under a second; a broken KVM hangs or crawls.
const LIMIT: Duration = Duration::from_secs(6);

/// The answer for this machine.
pub(crate) fn accel(image: &Image) -> Accel {
    static ANSWER: OnceLock<Accel> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        if !Path::new("/dev/kvm").exists() {
            return Accel::Tcg;
        }
        let boot = read(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
        let kept = cache_dir().join("kvm");
        if let Ok(text) = read(&kept)
            && let Some((when, what)) = text.split_once(' ')
            && when == boot.trim()
        {
            return if what.trim() == "boots" { Accel::Kvm } else { Accel::Tcg };
        }
        let boots = boots_under_kvm(image);
        // Only a saved repetition: without it the next process asks again.
        let _ = write(&kept, &format!("{} {}\n", boot.trim(), if boots { "boots" } else { "does-not" }));
        if boots { Accel::Kvm } else { Accel::Tcg }
    })
}

fn boots_under_kvm(image: &Image) -> bool {
    let child = Command::new("qemu-system-x86_64")
        .args([
            "-machine",
            "pc,accel=kvm",
            "-cpu",
            "host",
            "-m",
            "128",
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
        ])
        .args(["-display", "none", "-serial", "stdio", "-append", "console=ttyS0 quiet panic=-1 tb.probe"])
        .arg("-kernel")
        .arg(&image.kernel)
        .arg("-initrd")
        .arg(&image.initrd)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    let Some(mut out) = child.stdout.take() else { return false };
    let reader = std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut buffer = [0u8; 4096];
        while let Ok(n @ 1..) = out.read(&mut buffer) {
            seen.extend_from_slice(&buffer[..n]);
            if seen.windows(9).any(|w| w == b"TB-BOOTED") {
                return true;
            }
        }
        false
    });
    let start = Instant::now();
    while start.elapsed() < LIMIT && !reader.is_finished() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    reader.join().unwrap_or(false)
}
