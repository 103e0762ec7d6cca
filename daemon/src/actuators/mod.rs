//! The hand that turns a knob: one change on one guest, so carefully that it may be repeated and can be undone.
//!
//! In this order: is the value possible on this host; is the guest free (no job, it answers); does the knob still have
//! the value that the decision was made on (if not, somebody moved it and wins); write, live only; read back. After an
//! answer that did not come, what counts is what is read back. Whatever is `Refused` was not changed, or the text says
//! that this is not known. Never vCPU hot-unplug. May not: decide, retry, see a sensor.

pub mod nice;
mod online;

use crate::libvirt::{Hypervisor, LibvirtError};
use nice::{Nice, NiceError};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use trimtab_policy::decision::{Change, Outcome};
use trimtab_policy::knob::{Knob, KnobValue};
use trimtab_policy::units::GuestId;

/// Something that performs changes.
pub trait Actuate: Send + Sync + 'static {
    /// Perform one change. Ends within libvirt's time-outs; may be repeated.
    fn apply(&self, change: &Change) -> impl Future<Output = Outcome> + Send;
}

/// Performs changes through libvirt, and nice values through the kernel.
#[derive(Debug)]
pub struct Actuator<H> {
    hypervisor: Arc<H>,
    nice: Nice,
    sys_root: PathBuf,
}

impl<H> Clone for Actuator<H> {
    fn clone(&self) -> Self {
        Self { hypervisor: self.hypervisor.clone(), nice: self.nice.clone(), sys_root: self.sys_root.clone() }
    }
}

/// Why a knob could not be read or written.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Libvirt(#[from] LibvirtError),
    #[error(transparent)]
    Nice(#[from] NiceError),
}

impl Failure {
    /// Whether the write may have happened all the same.
    fn is_unsure(&self) -> bool {
        matches!(self, Self::Libvirt(LibvirtError::Timeout { .. } | LibvirtError::Away(_)))
    }
}

impl<H: Hypervisor> Actuator<H> {
    /// `pid_dir`: where libvirt keeps qemu's pid files (see `libvirt::qemu_pid`).
    pub fn new(hypervisor: Arc<H>, pid_dir: PathBuf) -> Self {
        Self { hypervisor, nice: Nice::new("/proc".into(), pid_dir), sys_root: "/sys".into() }
    }

    /// The same host with another `/proc` and `/sys`.
    #[must_use]
    pub fn with_roots(self, proc_root: PathBuf, sys_root: PathBuf) -> Self {
        Self { nice: Nice::new(proc_root, self.nice.pid_dir().to_owned()), sys_root, ..self }
    }

    /// Every knob of a guest: libvirt's, and where there is no `CpuShares`, nice if it can be turned *and undone*.
    ///
    /// # Errors
    /// Those of libvirt.
    pub async fn knobs(&self, id: GuestId, name: &str) -> Result<BTreeMap<Knob, KnobValue>, LibvirtError> {
        let mut knobs = self.hypervisor.knobs(id).await?;
        if !knobs.contains_key(&Knob::CpuShares)
            && let Ok(nice) = self.nice.read(name)
        {
            knobs.insert(Knob::CpuNice, KnobValue::Nice(nice));
        }
        Ok(knobs)
    }

    async fn read(&self, change: &Change) -> Result<Option<KnobValue>, Failure> {
        if change.knob == Knob::CpuNice {
            return Ok(Some(KnobValue::Nice(self.nice.read(&change.guest_name)?)));
        }
        Ok(self.hypervisor.knobs(change.guest).await?.remove(&change.knob))
    }

    async fn write(&self, change: &Change) -> Result<(), Failure> {
        match (change.knob, &change.to) {
            (Knob::CpuNice, KnobValue::Nice(nice)) => Ok(self.nice.write(&change.guest_name, *nice).await?),
            (knob, value) => Ok(self.hypervisor.set_knob(change.guest, knob, value).await?),
        }
    }

    /// Why the guest must be left alone now, if it must.
    async fn busy(&self, change: &Change) -> Option<String> {
        match self.hypervisor.job_active(change.guest).await {
            Ok(false) => None,
            Ok(true) => Some("a libvirt job (migration, backup, ...) is active".to_owned()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Present value, or the outcome if there is nothing to write.
    async fn prepare(&self, change: &Change) -> Result<(), Outcome> {
        let refused = |why: String| Err(Outcome::Refused(why));
        online::check(&self.sys_root, change).map_err(Outcome::Refused)?;
        if let Some(why) = self.busy(change).await {
            return refused(why);
        }
        match self.read(change).await {
            Ok(Some(value)) if value == change.to && !tells_only_the_effect(change.knob) => {
                Err(Outcome::AlreadySo)
            }
            Ok(Some(value)) if value == change.from || value == change.to => Ok(()),
            Ok(Some(value)) => refused(format!("somebody moved it: it is {value} and not {}", change.from)),
            Ok(None) => refused("the guest has no such knob".to_owned()),
            Err(error) => refused(error.to_string()),
        }
    }

    /// What became of a write.
    async fn verify(&self, change: &Change, written: Result<(), Failure>) -> Outcome {
        let error = match written {
            Ok(()) => None,
            Err(error) if error.is_unsure() => Some(error),
            Err(error) => return Outcome::Refused(error.to_string()),
        };
        let said = error.map_or_else(|| "no error".to_owned(), |e| e.to_string());
        match self.read(change).await {
            Ok(Some(value)) if value == change.to => Outcome::Done,
            Ok(Some(value)) => Outcome::Refused(format!("{said}, and it reads back as {value}")),
            Ok(None) => Outcome::Refused(format!("{said}, and the knob is gone")),
            Err(unread) => Outcome::Refused(format!("{said}, and whether it was set is not known: {unread}")),
        }
    }
}

impl<H: Hypervisor> Actuate for Actuator<H> {
    async fn apply(&self, change: &Change) -> Outcome {
        match self.prepare(change).await {
            Ok(()) => {
                let written = self.write(change).await;
                self.verify(change, written).await
            }
            Err(outcome) => outcome,
        }
    }
}

/// Whether what is read back is where the thread may run now, not what was asked for. The kernel remembers that, and takes it
/// up again when CPUs come back: a value that only looks right has to be written all the same.
fn tells_only_the_effect(knob: Knob) -> bool {
    matches!(knob, Knob::IothreadAffinity(_))
}

#[cfg(test)]
mod tests;
