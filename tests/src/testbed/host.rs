//! One host: its namespaces, cgroups, private directories, network and daemons.

use super::cgroup::Groups;
use super::process::Process;
use super::util::{mkdir, read, run, tail, wait_for, write};
use super::{Accel, Error, Guest, GuestSpec, Result, proc};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use trimtab_policy::topology::CpuSet;

/// PID 1 of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// A shell that runs dbus-daemon and libvirtd; the machine's root with private /run, /etc/libvirt, /var/*/libvirt.
    Plain,
    /// A real systemd over a throw-away overlay of the machine's root.
    Systemd,
}

/// What a host looks like.
#[derive(Clone, Debug)]
pub struct HostSpec {
    /// Host name, a short word.
    pub name: String,
    /// PID 1.
    pub init: Init,
    /// Worker threads of libvirt-dbus (its own default is 4).
    pub libvirt_dbus_threads: u32,
    /// Whether polkitd can be started by the bus.
    pub polkit: bool,
    /// Restricts the host to these CPUs of the machine.
    pub cpus: Option<CpuSet>,
    /// Bus policy files: name (`org.trimtab1.conf`) and text.
    pub bus_policies: Vec<(String, String)>,
    /// systemd hosts: unit files, name and text.
    pub units: Vec<(String, String)>,
    /// systemd hosts: a directory copied over the root before start.
    pub overlay: Option<PathBuf>,
    /// systemd hosts: further directories of the machine to show under the same path (those under /tmp and /run are not
    /// there by themselves).
    pub binds: Vec<PathBuf>,
}

impl HostSpec {
    /// The host number `index`: hosta, hostb, ...
    pub fn new(index: usize, init: Init) -> Self {
        Self {
            name: format!("host{}", char::from(b'a' + (index % 26) as u8)),
            init,
            libvirt_dbus_threads: 16,
            polkit: true,
            cpus: None,
            bus_policies: Vec::new(),
            units: Vec::new(),
            overlay: None,
            binds: Vec::new(),
        }
    }
}

/// A running host. Cheap to clone; does not keep the host alive (the testbed does).
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    spec: HostSpec,
    index: usize,
    work: PathBuf,
    dir: PathBuf,
    accel: Accel,
    groups: Groups,
    init: i32,
}

/// Generous: a loaded machine with TCG guests starts a libvirtd in some seconds.
const READY: Duration = Duration::from_secs(60);

impl Host {
    /// Starts the host as far as its PID 1; its network comes with [`Host::connect`].
    pub(crate) fn start(work: &Path, tag: &str, index: usize, accel: Accel, spec: HostSpec) -> Result<Self> {
        let dir = work.join(&spec.name);
        for sub in [
            "run",
            "lib/images",
            "cache",
            "log",
            "etc",
            "bus-policy",
            "bus-services",
            "units",
            "overlay",
            "up",
        ] {
            mkdir(&dir.join(sub))?;
        }
        files(&dir, tag, &spec, work)?;
        let groups = Groups::make(&format!("{tag}-{}", spec.name), &dir)?;
        if let Some(cpus) = &spec.cpus {
            groups.set_cpus(cpus)?;
        }
        let script = match spec.init {
            Init::Plain => "plain-init.sh",
            Init::Systemd => "systemd-init.sh",
        };
        let log = std::fs::File::create(dir.join("log/init.log")).map_err(Error::io("create init.log"))?;
        let both = log.try_clone().map_err(Error::io("dup"))?;
        // Into the cgroups first, then into the namespaces: a cgroup namespace is rooted where its maker is.
        let join = "d=$1; shift; while read -r g; do echo $$ > \"$g/cgroup.procs\" || exit 125; done < \"$d/cgroups\"; exec \"$@\"";
        let child = Command::new("sh")
            .args(["-c", join, "sh"])
            .arg(&dir)
            .args([
                "unshare",
                "--mount",
                "--net",
                "--uts",
                "--ipc",
                "--cgroup",
                "--pid",
                "--fork",
                "--kill-child",
            ])
            .args(["--propagation", "private"])
            .arg(work.join("scripts").join(script))
            .arg(work)
            .arg(&spec.name)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("container", "testbed")
            .env("TERM", "dumb")
            .env("TRIMTAB_TESTBED", tag)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(both)
            .process_group(0)
            .spawn()
            .map_err(Error::io("unshare"))?;
        let outer = child.id() as i32;
        write(&dir.join("unshare.pid"), &outer.to_string())?;
        // Reaps unshare when the keeper has killed it.
        std::thread::spawn(move || {
            let mut child = child;
            let _ = child.wait();
        });
        let init = wait_for(&format!("{}: PID 1", spec.name), READY, || {
            let found =
                proc::children(outer).into_iter().next().filter(|_| dir.join("run/tb-mounts-ready").exists());
            found.ok_or_else(|| tail(&dir.join("log/init.log"), 10))
        })?;
        if groups.pure_v2 {
            // The v2 rule: no process in the root group of the host, else its controllers cannot be handed down.
            for group in &groups.dirs {
                write(&group.join("init.scope/cgroup.procs"), &outer.to_string())?;
            }
        }
        Ok(Self(Arc::new(Inner { spec, index, work: work.to_owned(), dir, accel, groups, init })))
    }

