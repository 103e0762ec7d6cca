//! A running guest: its load, its pulse (a tick a second on the console), its qemu process, its counters.

use super::util::{wait_for, write};
use super::{Error, GuestSpec, Host, Result, proc};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Generous: ten TCG guests that boot at once on two loaded cores.
const BOOT: Duration = Duration::from_secs(180);

/// A guest on a host.
#[derive(Clone, Debug)]
pub struct Guest {
    host: Host,
    spec: GuestSpec,
    uuid: String,
}

/// Counters of a guest's qemu since it started, at one instant.
#[derive(Clone, Copy, Debug)]
pub struct GuestStats {
    /// When they were read.
    pub at: Instant,
    /// CPU time of all its threads, seconds.
    pub cpu_s: f64,
    /// Bytes that it wrote, all threads: its disk (and its console, some bytes a second).
    pub written: u64,
}

/// What a guest did between two [`GuestStats`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuestRates {
    /// CPUs' worth of time.
    pub cpu_cores: f64,
    /// 10^6 bytes per second.
    pub write_mb_per_s: f64,
}

impl GuestStats {
    /// Rates from `self` to `later`.
    pub fn rates(&self, later: &Self) -> GuestRates {
        let seconds = later.at.duration_since(self.at).as_secs_f64();
        GuestRates {
            cpu_cores: (later.cpu_s - self.cpu_s) / seconds,
            write_mb_per_s: later.written.saturating_sub(self.written) as f64 / 1e6 / seconds,
        }
    }
}

impl Guest {
    pub(crate) fn start(host: &Host, spec: &GuestSpec) -> Result<Self> {
        let mut cache = "none";
        if let Some(disk) = spec.disk {
            let inside = spec.disk_file(disk, host.work()).display().to_string();
            host.exec(&["truncate", "-s", &format!("{}M", disk.mib), &inside])?;
            // tmpfs has no O_DIRECT before Linux 6.6. In memory, the host's cache makes no difference.
            if host
                .exec(&["dd", &format!("if={inside}"), "of=/dev/null", "iflag=direct", "count=1", "bs=4k"])
                .is_err()
            {
                cache = "writeback";
            }
        }
        let tag = host.work().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let xml = host.dir().join(format!("{}.xml", spec.name));
        write(&xml, &spec.xml(host.work(), &tag, host.accel(), cache))?;
        // As virsh reads it: in double quotes only these two mean something else than themselves.
        let file = format!("\"{}\"", xml.display().to_string().replace('\\', "\\\\").replace('"', "\\\""));
        let guest =
            Self { host: host.clone(), spec: spec.clone(), uuid: super::domain::uuid(&[&tag, &spec.name]) };
        let _ = std::fs::remove_file(guest.console_file());
        if spec.persistent {
            host.virsh(&[&format!("define {file}"), &format!("start {}", spec.name)])?;
        } else {
            host.virsh(&[&format!("create {file}")])?;
        }
        Ok(guest)
    }

    /// The guest as it was specified (its name may have changed since).
    pub fn spec(&self) -> &GuestSpec {
        &self.spec
    }

    /// Its name at the start.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its UUID.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// Its object path at libvirt-dbus.
    pub fn object_path(&self) -> String {
        format!("/org/libvirt/QEMU/domain/_{}", self.uuid.replace('-', "_"))
    }

    /// The host that it was started on.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The same guest seen on another host, after a migration.
    #[must_use]
    pub fn on(&self, host: &Host) -> Self {
        Self { host: host.clone(), ..self.clone() }
    }

    fn console_file(&self) -> PathBuf {
        self.host.dir().join("run/guests").join(format!("{}.console", self.spec.name))
    }

    /// Everything that it wrote to its console.
    pub fn console(&self) -> String {
        std::fs::read(self.console_file())
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default()
    }

    /// Number of its last tick; it grows by one each second of the guest's time and never starts again while it lives.
    pub fn ticks(&self) -> Option<u64> {
        let console = self.console();
        let (whole, _) = console.rsplit_once('\n')?;
        whole.lines().rev().find_map(|l| l.strip_prefix("TB-TICK ")?.split(' ').next()?.parse().ok())
    }

