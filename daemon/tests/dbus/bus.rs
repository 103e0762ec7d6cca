//! A private dbus-daemon in a directory of its own. Ends with the value.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use trimtabd::dbus::Bus;

/// Everybody may do everything: what a caller may do is the daemon's business in these tests.
const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=@SOCKET@</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow eavesdrop="true"/>
  </policy>
</busconfig>
"#;

/// The bus.
pub(crate) struct PrivateBus {
    dir: TempDir,
    daemon: Option<Child>,
}

impl PrivateBus {
    /// A running bus.
    pub(crate) fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("trimtab-bus-").tempdir().unwrap();
        // Other users must reach the socket.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), mode).unwrap();
        let mut bus = Self { dir, daemon: None };
        let config = CONFIG.replace("@SOCKET@", bus.socket().to_str().unwrap());
        std::fs::write(bus.dir.path().join("bus.conf"), config).unwrap();
        bus.resume();
        bus
    }

    /// Its directory, which every user can read.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("bus")
    }

    /// Its address.
    pub(crate) fn address(&self) -> String {
        format!("unix:path={}", self.socket().display())
    }

    /// As an argument of `serve` and `Client::connect`.
    pub(crate) fn bus(&self) -> Bus {
        self.address().parse().unwrap()
    }

    /// Kills the dbus-daemon.
    pub(crate) fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    /// Sends the dbus-daemon a signal, e.g. `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.daemon.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Starts the dbus-daemon (again), at the same address.
    pub(crate) fn resume(&mut self) {
        assert!(self.daemon.is_none(), "the bus runs already");
        let _ = std::fs::remove_file(self.socket());
        let config = self.dir.path().join("bus.conf");
        let daemon = Command::new("dbus-daemon")
            .arg("--nofork")
            .arg("--config-file")
            .arg(config)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is installed (package dbus-daemon)");
        self.daemon = Some(daemon);
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < deadline, "dbus-daemon does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        self.kill();
    }
}