    /// Gives the host its bridge and address, and a wire to the first host's bridge.
    pub(crate) fn connect(&self, first: Option<&Self>) -> Result<()> {
        let ip = |script: &str| self.exec(&["sh", "-ec", script]);
        ip(&format!(
            "ip link set lo up; ip link add br0 type bridge forward_delay 0; ip addr add {}/24 dev br0; ip link set br0 up",
            self.address()
        ))?;
        if let Some(first) = first {
            let peer = format!("to-{}", self.name());
            run(Command::new("ip")
                .args(["link", "add", "up0", "netns", &self.0.init.to_string(), "type", "veth", "peer"])
                .args(["name", &peer, "netns", &first.0.init.to_string()]))?;
            ip("ip link set up0 master br0 up")?;
            first.exec(&["ip", "link", "set", &peer, "master", "br0", "up"])?;
        }
        write(&self.0.dir.join("run/tb-net-ready"), "")
    }

    /// Waits until libvirt answers on the bus.
    pub(crate) fn wait_ready(&self) -> Result<()> {
        let logs = || {
            let log = self.0.dir.join("log");
            [tail(&log.join("init.log"), 5), tail(&log.join("libvirtd.out"), 5)].join(" ")
        };
        if self.0.spec.init == Init::Systemd {
            wait_for(&format!("{}: systemd", self.name()), READY, || {
                if proc::comm(self.0.init).is_none_or(|c| c != "systemd") {
                    return Err(logs());
                }
                // Exits non-zero for `degraded`, which is fine: units of the machine that cannot run in here.
                let out =
                    self.command("systemctl").arg("is-system-running").output().map_err(|e| e.to_string())?;
                let state = String::from_utf8_lossy(&out.stdout).trim().to_owned();
                if matches!(state.as_str(), "running" | "degraded") { Ok(()) } else { Err(state) }
            })?;
        }
        self.wait_libvirt().map_err(|error| match error {
            Error::Timeout { what, after, seen } => {
                Error::Timeout { what, after, seen: seen + " " + &logs() }
            }
            other => other,
        })
    }

