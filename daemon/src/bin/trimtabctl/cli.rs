//! The command line. Help texts double as the man page and the completions. May not: do anything.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use trimtabd::dbus::proxy::{Bus, MAX_DECISIONS};

/// Shown at the end of `--help` and in the man page.
const AFTER_HELP: &str = "\
Exit status:
  0  done
  1  the daemon refused or failed
  2  wrong usage, or an argument or configuration that the daemon refused
  3  the daemon, or the bus, does not answer
  4  not authorized
  5  no such guest or decision
  6  not every knob is back yet: the message names the others, and trimtabd goes on trying";

/// Shown by `--help`, and the man page's description.
const ABOUT: &str = "\
See what trimtabd sees, why it turned a knob, and undo it.

trimtabd tunes the guests of this host: it finds what holds a guest back, turns one knob (affinity, CPU priority), \
measures whether that helped, and keeps or reverts the change. trimtabctl speaks to it over D-Bus only.

A value that cannot be measured is shown as '-', in JSON as null; it is never shown as 0. Speeds and the objective are \
shares of 1: a speed of 1 is that of the guest running alone. Rates are in MB/s (10^6 bytes). Times are local; in JSON \
they are RFC 3339 in UTC.

Reading needs no privilege. revert, restore, mode, pause, resume and reload ask polkit; where no polkit runs, root and \
the members of group trimtab may use them.";

/// See what trimtabd sees, why it turned a knob, and undo it
#[derive(Debug, Parser)]
#[command(name = "trimtabctl", version, long_about = ABOUT, after_help = AFTER_HELP, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Bus on which the daemon is: system, session, or a D-Bus address
    #[arg(long, global = true, default_value = "system", value_name = "BUS")]
    pub(crate) bus: Bus,

    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// When to use colours (NO_COLOR in the environment turns `auto` off)
    #[arg(long, global = true, value_enum, default_value_t = ColorWhen::Auto, value_name = "WHEN")]
    pub(crate) color: ColorWhen,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// When to colour the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the state of the daemon and its host, and who wants which CPU
    Status,
    /// List the guests: what each gets and what holds it back
    Guests,
    /// Show one guest: rates, bottleneck, knobs and their originals
    Guest {
        /// Name or UUID
        guest: String,
    },
    /// List decisions, newest first
    Decisions(PastArgs),
    /// List the daemon's remarks that belong to no decision, newest first: knobs that somebody else turned or that could not
    /// be put back, guests that were restarted, CPUs that went, what befell the journal
    Notes(PastArgs),
    /// Tell the story of one decision: why, what, expected, measured, verdict, how to undo it
    Explain {
        /// Number of the decision
        id: u64,
    },
    /// Undo one kept or pending decision
    Revert {
        /// Number of the decision
        id: u64,
    },
    /// Put every knob back to what it was before Trimtab first touched it
    #[command(group = clap::ArgGroup::new("whom").required(true))]
    Restore {
        /// Guest by name or UUID
        #[arg(group = "whom")]
        guest: Option<String>,
        /// All guests
        #[arg(long, group = "whom")]
        all: bool,
    },
    /// Show or change the mode; a change holds until the daemon restarts, or reloads a configuration with another mode
    Mode {
        /// New mode
        #[arg(value_enum)]
        mode: Option<Mode>,
    },
    /// Stop deciding: a running trial is undone, sensing goes on
    Pause,
    /// Decide again
    Resume,
    /// Make the daemon read its configuration again; a bad one is refused and the old one stays
    Reload,
    /// The policy in force
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Watch guests and decisions live
    Top(TopArgs),
    /// Print the completions for a shell
    Completions {
        /// Shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the man page, or write those of all commands into a directory
    Man {
        /// Existing directory
        dir: Option<PathBuf>,
    },
}

impl Command {
    /// Whether polkit is going to be asked.
    pub(crate) fn changes_something(&self) -> bool {
        match self {
            Self::Revert { .. } | Self::Restore { .. } | Self::Pause | Self::Resume | Self::Reload => true,
            Self::Mode { mode } => mode.is_some(),
            _ => false,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Seconds between two looks
    #[arg(long, short = 'd', default_value_t = 1.0, value_name = "SECONDS", value_parser = interval)]
    pub(crate) interval: f64,
    /// End after so many looks
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

/// 0.1 to 3600 s: faster than the control loop shows nothing new.
fn interval(text: &str) -> Result<f64, String> {
    let want = || "want a number from 0.1 to 3600".to_owned();
    text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds)).ok_or_else(want)
}

#[derive(Debug, Args)]
pub(crate) struct PastArgs {
    /// Only those for this guest (name or UUID)
    #[arg(long, short)]
    pub(crate) guest: Option<String>,
    /// At most so many
    #[arg(long = "lines", short = 'n', default_value_t = 20, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DECISIONS)))]
    pub(crate) limit: u32,
    /// Only those since: a span back from now (`90s`, `2h 30m`, `1d`) or a local date or time (`2026-01-31`,
    /// `2026-01-31 12:00`)
    #[arg(long, value_name = "WHEN", value_parser = crate::text::parse_since)]
    pub(crate) since: Option<i64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Print the configuration in force, as TOML
    Show,
}

/// How far Trimtab may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Sense only
    Observe,
    /// Decide and say so, change nothing
    Advise,
    /// Decide, act, measure, keep or revert
    Enforce,
}

impl Mode {
    /// Text on the wire.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Advise => "advise",
            Self::Enforce => "enforce",
        }
    }
}
