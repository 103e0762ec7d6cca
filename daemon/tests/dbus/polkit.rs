//! The machine's own polkitd on a private bus, in a mount namespace with actions and rules of its own. Ends with the value.

use crate::bus::PrivateBus;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where Debian and Ubuntu put it.
const POLKITD: &str = "/usr/lib/polkit-1/polkitd";

/// Gives `nobody` one action, and leaves the others to their defaults.
const RULES: &str = r#"polkit.addRule(function(action, subject) {
    if (action.id == "org.trimtab1.pause" && subject.user == "nobody") { return polkit.Result.YES; }
});
"#;

/// A running polkitd.
pub(crate) struct Polkit {
    daemon: Child,
    _dir: TempDir,
}

/// Why tests with other users and polkit cannot run here, if they cannot.
pub(crate) fn missing() -> Option<&'static str> {
    if !nix::unistd::Uid::effective().is_root() {
        return Some("needs root, to be other users");
    }
    if !Path::new(POLKITD).exists() {
        return Some("needs polkitd (package polkitd)");
    }
    None
}

impl Polkit {
    /// Knows the actions of this policy file, or none; serves this bus.
    pub(crate) async fn start(bus: &PrivateBus, policy: Option<&Path>) -> Self {
        let dir = tempfile::Builder::new().prefix("trimtab-polkit-").tempdir().unwrap();
        let mode = || std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), mode()).unwrap();
        for name in ["actions", "rules"] {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::set_permissions(&path, mode()).unwrap();
        }
        std::fs::write(dir.path().join("rules/10-test.rules"), RULES).unwrap();
        if let Some(policy) = policy {
            std::fs::copy(policy, dir.path().join("actions/org.trimtab1.policy")).unwrap();
        }
        let script = format!(
            "mount --bind {0}/actions /usr/share/polkit-1/actions && \
             mount --bind {0}/rules /usr/share/polkit-1/rules.d && exec {POLKITD} --no-debug",
            dir.path().display()
        );
        let daemon = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let polkit = Self { daemon, _dir: dir };
        let connection = bus.bus().builder().build().await.unwrap();
        let names = zbus::fdo::DBusProxy::new(&connection).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !names.name_has_owner("org.freedesktop.PolicyKit1".try_into().unwrap()).await.unwrap() {
            assert!(Instant::now() < deadline, "polkitd does not come to the bus");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        polkit
    }

    /// Stops it as a hung one would be: on the bus, but silent.
    pub(crate) fn stop(&self) {
        let pid = self.daemon.id().to_string();
        assert!(Command::new("kill").args(["-s", "STOP", &pid]).status().unwrap().success());
    }
}

impl Drop for Polkit {
    fn drop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }
}
