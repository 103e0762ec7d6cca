//! Small helpers: run a command, read a file, wait for something.

use super::{Error, Result};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The command line as a human would type it.
pub(crate) fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|s| s.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs to the end; standard output on success, else an error with both streams.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output: Output = command.stdin(Stdio::null()).output().map_err(Error::io(line(command)))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(Error::Command {
        command: line(command),
        status: output.status.to_string(),
        output: (text(&output.stdout) + &text(&output.stderr)).trim().to_owned(),
    })
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(Error::io(format!("read {}", path.display())))
}

/// Writes a text file.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(Error::io(format!("write {}", path.display())))
}

/// Makes a directory with its parents.
pub(crate) fn mkdir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(Error::io(format!("create {}", path.display())))
}

/// Calls `probe` until it answers `Ok`; its last `Err` (a description of the state) goes into the time-out.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> std::result::Result<T, String>,
) -> Result<T> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(seen) if start.elapsed() >= limit => {
                return Err(Error::Timeout { what: what.to_owned(), after: limit, seen });
            }
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 3 / 2).min(Duration::from_millis(100));
    }
}

/// The last `lines` lines of a file, or why it could not be read.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let all: Vec<&str> = text.lines().collect();
            format!("[{}] {}", path.display(), all[all.len().saturating_sub(lines)..].join(" | "))
        }
        Err(error) => format!("[{}: {error}]", path.display()),
    }
}
