//! Progress bar on rank 0 when there is a terminal; nothing otherwise. It draws and clears one line, and never ticks: a thread
//! that did would take time from the kernel.
//!
//! Launchers give every rank a pipe as standard error, also when their own is a terminal. The bar is then drawn on theirs,
//! past the pipe.

use std::fs::{self, File};
use std::io::{IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::os::unix::process::parent_id;
use std::time::{Duration, Instant};

use crate::kernel::Variant;

/// How long a launcher may take to hand on what was printed: the bar comes after it, or the two would share a line.
const RELAY: Duration = Duration::from_millis(20);

/// Characters between the brackets. The whole line must fit into 80 columns: one that wraps cannot be cleared.
const WIDTH: usize = 20;

const CLEAR: &str = "\r\x1b[2K";

/// A terminal, and whether what this rank prints gets there through a launcher.
struct Terminal {
    file: File,
    relayed: bool,
}

/// The bar, or nothing.
pub(super) struct Progress {
    terminal: Option<Terminal>,
    begin: Instant,
    runs: usize,
    done: usize,
}

impl Progress {
    pub(super) fn new(is_root: bool, runs: usize) -> Self {
        let terminal = if is_root { own_terminal().or_else(launchers_terminal) } else { None };
        Self { terminal, begin: Instant::now(), runs, done: 0 }
    }

    /// Names the run that begins.
    pub(super) fn begin(&mut self, kernel: &str, variant: Variant) {
        let seconds = self.begin.elapsed().as_secs();
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let full = "#".repeat(WIDTH * self.done / self.runs.max(1));
        let (done, runs, variant) = (self.done, self.runs, variant.name());
        self.draw(&format!(
            "{CLEAR}{hours}:{minutes:02}:{seconds:02} [{full:-<WIDTH$}] {done}/{runs} {kernel} {variant}"
        ));
    }

    pub(super) fn end(&mut self) {
        self.done += 1;
    }

    /// Runs `print` with the bar out of the way; the next run brings it back.
    pub(super) fn suspend(&mut self, print: impl FnOnce()) {
        self.draw(CLEAR);
        print();
        if self.terminal.as_ref().is_some_and(|t| t.relayed) {
            std::thread::sleep(RELAY);
        }
    }

    /// A bar that cannot be drawn is no loss.
    fn draw(&mut self, text: &str) {
        if let Some(terminal) = &mut self.terminal {
            let _ = terminal.file.write_all(text.as_bytes());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.draw(CLEAR);
    }
}

fn own_terminal() -> Option<Terminal> {
    let stderr = std::io::stderr();
    let file = stderr.is_terminal().then(|| stderr.as_fd().try_clone_to_owned().ok())?;
    Some(Terminal { file: file?.into(), relayed: false })
}

/// Standard error of the launcher, if that is a terminal. A launcher on another node has sent a daemon here, whose is not.
fn launchers_terminal() -> Option<Terminal> {
    ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"].iter().find_map(std::env::var_os)?;
    let mut launcher = parent_id();
    // Under MPICH a proxy stands between, also on the launcher's own node.
    if status(launcher, "Name:")? == "hydra_pmi_proxy" {
        launcher = status(launcher, "PPid:")?.parse().ok()?;
    }
    let path = format!("/proc/{launcher}/fd/2");
    // Nothing else is opened: a pipe might block, a file be written to.
    fs::metadata(&path).ok().filter(|m| m.file_type().is_char_device())?;
    let file = File::options().write(true).custom_flags(libc::O_NOCTTY).open(&path).ok()?;
    file.is_terminal().then_some(Terminal { file, relayed: true })
}

/// A line of /proc/PID/status.
fn status(pid: u32, key: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(text.lines().find_map(|line| line.strip_prefix(key))?.trim().to_owned())
}