    /// Waits until libvirt answers on the bus (as after a restart).
    pub fn wait_libvirt(&self) -> Result<()> {
        let what = format!("{}: libvirt on the bus", self.name());
        wait_for(&what, READY, || {
            let get = ["org.libvirt", "/org/libvirt/QEMU", "org.freedesktop.DBus.Properties", "Get"];
            self.busctl("call")
                .args(get)
                .args(["ss", "org.libvirt.Connect", "Hostname"])
                .output()
                .map_err(|e| e.to_string())
                .and_then(|out| {
                    if out.status.success() {
                        Ok(())
                    } else {
                        Err(String::from_utf8_lossy(&out.stderr).trim().to_owned())
                    }
                })
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.spec.name
    }

    /// What it was built from.
    pub fn spec(&self) -> &HostSpec {
        &self.0.spec
    }

    /// Its address on the testbed's network.
    pub fn address(&self) -> String {
        format!("10.77.0.{}", self.0.index + 1)
    }

    /// Whether guests run under KVM or TCG.
    pub fn accel(&self) -> Accel {
        self.0.accel
    }

    /// Process id of its PID 1 as the machine sees it.
    pub fn init_pid(&self) -> i32 {
        self.0.init
    }

    /// Its directory: `run` is the host's /run, `log` its /var/log/libvirt.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// The testbed's work directory, the same path inside and outside.
    pub fn work(&self) -> &Path {
        &self.0.work
    }

    /// Its cgroup directories as the machine sees them, one in each hierarchy.
    pub fn cgroups(&self) -> &[PathBuf] {
        &self.0.groups.dirs
    }

    /// Address of its system bus, usable from outside. Inside the host the usual system bus address works.
    pub fn bus_address(&self) -> String {
        format!("unix:path={}", escape(&self.0.dir.join("run/dbus/system_bus_socket"), "-_/.\\*"))
    }

    /// URI of its libvirtd for virsh and other libvirt clients outside the host.
    pub fn libvirt_uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", escape(&self.0.dir.join("run/libvirt/libvirt-sock"), "-_/."))
    }

    /// A command that will run inside the host: all its namespaces and its cgroups. Add arguments, environment, streams.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("sh");
        command
            .arg(self.0.work.join("scripts/enter.sh"))
            .arg(&self.0.dir)
            .arg(self.0.init.to_string())
            .arg(program)
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .env_remove("DBUS_SYSTEM_BUS_ADDRESS")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("XDG_RUNTIME_DIR")
            .env("TRIMTAB_TESTBED", self.0.work.file_name().unwrap_or_default());
        command
    }

    /// Runs a command inside the host to its end; its standard output, or an error with all it said.
    pub fn exec(&self, command: &[&str]) -> Result<String> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| Error::Guest("empty command".to_owned()))?;
        run(self.command(program).args(arguments))
    }

    /// Starts a long-running program inside the host, output appended to `log` (a path outside, e.g. in [`Host::dir`]).
    pub fn spawn(&self, command: Command, log: &Path) -> Result<Process> {
        Process::start(command, log)
    }

    /// virsh on this host's libvirtd, as an admin would use it. Several commands: one argument each, joined by `;`.
    pub fn virsh(&self, commands: &[&str]) -> Result<String> {
        run(Command::new("virsh").args(["-q", "-c", &self.libvirt_uri()]).arg(commands.join("; ")))
    }

    /// busctl on this host's bus; `verb` is `call`, `get-property`, `introspect`, ...
    pub fn busctl(&self, verb: &str) -> Command {
        let mut command = Command::new("busctl");
        command.args(["--timeout=30", &format!("--address={}", self.bus_address()), verb, "--"]);
        command
    }

    /// Processes of the host with this short name (the kernel's 15 letters), by the machine's process ids.
    pub fn processes(&self, comm: &str) -> Vec<i32> {
        proc::inside(self.0.init)
            .into_iter()
            .filter(|&pid| proc::comm(pid).is_some_and(|c| c == comm) && proc::alive(pid))
            .collect()
    }

    /// Every process of the host.
    pub fn all_processes(&self) -> Vec<i32> {
        proc::inside(self.0.init)
    }

    /// Takes the CPUs other than these away from the host and all that runs in it, or gives them back.
    pub fn set_cpus(&self, cpus: &CpuSet) -> Result<()> {
        self.0.groups.set_cpus(cpus)
    }

    /// Adds a policy to the running bus.
    pub fn add_bus_policy(&self, name: &str, text: &str) -> Result<()> {
        match self.0.spec.init {
            Init::Plain => write(&self.0.dir.join("bus-policy").join(name), text)?,
            Init::Systemd => {
                let file = self.0.dir.join("run").join(name);
                write(&file, text)?;
                self.exec(&["mv", &format!("/run/{name}"), "/etc/dbus-1/system.d/"])?;
            }
        }
        let bus = ["org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "ReloadConfig"];
        run(self.busctl("call").args(bus)).map(|_| ())
    }

    /// Defines and starts a guest; it boots while the caller goes on (see [`Guest::booted`]).
    pub fn guest(&self, spec: &GuestSpec) -> Result<Guest> {
        Guest::start(self, spec)
    }

    /// Starts several guests and waits until all have booted.
    pub fn guests(&self, specs: &[GuestSpec]) -> Result<Vec<Guest>> {
        let guests: Vec<Guest> = specs.iter().map(|spec| self.guest(spec)).collect::<Result<_>>()?;
        guests.iter().try_for_each(Guest::booted)?;
        Ok(guests)
    }
}

