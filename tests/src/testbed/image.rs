//! The guests' kernel and initramfs: the distribution's cloud kernel plus a static busybox and our init, made once and
//! cached in the workspace's target/testbed-cache, keyed by kernel version and content.
//!
//! The kernel is the one that `cargo xtask setup` unpacked (target/guest-kernel, or what `TRIMTAB_GUEST_KERNEL` names), else
//! its package is downloaded and unpacked into the cache, never installed. May not: need network when the cache is filled.

use super::check::static_busybox;
use super::cpio::Archive;
use super::util::{mkdir, read, run, write};
use super::{Error, Result};
use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

const INIT: &str = include_str!("scripts/guest-init.sh");

/// In the order in which they must be loaded; a module that is built into the kernel is skipped.
const MODULES: [&str; 11] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "virtio_balloon",
    "failover",
    "net_failover",
    "virtio_net",
    "button",
];

/// What a guest boots.
#[derive(Clone, Debug)]
pub struct Image {
    /// Kernel.
    pub kernel: PathBuf,
    /// Initramfs.
    pub initrd: PathBuf,
}

/// Cargo's build directory.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target"), PathBuf::from)
}

/// Where images (and the answer of the KVM probe) are kept.
pub(crate) fn cache_dir() -> PathBuf {
    target_dir().join("testbed-cache")
}

/// The image, made if the cache lacks it. Concurrent callers, also in other processes, wait for one another.
pub fn image() -> Result<Image> {
    let cache = cache_dir();
    mkdir(&cache)?;
    let lock = File::create(cache.join("lock")).map_err(Error::io(format!("lock {}", cache.display())))?;
    lock.lock().map_err(Error::io(format!("lock {}", cache.display())))?;
    let tree = kernel_tree(&cache)?;
    let modules = ["lib/modules", "usr/lib/modules"].map(|dir| tree.join(dir));
    let modules = modules.iter().find(|dir| dir.is_dir()).unwrap_or(&modules[0]);
    let version = only_entry(modules)?;
    let modules = modules.join(&version);
    let kernel = tree.join("boot").join(format!("vmlinuz-{version}"));
    let busybox = static_busybox().ok_or_else(|| Error::Guest("no static busybox".to_owned()))?;
    let busybox = fs::read(&busybox).map_err(Error::io(format!("read {}", busybox.display())))?;
    let mut hasher = DefaultHasher::new();
    (INIT, &busybox, MODULES).hash(&mut hasher);
    let initrd = cache.join(format!("initrd-{version}-{:016x}.cpio", hasher.finish()));
    if !initrd.exists() {
        let part = initrd.with_extension("part");
        fs::write(&part, build(&modules, &busybox)?)
            .map_err(Error::io(format!("write {}", part.display())))?;
        fs::rename(&part, &initrd).map_err(Error::io(format!("rename {}", part.display())))?;
    }
    Ok(Image { kernel, initrd })
}

fn only_entry(dir: &Path) -> Result<String> {
    let mut names = fs::read_dir(dir)
        .map_err(Error::io(format!("read {}", dir.display())))?
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned());
    names.next().ok_or_else(|| Error::Guest(format!("{} is empty", dir.display())))
}

/// An unpacked kernel package: boot/vmlinuz-VERSION and [usr/]lib/modules/VERSION.
fn kernel_tree(cache: &Path) -> Result<PathBuf> {
    let fetched = std::env::var_os("TRIMTAB_GUEST_KERNEL")
        .map_or_else(|| target_dir().join("guest-kernel"), PathBuf::from);
    if fetched.join("boot").is_dir() {
        return Ok(fetched);
    }
    if let Ok(name) = read(&cache.join("kernel")) {
        let tree = cache.join(name.trim());
        if tree.join("boot").is_dir() {
            return Ok(tree);
        }
    }
    let unpack = cache.join("unpack");
    let _ = fs::remove_dir_all(&unpack);
    mkdir(&unpack.join("tree"))?;
    let name = download(&unpack)?;
    let tree = cache.join(&name);
    let _ = fs::remove_dir_all(&tree);
    fs::rename(unpack.join("tree"), &tree).map_err(Error::io(format!("rename to {}", tree.display())))?;
    let _ = fs::remove_dir_all(&unpack);
    write(&cache.join("kernel"), &name)?;
    Ok(tree)
}

/// Downloads the newest cloud kernel of the distribution and unpacks it into `dir`/tree. The name tells its version.
fn download(dir: &Path) -> Result<String> {
    let depends = |package: &str| -> Option<Vec<String>> {
        let text = run(Command::new("apt-cache").args(["depends", package])).ok()?;
        Some(text.lines().filter_map(|l| l.trim().strip_prefix("Depends: ")).map(str::to_owned).collect())
    };
    // Debian, Ubuntu; the image package named by the meta package. Ubuntu keeps the modules in a package beside it.
    let image =
        ["linux-image-cloud-amd64", "linux-image-virtual", "linux-image-amd64", "linux-image-generic"]
            .iter()
            .find_map(|meta| depends(meta)?.into_iter().find(|d| d.starts_with("linux-image-")))
            .ok_or_else(|| {
                Error::Guest("apt knows no kernel package for the guests: run apt-get update".to_owned())
            })?;
    let mut packages = vec![image.clone()];
    packages
        .extend(depends(&image).unwrap_or_default().into_iter().filter(|d| d.starts_with("linux-modules-")));
    run(Command::new("apt-get")
        .args(["download", "-q", "-o", "APT::Sandbox::User=root"])
        .args(&packages)
        .current_dir(dir))?;
    let mut name = image;
    for entry in fs::read_dir(dir).map_err(Error::io("list downloads"))?.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let Some(stem) = file.strip_suffix(".deb") else { continue };
        run(Command::new("dpkg-deb").arg("-x").arg(entry.path()).arg(dir.join("tree")))?;
        if stem.starts_with("linux-image-") {
            stem.clone_into(&mut name);
        }
    }
    Ok(name)
}

/// The initramfs.
fn build(modules: &Path, busybox: &[u8]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for dir in ["bin", "mod", "proc", "sys", "dev", "tmp"] {
        archive.directory(dir);
    }
    archive.char_device("dev/console", 5, 1);
    archive.executable("bin/busybox", busybox);
    archive.executable("init", INIT.as_bytes());
    let mut order = String::new();
    for module in MODULES {
        let Some(file) = find_module(modules, module) else { continue };
        archive.file(&format!("mod/{module}.ko"), &plain(&file)?);
        order += &format!("{module}\n");
    }
    archive.file("mod/order", order.as_bytes());
    Ok(archive.finish())
}

fn find_module(dir: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(dir).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return find_module(&path, name);
        }
        let file = entry.file_name().to_string_lossy().into_owned();
        file.strip_prefix(name).is_some_and(|rest| rest.starts_with(".ko")).then_some(path)
    })
}

/// A module's content, decompressed.
fn plain(file: &Path) -> Result<Vec<u8>> {
    let tool = match file.extension().and_then(|e| e.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(file).map_err(Error::io(format!("read {}", file.display()))),
    };
    let out = Command::new(tool)
        .arg("-dc")
        .arg(file)
        .output()
        .map_err(Error::io(format!("{tool} {}", file.display())))?;
    if out.status.success() {
        return Ok(out.stdout);
    }
    Err(Error::Command {
        command: format!("{tool} -dc {}", file.display()),
        status: out.status.to_string(),
        output: String::from_utf8_lossy(&out.stderr).into_owned(),
    })
}
