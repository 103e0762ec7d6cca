//! Puts the parts together: journal, engine, sensors, libvirt, performer, API and loop. May not: do any of their work.

use crate::actuators::{Actuator, nice};
use crate::bus::Bus;
use crate::cli::Cli;
use crate::config::{self, Config, ConfigErrors};
use crate::control_loop::{ControlLoop, Surroundings};
use crate::dbus::{self, AuthConfig};
use crate::handle::{Handle, View};
use crate::journal;
use crate::libvirt::{LibvirtConfig, LibvirtDbus};
use crate::performer::perform;
use crate::run::{Parts, run};
use crate::sensors::{Sensors, SensorsConfig};
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use trimtab_policy::decision::Decision;
use trimtab_policy::engine::{Engine, Start};
use trimtab_policy::knob::PriorityDomain;
use trimtab_store::{DecisionFilter, Loaded, Store};

/// Requests of the API that may wait for the loop; more than that and the caller waits.
const REQUESTS: usize = 64;
/// Decisions of former runs that are shown.
const SHOWN: u32 = 100;
/// Kept decisions of former runs that `restore` may have to close: far more than knobs are turned at a time.
const KEPT: u32 = 1000;

/// Directories of this daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Places {
    state: PathBuf,
    runtime: Option<PathBuf>,
    qemu_pids: PathBuf,
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// Whatever keeps it from starting; once it runs, faults of its surroundings are survived.
pub async fn run_daemon(cli: Cli, config: Config) -> anyhow::Result<()> {
    let config = overridden(&cli, config)?;
    let bus: Bus = config.dbus.bus.parse()?;
    let places = places(&config, &bus)?;
    let options = config.store.options(&places.state, places.runtime.as_deref());
    let (store, loaded) = Store::open(options)?;
    for line in &loaded.said {
        tracing::warn!("journal: {line}");
    }
    let newest = decisions(&store, DecisionFilter { limit: SHOWN, ..DecisionFilter::default() });
    let kept = DecisionFilter { verdict: Some("kept".to_owned()), limit: KEPT, ..DecisionFilter::default() };
    // Only of interest while one of their knobs is still turned.
    let kept = if loaded.originals.is_empty() { Vec::new() } else { decisions(&store, kept) };
    let store = Arc::new(store);
    let engine = engine(&config, &loaded, kept);
    let sensors = Sensors::new(sensors_config(&bus, &config)).context("cannot sense this host")?;
    let hypervisor = Arc::new(LibvirtDbus::start(libvirt_config(&config)?));

    let (view, seen) = watch::channel(Arc::new(View::default()));
    let (batches, to_perform) = mpsc::unbounded_channel();
    let (reports, performed) = mpsc::unbounded_channel();
    let (requests, asked) = mpsc::channel(REQUESTS);
    let actuator = Actuator::new(hypervisor.clone(), places.qemu_pids.clone());
    tokio::spawn(perform(to_perform, store.clone(), actuator.clone(), reports));

    let around = Surroundings {
        pid_dir: places.qemu_pids,
        journal_every_ticks: (u64::from(config.store.sample_every_s) * 1000 / config.sensors.interval_ms)
            .max(1),
        questions: (config.libvirt.calls as usize).saturating_sub(1).max(1),
    };
    let control = ControlLoop::new(engine, sensors, around, newest, config.to_toml(), view);
    let auth = AuthConfig::for_bus(&bus, &config.dbus.group);
    let server = dbus::serve(bus, Handle { requests, view: seen }, auth).await?;
    let parts = Parts {
        hypervisor,
        actuator,
        store,
        batches,
        reports: performed,
        requests: asked,
        interval: Duration::from_millis(config.sensors.interval_ms),
        reload: reload(cli, config),
    };
    let result = run(control, parts).await;
    server.close().await;
    result.context("cannot handle signals")
}

/// The configuration that this command line asks for.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_config(cli: &Cli) -> Result<Config, ConfigErrors> {
    config::load(cli.config_dir.as_deref(), cli.bus.as_ref().map(|bus| *bus == Bus::Session))
}

/// The command line wins over the configuration.
fn overridden(cli: &Cli, mut config: Config) -> anyhow::Result<Config> {
    if let Some(bus) = &cli.bus {
        config.dbus.bus = bus.to_string();
    }
    if let Some(bus) = &cli.libvirt_bus {
        config.libvirt.bus = Some(bus.to_string());
    }
    if let Some(mode) = cli.mode {
        config.policy.mode = mode;
    }
    if let Some(dir) = &cli.state_dir {
        config.store.state_dir = Some(std::path::absolute(dir).context("--state-dir")?);
    }
    Ok(config)
}