    /// Waits until it has booted and ticks.
    pub fn booted(&self) -> Result<()> {
        wait_for(&format!("boot of {}", self.name()), BOOT, || {
            if self.ticks().is_some() {
                return Ok(());
            }
            let console = self.console();
            Err(format!("console: {}", console.lines().last().unwrap_or("(empty)")))
        })
    }

    /// Waits until it has ticked `n` times more: it lives and does not hang.
    pub fn wait_ticks(&self, n: u64) -> Result<()> {
        let from = self.ticks().unwrap_or(0);
        let limit = Duration::from_secs(30 + 5 * n);
        wait_for(&format!("{n} more ticks of {}", self.name()), limit, || match self.ticks() {
            Some(now) if now >= from + n => Ok(()),
            now => Err(format!("tick {now:?}, was {from}")),
        })
    }

    /// Runs a shell line inside the guest; its output.
    pub fn shell(&self, line: &str) -> Result<String> {
        let path = self.host.dir().join("run/guests").join(format!("{}.ctl", self.spec.name));
        let what = format!("{}: {line}", self.name());
        let mut socket =
            UnixStream::connect(&path).map_err(Error::io(format!("connect {}", path.display())))?;
        socket.set_read_timeout(Some(Duration::from_secs(60))).map_err(Error::io(what.clone()))?;
        socket.write_all(format!("{line}\n").as_bytes()).map_err(Error::io(what.clone()))?;
        let mut answer = Vec::new();
        let mut buffer = [0u8; 4096];
        loop {
            let n = socket.read(&mut buffer).map_err(Error::io(what.clone()))?;
            answer.extend_from_slice(&buffer[..n]);
            let text = String::from_utf8_lossy(&answer).replace('\r', "");
            if let Some((output, code)) = text.rsplit_once("TB-RC ")
                && let Some(code) = code.strip_suffix('\n')
            {
                return if code == "0" {
                    Ok(output.to_owned())
                } else {
                    Err(Error::Command { command: what, status: code.to_owned(), output: output.to_owned() })
                };
            }
            if n == 0 {
                return Err(Error::Guest(format!("{what}: the control socket was closed after {text:?}")));
            }
        }
    }

    /// Replaces its load: `idle`, `cpu:N`, `io`, `mem:MiB`, several separated by `,`.
    pub fn load(&self, load: &str) -> Result<()> {
        self.shell(&format!("work {load}")).map(|_| ())
    }

    /// Process id of its qemu as the machine sees it.
    pub fn qemu_pid(&self) -> Result<i32> {
        let wanted = format!("-uuid {}", self.uuid);
        self.host
            .all_processes()
            .into_iter()
            .find(|&pid| {
                proc::command_line(pid).is_some_and(|c| c.contains("qemu-system") && c.contains(&wanted))
            })
            .ok_or_else(|| {
                Error::Guest(format!("{} has no qemu process on {}", self.name(), self.host.name()))
            })
    }

    /// Kills its qemu (SIGKILL): the guest dies as in a host's out-of-memory.
    pub fn kill(&self) -> Result<()> {
        proc::signal(self.qemu_pid()?, Signal::KILL)
    }

    /// Stops its qemu (SIGSTOP): it hangs, and so does every libvirt call that asks its monitor.
    pub fn stop(&self) -> Result<()> {
        let pid = self.qemu_pid()?;
        proc::signal(pid, Signal::STOP)?;
        wait_for(&format!("stop of {}", self.name()), Duration::from_secs(10), || match proc::state(pid) {
            Some('T') => Ok(()),
            state => Err(format!("state {state:?}")),
        })
    }

    /// Lets a stopped qemu go on (SIGCONT).
    pub fn cont(&self) -> Result<()> {
        proc::signal(self.qemu_pid()?, Signal::CONT)
    }

    /// Counters of its qemu, from /proc: does not disturb it and works while it hangs.
    pub fn stats(&self) -> Result<GuestStats> {
        self.stats_of(self.qemu_pid()?)
    }

    /// [`Guest::stats`] with the known process id: cheaper, for measurements.
    pub fn stats_of(&self, pid: i32) -> Result<GuestStats> {
        let gone = || Error::Guest(format!("{}: qemu {pid} is gone", self.name()));
        Ok(GuestStats {
            at: Instant::now(),
            cpu_s: proc::cpu_s(pid).ok_or_else(gone)?,
            written: proc::written_bytes(pid).ok_or_else(gone)?,
        })
    }
}
