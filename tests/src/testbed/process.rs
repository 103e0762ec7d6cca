//! A long-running program inside a host, e.g. trimtabd. Killed when dropped.

use super::proc::{alive, children, comm, signal};
use super::util::{line, tail, wait_for};
use super::{Error, Result};
use rustix::process::Signal;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A program running inside a host.
#[derive(Debug)]
pub struct Process {
    /// nsenter, which waits for the program and ends with its status.
    enter: Child,
    pid: i32,
    log: PathBuf,
}

impl Process {
    /// Starts `command` (made by [`super::Host::command`]) with both output streams appended to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let open = || {
            File::options()
                .create(true)
                .append(true)
                .open(log)
                .map_err(Error::io(format!("open {}", log.display())))
        };
        command.stdin(Stdio::null()).stdout(open()?).stderr(open()?);
        let what = line(&command);
        let mut enter = command.spawn().map_err(Error::io(what.clone()))?;
        let outer = enter.id() as i32;
        let found = wait_for(&format!("start of {what}"), Duration::from_secs(10), || {
            if let Ok(Some(status)) = enter.try_wait() {
                return Ok(Err(status));
            }
            let inner = children(outer)
                .into_iter()
                .find(|&pid| comm(pid).is_some_and(|c| c != "nsenter" && c != "sh"));
            inner.map(Ok).ok_or_else(|| "not yet".to_owned())
        })?;
        match found {
            Ok(pid) => Ok(Self { enter, pid, log: log.to_owned() }),
            Err(status) => {
                Err(Error::Command { command: what, status: status.to_string(), output: tail(log, 20) })
            }
        }
    }

    /// Its process id as the machine sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The file with its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its output so far.
    pub fn output(&self) -> String {
        std::fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// Whether it runs.
    pub fn running(&self) -> bool {
        alive(self.pid)
    }

    /// Sends a signal.
    pub fn signal(&self, what: Signal) -> Result<()> {
        if what == Signal::CONT {
            // nsenter stops itself when its child is stopped, and then would not see the child's end.
            signal(self.enter.id() as i32, what)?;
        }
        signal(self.pid, what)
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let (enter, log) = (&mut self.enter, &self.log);
        wait_for("end of the process", limit, || match enter.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(tail(log, 5)),
            Err(error) => Err(error.to_string()),
        })
    }

    /// SIGTERM, and waits up to 10 s for its end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(Duration::from_secs(10))
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        if self.running() {
            self.signal(Signal::KILL)?;
        }
        self.wait(Duration::from_secs(10)).map(|_| ())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
