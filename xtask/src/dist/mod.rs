//! `cargo xtask dist`: target/dist/trimtab_VERSION_ARCH.deb from release binaries and systemd/.
//!
//! Reproducible: same sources, toolchain and path give the same bytes. Times are SOURCE_DATE_EPOCH, else that of the last
//! commit; owners are root; orders are sorted. May not: install anything, or need root.

mod control;
mod tree;

use crate::{cmd, workspace};
use anyhow::{Context, Result, bail};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Arguments of `cargo xtask dist`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the package goes, instead of target/dist
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Package the debug build: for tests, which have it already
    #[arg(long, hide = true)]
    dev: bool,
}

/// Entry point of the command. Prints the path of the package.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    println!("{}", dist(args)?.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds the package and returns its path.
fn dist(args: &Args) -> Result<PathBuf> {
    if !workspace::in_path("dpkg-deb") {
        bail!("dpkg-deb is missing; on Debian and Ubuntu it is in the package dpkg");
    }
    let binaries = build(args.dev)?;
    let out = args.out.clone().unwrap_or_else(|| workspace::target_dir().join("dist"));
    let out = std::path::absolute(&out)?;
    let stage = out.join("stage");
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("cannot clear {}", stage.display()))?;
    }
    let epoch = epoch();
    tree::fill(&stage, &workspace::root(), &binaries)?;
    let arch = control::architecture()?;
    control::fill(&stage, &workspace::root(), &binaries, arch)?;

    let deb = out.join(format!("trimtab_{}_{arch}.deb", control::VERSION));
    let mut build = Command::new("dpkg-deb");
    // xz: the one good compression that every dpkg in question reads.
    let compression = if args.dev { "-Znone" } else { "-Zxz" };
    build.args(["--root-owner-group", compression, "--build"]).arg(&stage).arg(&deb);
    cmd::output(build.env("SOURCE_DATE_EPOCH", epoch))?;
    fs::remove_dir_all(&stage).with_context(|| format!("cannot clear {}", stage.display()))?;
    Ok(deb)
}

/// Builds both programs and returns the directory that they are in.
fn build(dev: bool) -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "--locked", "--package", "trimtabd", "--bins"]);
    if !dev {
        cargo.arg("--release");
    }
    cmd::shown_ok(&mut cargo)?;
    Ok(workspace::target_dir().join(if dev { "debug" } else { "release" }))
}

/// Seconds since 1970 that all times in the package are cut to.
fn epoch() -> String {
    let committed = || {
        let mut git = Command::new("git");
        git.args(["log", "-1", "--format=%ct"]).current_dir(workspace::root());
        cmd::output(&mut git).ok().map(|text| text.trim().to_owned())
    };
    let given = env::var("SOURCE_DATE_EPOCH").ok().filter(|text| text.parse::<u64>().is_ok());
    // Outside a repository any constant does.
    given.or_else(committed).filter(|text| !text.is_empty()).unwrap_or_else(|| "0".to_owned())
}

/// Writes a file and its directories, with this mode.
fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let said = || format!("cannot write {}", path.display());
    if let Some(dir) = path.parent() {
        directory(dir)?;
    }
    fs::write(path, bytes).with_context(said)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(said)
}

/// Makes a directory and those above it, 0755 whatever the umask.
fn directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        directory(above)?;
    }
    let said = || format!("cannot make {}", path.display());
    fs::create_dir(path).with_context(said)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).with_context(said)
}
