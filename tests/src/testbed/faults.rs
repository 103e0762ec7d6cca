//! What can happen to a host: daemons that stop, are killed, hang and come back, and a network that is cut.
//!
//! May not: touch a process outside the host.

use super::util::{run, wait_for};
use super::{Error, Host, Init, Result, proc};
use rustix::process::Signal;
use std::time::Duration;

/// A daemon of a host that can be stopped, killed, hung and started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// libvirtd.
    Libvirtd,
    /// libvirt-dbus. While stopped the bus does not start it again.
    LibvirtDbus,
    /// The system bus.
    Bus,
}

impl Daemon {
    fn name(self) -> &'static str {
        match self {
            Self::Libvirtd => "libvirtd",
            Self::LibvirtDbus => "libvirt-dbus",
            Self::Bus => "dbus-daemon",
        }
    }
}

impl Host {
    /// Stops a daemon with SIGTERM (systemd hosts: systemctl) and waits for its end.
    pub fn stop(&self, daemon: Daemon) -> Result<()> {
        self.control("stop", daemon)
    }

    /// Starts a daemon and waits until it serves.
    pub fn start_daemon(&self, daemon: Daemon) -> Result<()> {
        self.control("start", daemon)?;
        if daemon == Daemon::Bus { Ok(()) } else { self.wait_libvirt() }
    }

    /// Stops and starts a daemon, and waits until libvirt answers on the bus again.
    pub fn restart(&self, daemon: Daemon) -> Result<()> {
        self.control("stop", daemon)?;
        if daemon == Daemon::Bus {
            // libvirtd ends when it loses the bus (seen with 9.0), and so does libvirt-dbus; guests run on. On a real host
            // socket activation brings it back.
            let end = || {
                if self.processes("libvirtd").is_empty() { Ok(()) } else { Err("libvirtd runs".to_owned()) }
            };
            let ended = wait_for("end of libvirtd", Duration::from_secs(5), end).is_ok();
            self.control("start", daemon)?;
            if ended {
                self.control("start", Daemon::Libvirtd)?;
            }
        } else {
            self.control("start", daemon)?;
        }
        self.wait_libvirt()
    }

    /// Sends a signal to a daemon. One that was to end is gone on return, a stopped one hangs: its sockets take what it never reads.
    /// Nobody starts the former again but [`Host::start_daemon`], or what would on a real host: systemd, and for libvirt-dbus
    /// the bus.
    pub fn signal(&self, daemon: Daemon, what: Signal) -> Result<()> {
        let pids = self.processes(daemon.name());
        if pids.is_empty() {
            return Err(Error::Guest(format!("{}: no {} runs", self.name(), daemon.name())));
        }
        pids.iter().try_for_each(|&pid| proc::signal(pid, what))?;
        let reached = |state: Option<char>| match what {
            Signal::KILL | Signal::TERM => state.is_none_or(|state| state == 'Z'),
            Signal::STOP => state == Some('T'),
            _ => true,
        };
        let name = format!("{} after {what:?}", daemon.name());
        wait_for(&name, Duration::from_secs(10), || {
            let states: Vec<_> = pids.iter().map(|&pid| proc::state(pid)).collect();
            if states.iter().copied().all(reached) { Ok(()) } else { Err(format!("{states:?}")) }
        })
    }

    fn control(&self, verb: &str, daemon: Daemon) -> Result<()> {
        match (self.spec().init, daemon) {
            (Init::Plain, _) => {
                let script = self.work().join("scripts/daemon.sh");
                run(self.command(script).args([verb, daemon.name()])).map(|_| ())
            }
            (Init::Systemd, Daemon::Libvirtd) => self.exec(&["systemctl", verb, "libvirtd"]).map(|_| ()),
            (Init::Systemd, Daemon::Bus) => self.exec(&["systemctl", verb, "dbus.service"]).map(|_| ()),
            // The bus starts it; there is no unit.
            (Init::Systemd, Daemon::LibvirtDbus) if verb == "start" => self.wait_libvirt(),
            (Init::Systemd, Daemon::LibvirtDbus) => self.signal(daemon, Signal::TERM),
        }
    }

    /// Cuts the wire between this host and the first one (not on the first).
    pub fn cut(&self) -> Result<()> {
        self.exec(&["ip", "link", "set", "up0", "down"]).map(|_| ())
    }

    /// Mends the wire.
    pub fn mend(&self) -> Result<()> {
        self.exec(&["ip", "link", "set", "up0", "up"]).map(|_| ())
    }
}