/// Reads the configuration again, with the same command line; says which changes wait for a restart.
fn reload(cli: Cli, running: Config) -> Box<dyn Fn() -> Result<Config, String> + Send> {
    Box::new(move || {
        let read = read_config(&cli).map_err(|errors| errors.to_string())?;
        let new = overridden(&cli, read).map_err(|error| format!("{error:#}"))?;
        let waiting = running.needs_restart(&new);
        if !waiting.is_empty() {
            tracing::warn!("changed, but only taken over at the next start: {}", waiting.join(", "));
        }
        Ok(new)
    })
}

fn libvirt_config(config: &Config) -> anyhow::Result<LibvirtConfig> {
    let section = &config.libvirt;
    // libvirt-dbus is found where the daemon itself is, unless told otherwise.
    let bus = section.bus.as_ref().unwrap_or(&config.dbus.bus);
    Ok(LibvirtConfig {
        bus: bus.parse()?,
        path: section.path.clone(),
        read_timeout: Duration::from_millis(section.read_timeout_ms),
        bulk_timeout: Duration::from_millis(section.bulk_timeout_ms),
        write_timeout: Duration::from_millis(section.write_timeout_ms),
        max_in_flight: section.calls as usize,
        ..LibvirtConfig::default()
    })
}

fn env_dir(name: &str) -> Option<PathBuf> {
    // systemd separates several directories by colons; ours is the first.
    let value = std::env::var_os(name)?;
    let first = value.to_str()?.split(':').next()?;
    Path::new(first).is_absolute().then(|| first.into())
}

fn places(config: &Config, bus: &Bus) -> anyhow::Result<Places> {
    let home = || env_dir("HOME").context("neither XDG_STATE_HOME nor HOME is set");
    let session = *bus == Bus::Session;
    let state = match &config.store.state_dir {
        Some(dir) => dir.clone(),
        None => match env_dir("STATE_DIRECTORY") {
            Some(dir) => dir,
            None if session => match env_dir("XDG_STATE_HOME") {
                Some(dir) => dir.join("trimtab"),
                None => home()?.join(".local/state/trimtab"),
            },
            None => PathBuf::from("/var/lib/trimtab"),
        },
    };
    let user_runtime = env_dir("XDG_RUNTIME_DIR");
    let runtime = match env_dir("RUNTIME_DIRECTORY") {
        Some(dir) => Some(dir),
        None if session => user_runtime.as_ref().map(|dir| dir.join("trimtab")),
        None => Some(PathBuf::from("/run/trimtab")),
    };
    let qemu_pids = match (session, user_runtime) {
        (true, Some(dir)) => dir.join("libvirt/qemu/run"),
        _ => PathBuf::from("/run/libvirt/qemu"),
    };
    Ok(Places { state, runtime, qemu_pids })
}

fn sensors_config(bus: &Bus, config: &Config) -> SensorsConfig {
    // Without root there are no cgroups of libvirt's to weigh: what is left between guests of one user is nice, and that
    // only where it could be undone.
    let priority = (*bus == Bus::Session).then(|| {
        if nice::can_be_lowered(Path::new("/proc")) {
            return PriorityDomain::Nice;
        }
        tracing::warn!("priority is not turned: {}", nice::NOT_LOWERED);
        PriorityDomain::None
    });
    SensorsConfig { priority, perf: config.sensors.perf, ..SensorsConfig::default() }
}

/// Decisions of former runs, newest first. A row that cannot be read is said and left out.
fn decisions(store: &Store, filter: DecisionFilter) -> Vec<Decision> {
    let rows = store.read_now(move |reader| reader.decisions(&filter)).unwrap_or_else(|error| {
        tracing::warn!(%error, "former decisions are not known");
        Vec::new()
    });
    rows.iter().filter_map(|row| said(journal::decision(row))).collect()
}

fn engine(config: &Config, loaded: &Loaded, kept: Vec<Decision>) -> Engine {
    Engine::new(Start {
        config: config.policy.clone(),
        next_decision: loaded.last_decision + 1,
        originals: loaded.originals.iter().filter_map(|row| said(journal::original(row))).collect(),
        pending: loaded.pending.iter().filter_map(|row| said(journal::decision(row))).collect(),
        kept,
        lessons: loaded.lessons.iter().map(journal::lesson).collect(),
        overrides: loaded.overrides.iter().filter_map(|row| said(journal::override_of(row))).collect(),
    })
}

fn said<T>(row: Result<T, journal::RowError>) -> Option<T> {
    row.inspect_err(|error| tracing::error!(%error, "row of the journal is skipped")).ok()
}
