//! The command line of `trimtabd`. May not: do anything with it.

use crate::bus::Bus;
use clap::Parser;
use std::path::PathBuf;
use trimtab_policy::decision::Mode;

/// Senses where guests of this host lose time, turns one small knob, measures, keeps or reverts.
///
/// Started by systemd as a service (systemctl start trimtabd); `trimtabctl` talks to it. In its default mode, observe,
/// it changes nothing.
#[derive(Clone, Debug, Parser)]
#[command(name = "trimtabd", version, max_term_width = 100)]
#[command(after_help = "Exit status: 0 stopped on request, 1 failed, 2 bad configuration or usage.")]
pub struct Cli {
    /// Read the configuration, say whether it is good (exit 0) or what is wrong (exit 2), and do nothing else.
    #[arg(long)]
    pub check_config: bool,
    /// Read only this directory: DIR/trimtab.toml and DIR/config.d/*.toml.
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    /// Bus on which org.trimtab1 is offered: system, session or a D-Bus address [default: system].
    #[arg(long, value_name = "BUS")]
    pub bus: Option<Bus>,
    /// Bus on which libvirt-dbus is found: system, session or a D-Bus address [default: as --bus].
    #[arg(long, value_name = "BUS")]
    pub libvirt_bus: Option<Bus>,
    /// Mode to start in, whatever the configuration says: observe, advise or enforce.
    #[arg(long, value_parser = parse_mode)]
    pub mode: Option<Mode>,
    /// Where the journal lives [default: /var/lib/trimtab; session: $XDG_STATE_HOME/trimtab].
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    match text {
        "observe" => Ok(Mode::Observe),
        "advise" => Ok(Mode::Advise),
        "enforce" => Ok(Mode::Enforce),
        _ => Err("expected observe, advise or enforce".to_owned()),
    }
}
