//! The man pages and shell completions, made from the command line's own definition. May not: talk to the daemon.

use crate::cli::Cli;
use crate::exit::Failure;
use crate::output;
use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::path::Path;

/// Exit status and meaning, for the man page and `--help`.
const EXIT_STATUS: [(&str, &str); 7] = [
    ("0", "Done."),
    ("1", "The daemon refused or failed; the message says what was and was not done."),
    ("2", "Wrong usage, or an argument or configuration that the daemon refused."),
    ("3", "The daemon, or the bus, does not answer."),
    (
        "4",
        "Not authorized: polkit said no, or where no polkit runs, the caller is neither root nor in group trimtab.",
    ),
    ("5", "No such guest or decision."),
    (
        "6",
        "restore, revert: not every knob is back yet. The message names the others, and trimtabd goes on trying.",
    ),
];

const ENVIRONMENT: [(&str, &str); 3] = [
    ("NO_COLOR", "If set to anything but the empty text, --color=auto uses no colours."),
    ("DBUS_SYSTEM_BUS_ADDRESS", "Address of the system bus, if it is not the usual one."),
    ("DBUS_SESSION_BUS_ADDRESS", "Address of the session bus."),
];

const EXAMPLES: [(&str, &str); 5] = [
    ("trimtabctl guests", "What each guest gets, and what holds it back."),
    ("trimtabctl decisions --since 1h --guest db1", "What was decided for guest db1 in the last hour."),
    ("trimtabctl explain 42", "Why decision 42 was made, what came of it, and how to undo it."),
    ("trimtabctl revert 42", "Undo it."),
    (
        "trimtabctl restore --all && trimtabctl mode observe",
        "Put everything back and only watch from now on.",
    ),
];

/// Prints the completions.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "trimtabctl", &mut text);
    output::write(&text)
}

/// Prints trimtabctl(1), or writes it and the page of each command into `dir`.
pub(crate) fn man(dir: Option<&Path>) -> Result<(), Failure> {
    let Some(dir) = dir else { return output::write(&page()?) };
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", dir.display()));
    clap_mangen::generate_to(Cli::command(), dir).map_err(failed)?;
    std::fs::write(dir.join("trimtabctl.1"), page()?).map_err(failed)
}

/// The main page: clap's sections and those that clap does not know.
fn page() -> std::io::Result<Vec<u8>> {
    // The exit status has a section of its own here.
    let man = Man::new(Cli::command().after_help("").after_long_help(""));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    let mut roff = Roff::default();
    for (heading, entries) in
        [("EXIT STATUS", &EXIT_STATUS[..]), ("ENVIRONMENT", &ENVIRONMENT[..]), ("EXAMPLES", &EXAMPLES[..])]
    {
        roff.control("SH", [heading]);
        for (tag, text) in entries {
            roff.control("TP", []);
            roff.text([bold(*tag)]);
            roff.text([roman(*text)]);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        bold("trimtabd"),
        roman("(8), "),
        bold("virsh"),
        roman("(1), "),
        bold("busctl"),
        roman("(1)"),
    ]);
    roff.to_writer(&mut page)?;
    Ok(page)
}
