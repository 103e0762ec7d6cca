//! Where the output goes: JSON or text, with or without colour, how wide. May not: know what is printed.

use crate::cli::ColorWhen;
use crate::exit::Failure;
use serde::Serialize;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::process::ExitCode;

/// Colours by meaning, as ANSI SGR parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Headings.
    Bold,
    /// Good.
    Green,
    /// Bad.
    Red,
    /// Worth a look.
    Yellow,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Green => "32",
            Self::Red => "31",
            Self::Yellow => "33",
        }
    }
}

/// How to print.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// JSON instead of text.
    pub(crate) json: bool,
    /// With colours.
    pub(crate) color: bool,
    /// Columns of the terminal; `None` when the output is no terminal, which cuts nothing.
    pub(crate) width: Option<usize>,
}

impl Output {
    /// For standard output.
    pub(crate) fn new(json: bool, when: ColorWhen) -> Self {
        let terminal = stdout().is_terminal();
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let color = match when {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => {
                terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        };
        let width = terminal
            .then(ratatui::crossterm::terminal::size)
            .and_then(Result::ok)
            .map(|(width, _)| usize::from(width));
        Self { json, color, width: width.filter(|&width| width > 0) }
    }

    /// `text` in `style`, if colours are on.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        if self.color { format!("\x1b[{}m{text}\x1b[0m", style.code()) } else { text.to_owned() }
    }

    /// Prints text, or the JSON form of `value`.
    pub(crate) fn print<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&Self) -> String,
    ) -> Result<(), Failure> {
        let mut all = if self.json {
            serde_json::to_string_pretty(value).map_err(|e| Failure::failed(format!("no JSON: {e}")))?
        } else {
            text(self)
        };
        if !all.is_empty() && !all.ends_with('\n') {
            all.push('\n');
        }
        write(all.as_bytes())
    }

    /// Prints the JSON form of `value` in one line.
    pub(crate) fn line<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let line = serde_json::to_string(value).map_err(|e| Failure::failed(format!("no JSON: {e}")))?;
        write(format!("{line}\n").as_bytes())
    }

    /// Reports a failure on standard error.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        let text = if self.json {
            serde_json::json!({ "error": failure }).to_string()
        } else {
            format!("trimtabctl: {}", failure.message)
        };
        // Nothing is left to report to if this fails.
        let _ = writeln!(stderr(), "{text}");
        ExitCode::from(failure.kind.code())
    }
}

/// Writes to standard output. A reader that has seen enough (`trimtabctl decisions | head`) is no failure.
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    match stdout().lock().write_all(bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
