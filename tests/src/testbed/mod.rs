//! N real libvirt hosts on one machine: dbus-daemon, libvirtd, libvirt-dbus and qemu in namespaces and cgroups of their own.
//!
//! ```text
//! test ──owns──> Testbed ──pipe──> keeper (ends when the pipe does: takes everything down)
//!                  └── Host a, b, ... = unshare --kill-child ─> init (bash or systemd) ─> dbus, libvirtd, qemu ...
//! ```
//! WORK/HOST/run is the host's /run, so its bus and the guests' consoles and control sockets are reachable from outside.
//! Names are derived from WORK, which is a fresh temporary directory: any number of testbeds run side by side.
//! Invariant: nothing of a testbed outlives its owner, and nothing outside WORK and the hosts' own cgroups is written, but for
//! two things: caches in the build directory, and, on a machine with cgroup v2 only whose root group does not hand down every
//! controller that libvirt wants (systemd sees to it where it runs), those are enabled there. They stay so: another testbed,
//! or somebody else, may use them by then.

mod accel;
mod cgroup;
mod check;
mod cpio;
mod domain;
mod error;
mod faults;
mod guest;
mod host;
pub mod image;
pub mod interrupt;
mod keeper;
pub mod proc;
mod process;
mod util;

pub use accel::Accel;
pub use domain::{Disk, GuestSpec, Place};
pub use error::{Error, Missing, Result};
pub use faults::Daemon;
pub use guest::{Guest, GuestRates, GuestStats};
pub use host::{Host, HostSpec, Init};
pub use keeper::reap;
pub use process::Process;
pub use util::wait_for;

use keeper::{Keeper, PREFIX};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use util::{mkdir, write};

/// Scripts that run inside, or outlive, what this library can reach; written into each work directory.
const SCRIPTS: [(&str, &str); 6] = [
    ("cgroups.sh", include_str!("scripts/cgroups.sh")),
    ("plain-init.sh", include_str!("scripts/plain-init.sh")),
    ("systemd-init.sh", include_str!("scripts/systemd-init.sh")),
    ("daemon.sh", include_str!("scripts/daemon.sh")),
    ("enter.sh", include_str!("scripts/enter.sh")),
    ("keeper.sh", include_str!("scripts/keeper.sh")),
];

/// What testbed to build.
#[derive(Clone, Debug)]
pub struct Options {
    /// The hosts, first to last; they share one network, 10.77.0.1 on.
    pub hosts: Vec<HostSpec>,
}

impl Options {
    /// `n` hosts (hosta, hostb, ...) with a small shell as PID 1.
    pub fn plain(n: usize) -> Self {
        Self { hosts: (0..n).map(|i| HostSpec::new(i, Init::Plain)).collect() }
    }
    /// `n` hosts with a real systemd as PID 1.
    pub fn systemd(n: usize) -> Self {
        Self { hosts: (0..n).map(|i| HostSpec::new(i, Init::Systemd)).collect() }
    }
    /// Changes every host's specification.
    #[must_use]
    pub fn each(mut self, change: impl Fn(&mut HostSpec)) -> Self {
        self.hosts.iter_mut().for_each(change);
        self
    }
}

/// Running hosts. Dropping it takes them down; so does the end of the process, however it comes.
#[derive(Debug)]
pub struct Testbed {
    work: PathBuf,
    tag: String,
    hosts: Vec<Host>,
    accel: Accel,
    keeper: interrupt::Shared,
    keeper_pid: i32,
}

impl Testbed {
    /// Whether live tests can run on this machine, and if not, why not.
    pub fn available() -> Result<(), Missing> {
        check::available()
    }

    /// Starts the hosts and waits until libvirt answers on each one's bus.
    pub fn new(options: Options) -> Result<Self> {
        check::available()?;
        reap();
        let image = image::image()?;
        let accel = accel::accel(&image);
        let work = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(PermissionsExt::from_mode(0o755))
            .tempdir_in(keeper::temp_dir())
            .map_err(Error::io("make a work directory"))?
            .keep();
        mkdir(&work.join("scripts"))?;
        for (name, text) in SCRIPTS {
            write(&work.join("scripts").join(name), text)?;
        }
        for name in ["plain-init.sh", "systemd-init.sh", "daemon.sh"] {
            let file = work.join("scripts").join(name);
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755))
                .map_err(Error::io(format!("chmod {}", file.display())))?;
        }
        let keeper = Keeper::start(&work)?;
        let tag = work.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        // From here on a failure drops this value, and with it everything made so far.
        let keeper_pid = keeper.pid();
        let keeper = interrupt::register(keeper);
        let mut testbed = Self { work, tag, hosts: Vec::new(), accel, keeper, keeper_pid };
        testbed.start(options, &image)?;
        Ok(testbed)
    }

    fn start(&mut self, options: Options, image: &image::Image) -> Result<()> {
        for dir in ["shared", "guest"] {
            mkdir(&self.work.join(dir))?;
        }
        // Ubuntu's kernels are for root's eyes alone; a guest of a user's session is to boot them, too.
        let copy = |from: &Path, name: &str| {
            let to = self.work.join("guest").join(name);
            std::fs::copy(from, &to)
                .and_then(|_| std::fs::set_permissions(&to, PermissionsExt::from_mode(0o644)))
                .map_err(Error::io(format!("copy {}", from.display())))
        };
        copy(&image.kernel, "vmlinuz")?;
        copy(&image.initrd, "initrd")?;
        let names: String = options
            .hosts
            .iter()
            .enumerate()
            .map(|(i, h)| format!("10.77.0.{} {}\n", i + 1, h.name))
            .collect();
        write(&self.work.join("hosts"), &format!("127.0.0.1 localhost\n{names}"))?;
        for (index, spec) in options.hosts.into_iter().enumerate() {
            let host = Host::start(&self.work, &self.tag, index, self.accel, spec)?;
            host.connect(self.hosts.first())?;
            self.hosts.push(host);
        }
        self.hosts.iter().try_for_each(Host::wait_ready)
    }

    /// Host number `index`, from 0.
    ///
    /// # Panics
    /// When there is no such host: a mistake in the test.
    pub fn host(&self, index: usize) -> &Host {
        &self.hosts[index]
    }

    /// All hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The work directory. `shared` in it is seen by all hosts under the same path.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// The name from which cgroup and other names are derived.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Whether guests run under KVM or TCG.
    pub fn accel(&self) -> Accel {
        self.accel
    }

    /// Process id of the keeper, for tests of the clean-up.
    pub fn keeper_pid(&self) -> i32 {
        self.keeper_pid
    }

    /// Takes everything down and says what could not be removed. Dropping does the same but can only complain on stderr.
    pub fn down(self) -> Result<()> {
        interrupt::finish(&self.keeper)
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        if let Err(error) = interrupt::finish(&self.keeper) {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "{error}");
        }
    }
}