/// Percent-escapes every byte of a path that is neither a letter, a digit nor in `keep`.
fn escape(path: &Path, keep: &str) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |b: u8| b.is_ascii_alphanumeric() || keep.as_bytes().contains(&b);
    path.as_os_str()
        .as_bytes()
        .iter()
        .map(|&b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02x}") })
        .collect()
}

/// The host's private configuration files.
fn files(dir: &Path, tag: &str, spec: &HostSpec, work: &Path) -> Result<()> {
    let id = super::domain::uuid(&[tag, &spec.name]);
    write(&dir.join("machine-id"), &format!("{}\n", id.replace('-', "")))?;
    write(
        &dir.join("etc/libvirtd.conf"),
        &format!(
            "host_uuid = \"{id}\"\nlisten_tls = 0\nlisten_tcp = 1\nlisten_addr = \"0.0.0.0\"\nauth_tcp = \"none\"\n\
             auth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\nunix_sock_rw_perms = \"0777\"\nunix_sock_ro_perms = \"0777\"\n\
             max_clients = 5000\nlog_outputs = \"2:file:/var/log/libvirt/libvirtd.log\"\n"
        ),
    )?;
    write(
        &dir.join("etc/qemu.conf"),
        &format!(
            "user = \"root\"\ngroup = \"root\"\nsecurity_driver = \"none\"\nnamespaces = []\nremember_owner = 0\n\
             dynamic_ownership = 0\nstdio_handler = \"file\"\nmigration_host = \"{}\"\n",
            spec.name
        ),
    )?;
    write(
        &dir.join("bus-services/org.libvirt.service"),
        &format!(
            "[D-BUS Service]\nName=org.libvirt\nExec=/usr/sbin/libvirt-dbus --system --threads {}\nUser=libvirtdbus\n",
            spec.libvirt_dbus_threads
        ),
    )?;
    let polkit = Path::new("/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service");
    if spec.polkit && polkit.exists() {
        write(&dir.join("bus-services/org.freedesktop.PolicyKit1.service"), &read(polkit)?)?;
    }
    for (name, text) in &spec.bus_policies {
        write(&dir.join("bus-policy").join(name), text)?;
    }
    for (name, text) in &spec.units {
        write(&dir.join("units").join(name), text)?;
    }
    if let Some(overlay) = &spec.overlay {
        run(Command::new("cp").arg("-a").arg(overlay.join(".")).arg(dir.join("overlay")))?;
    }
    let mut binds = vec![work.to_owned()];
    binds.extend(spec.binds.iter().cloned());
    binds.extend(programs().filter(|dir| dir.starts_with("/tmp") || dir.starts_with("/run")));
    write(&dir.join("binds"), &binds.iter().map(|b| format!("{}\n", b.display())).collect::<String>())
}

/// Where the programs of this build are: beside the running one, which is one directory further down when it is a test.
fn programs() -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    let dir = exe.parent()?;
    if dir.ends_with("deps") { dir.parent().map(Path::to_owned) } else { Some(dir.to_owned()) }
}
