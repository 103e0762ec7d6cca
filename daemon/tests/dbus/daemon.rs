//! trimtabd as a process: its command line, on buses and a libvirt of its own.

use crate::bus::PrivateBus;
use crate::libvirt::{GUESTS, stand_in};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use trimtabd::dbus::proxy::{Client, ClientError, PastQuery};

/// trimtabd with nothing of this machine's: its directories are below `dir`.
fn trimtabd(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtabd"));
    command.env_clear().env("RUNTIME_DIRECTORY", dir.join("run")).env("STATE_DIRECTORY", dir.join("state"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// One that is killed in the end, whatever the test comes to.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_bus_that_is_none_is_wrong_usage() {
    let dir = tempfile::tempdir().unwrap();
    for option in ["--bus", "--libvirt-bus"] {
        for check in [&[][..], &["--check-config"]] {
            let arguments = [check, &[option, "nonsense"]].concat();
            let (code, error) = told(&trimtabd(dir.path(), &arguments).output().unwrap());
            assert_eq!(code, Some(2), "{arguments:?}: {error}");
            assert!(error.contains("'nonsense' is not a bus") && error.contains(option), "{error}");
        }
    }
}

#[test]
fn a_session_daemon_reads_the_users_own_configuration() {
    let dir = tempfile::tempdir().unwrap();
    for (variable, below) in [("XDG_CONFIG_HOME", "trimtab"), ("HOME", ".config/trimtab")] {
        let home = dir.path().join(variable);
        std::fs::create_dir_all(home.join(below)).unwrap();
        std::fs::write(home.join(below).join("trimtab.toml"), "[store]\nmax_size = 5\n").unwrap();
        let check = |bus: &str| {
            told(
                &trimtabd(dir.path(), &["--check-config", "--bus", bus])
                    .env(variable, &home)
                    .output()
                    .unwrap(),
            )
        };
        let (code, error) = check("session");
        let place = format!("{variable}/{below}/trimtab.toml:2:1: store.max_size");
        assert!(code == Some(2) && error.contains(&place), "{code:?} {error}");
        assert!(!check("system").1.contains("max_size"), "nobody's own for the whole machine");
    }
}

#[tokio::test]
async fn the_daemon_is_on_one_bus_and_finds_libvirt_on_another() {
    let (api, other) = (PrivateBus::start(), PrivateBus::start());
    let (_libvirt, _desk) = stand_in(&other, 0).await;
    let dir = tempfile::tempdir().unwrap();
    let (config, api_at, other_at) = (dir.path().display().to_string(), api.address(), other.address());
    let arguments = ["--config-dir", &config, "--bus", &api_at, "--libvirt-bus", &other_at];
    let mut command = trimtabd(dir.path(), &arguments);
    let _running = Running(command.stderr(Stdio::null()).spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut last = String::new();
    while Instant::now() < deadline {
        let seen = async {
            let client = Client::connect(&api.bus()).await?;
            let loads = client.read(client.manager().cpu_loads()).await?;
            let notes = client.notes(PastQuery { guest: None, since: None, limit: 1 }).await?;
            Ok::<_, ClientError>((client.status().await?, loads, notes))
        };
        match seen.await {
            Ok((status, loads, _))
                if status.libvirt == "connected"
                    && status.guest_count == u32::from(GUESTS)
                    && !loads.is_empty() =>
            {
                return;
            }
            seen => last = format!("{seen:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not served, or libvirt not found: {last}");
}
