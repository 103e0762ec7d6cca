//! `cargo xtask setup`: bring in the system packages that demo, test and bench need, listed before anything is done.
//!
//! Promises: what will be installed, changed or downgraded is printed first; nothing installed is removed; no service is
//! started, and none that these packages enable stays enabled, so that a machine's own libvirt is never touched
//! (`services.rs`). May not: install from anywhere but the apt sources that the machine already has.

mod apt;
mod downgrade;
mod kernel;
mod os;
mod packages;
mod services;

use crate::cmd;
use anyhow::{Result, bail};
use clap::ValueEnum;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// Arguments of `cargo xtask setup`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What the packages are for; without it: host and mpi (all that `cargo xtask test` needs)
    #[arg(value_enum)]
    purposes: Vec<Purpose>,
    /// Install without asking (asked only on a terminal)
    #[arg(long, short)]
    yes: bool,
    /// Refuse instead of installing: one sentence says what is missing
    #[arg(long)]
    no_install: bool,
    /// Print what would be done and stop
    #[arg(long)]
    dry_run: bool,
}

/// What packages are needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Purpose {
    /// A private libvirt host with guests: demo, live tests, bench loop
    Host,
    /// Both MPI libraries and libclang: building and testing trimtab-bench
    Mpi,
    /// The original HPC Challenge: bench hpcc
    Hpcc,
}

/// How far [`ensure`] may go.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Consent {
    /// Do not ask on a terminal.
    pub(crate) yes: bool,
    /// Never install.
    pub(crate) no_install: bool,
    /// Stop after the list.
    pub(crate) dry_run: bool,
}

/// Entry point of the command.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let purposes =
        if args.purposes.is_empty() { vec![Purpose::Host, Purpose::Mpi] } else { args.purposes.clone() };
    let consent = Consent { yes: args.yes, no_install: args.no_install, dry_run: args.dry_run };
    match ensure(&purposes, consent)? {
        Outcome::AlreadyThere => println!("setup: everything needed is there"),
        Outcome::Installed(count) => println!("setup: done, {count} packages installed or changed"),
        Outcome::DryRun => println!("setup: nothing done (--dry-run)"),
    }
    Ok(ExitCode::SUCCESS)
}

/// What [`ensure`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing was missing.
    AlreadyThere,
    /// So many packages were installed or changed.
    Installed(usize),
    /// Listed only.
    DryRun,
}

/// Make sure that the packages for these purposes are there.
///
/// # Errors
/// One sentence: an unknown system, no root, `--no-install`, a package that no source has, apt's own failure. Nothing is
/// half configured after an error of ours; after apt's own failure its text says what it left.
pub(crate) fn ensure(purposes: &[Purpose], consent: Consent) -> Result<Outcome> {
    let system = os::detect()?;
    let wanted = packages::wanted(system, purposes);
    let installed = apt::installed()?;
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| !installed.contains_key(*name)).collect();
    let need_kernel = purposes.contains(&Purpose::Host) && !kernel::present();
    if missing.is_empty() && !need_kernel {
        return Ok(Outcome::AlreadyThere);
    }
    let sentence = said(system, &missing, need_kernel);
    if consent.no_install {
        bail!("{sentence}, and --no-install forbids to install; `cargo xtask setup` does it");
    }
    if !cmd::is_root() {
        bail!(
            "{sentence}, which needs root: run this command as root, or first `sudo {}`",
            by_hand(&missing)
        );
    }
    let signals = cmd::SignalGuard::take();
    apt::refresh_lists(&missing)?;
    signals.check()?;
    let plan = apt::plan(&missing, &installed)?;
    if !plan.is_empty() {
        println!("{}", plan.table(&missing));
    }
    if need_kernel {
        println!("Downloaded and unpacked under target/, not installed: {}", packages::guest_kernel(system));
    }
    if consent.dry_run {
        return Ok(Outcome::DryRun);
    }
    if let Some(running) = plan.touches_running_libvirt() {
        bail!(
            "the machine's own {running} is running and these packages would change it: stop it first, or install by hand"
        );
    }
    if !consent.yes && !agreed()? {
        bail!("nothing was installed");
    }
    if !plan.is_empty() {
        let guard = services::Guard::take()?;
        let result = apt::install(&plan);
        let kept_off = guard.release()?;
        result?;
        if !kept_off.is_empty() {
            println!("Left disabled and stopped, as before: {}", kept_off.join(" "));
        }
    }
    signals.check()?;
    if need_kernel {
        kernel::fetch(packages::guest_kernel(system))?;
    }
    Ok(Outcome::Installed(plan.len()))
}

/// "The packages a, b and c and a guest kernel are missing on Debian 12".
fn said(system: os::System, missing: &[&str], need_kernel: bool) -> String {
    let mut things = Vec::new();
    match missing {
        [] => {}
        [one] => things.push(format!("the package {one}")),
        several => things.push(format!("the packages {}", several.join(", "))),
    }
    if need_kernel {
        things.push("a downloaded guest kernel".to_owned());
    }
    let verb = if missing.len() + usize::from(need_kernel) == 1 { "is" } else { "are" };
    format!("{} {verb} missing on this {system}", things.join(" and "))
}

/// What an admin would type instead of us.
fn by_hand(missing: &[&str]) -> String {
    if missing.is_empty() {
        return "cargo xtask setup".to_owned();
    }
    format!("apt-get install --no-install-recommends {}", missing.join(" "))
}

/// Ask on a terminal; elsewhere the list has been printed and that is that.
fn agreed() -> Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Ok(true);
    }
    print!("Go on? [Y/n] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "" | "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sentence_names_what_is_missing() {
        let text = said(os::System::Debian12, &["qemu-system-x86", "cpio"], true);
        assert_eq!(
            text,
            "the packages qemu-system-x86, cpio and a downloaded guest kernel are missing on this Debian 12"
        );
        assert_eq!(
            said(os::System::Debian12, &["cpio"], false),
            "the package cpio is missing on this Debian 12"
        );
    }
}
