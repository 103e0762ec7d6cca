//! Knobs as libvirt-dbus calls: reading all of a guest's, setting one. Live values only, never the definition.
//!
//! Reading asks qemu's monitor only for IOThreads. May not: decide whether a value makes sense.

use super::proxies::{AFFECT_LIVE, DomainProxy};
use std::collections::{BTreeMap, HashMap};
use trimtab_policy::knob::{Knob, KnobValue};
use trimtab_policy::topology::CpuSet;
use zbus::Variant;

const CPU_SHARES: &str = "cpu_shares";

/// Read every knob that exists for this guest.
pub(super) async fn read(domain: &DomainProxy<'_>) -> zbus::Result<BTreeMap<Knob, KnobValue>> {
    let mut knobs = BTreeMap::new();
    for (vcpu, map) in (0..).zip(domain.get_vcpu_pin_info(AFFECT_LIVE).await?) {
        knobs.insert(Knob::VcpuAffinity(vcpu), cpus(&map));
    }
    knobs.insert(Knob::EmulatorAffinity, cpus(&domain.get_emulator_pin_info(AFFECT_LIVE).await?));
    if let Some(shares) = shares(domain).await? {
        knobs.insert(Knob::CpuShares, KnobValue::Shares(shares));
    }
    for (id, map) in domain.get_iothread_info(AFFECT_LIVE).await? {
        knobs.insert(Knob::IothreadAffinity(id), cpus(&map));
    }
    Ok(knobs)
}

/// `cpu_shares`; absent where libvirt has no CPU controller (session mode, or none mounted).
async fn shares(domain: &DomainProxy<'_>) -> zbus::Result<Option<u64>> {
    match domain.get_scheduler_parameters(AFFECT_LIVE).await {
        Ok(parameters) => Ok(parameters.get(CPU_SHARES).and_then(|value| super::stats::number(value))),
        Err(error) if lacks_cpu_controller(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// libvirt has no code for it on D-Bus, only these texts ("... is not available in session mode", "cgroup CPU controller
/// is not mounted").
fn lacks_cpu_controller(error: &zbus::Error) -> bool {
    let zbus::Error::MethodError(_, Some(text), _) = error else { return false };
    text.contains("session mode") || text.contains("CPU controller is not mounted")
}

/// D-Bus method that sets `knob`, for messages.
pub(super) fn method(knob: Knob) -> &'static str {
    match knob {
        Knob::VcpuAffinity(_) => "PinVcpu",
        Knob::EmulatorAffinity => "PinEmulator",
        Knob::IothreadAffinity(_) => "PinIOThread",
        Knob::CpuShares => "SetSchedulerParameters",
        Knob::CpuNice => "setpriority",
    }
}

/// A knob with a value of the right kind.
pub(super) enum Setting {
    Vcpu(u32, Vec<bool>),
    Emulator(Vec<bool>),
    Iothread(u32, Vec<bool>),
    Shares(u64),
}

impl Setting {
    /// `None`: not a value of this knob, or not a knob of libvirt's.
    pub(super) fn new(knob: Knob, value: &KnobValue) -> Option<Self> {
        match (knob, value) {
            (Knob::VcpuAffinity(vcpu), KnobValue::Cpus(cpus)) => Some(Self::Vcpu(vcpu, map(cpus))),
            (Knob::EmulatorAffinity, KnobValue::Cpus(cpus)) => Some(Self::Emulator(map(cpus))),
            (Knob::IothreadAffinity(id), KnobValue::Cpus(cpus)) => Some(Self::Iothread(id, map(cpus))),
            (Knob::CpuShares, KnobValue::Shares(shares)) => Some(Self::Shares(*shares)),
            _ => None,
        }
    }

    /// Set it.
    pub(super) async fn apply(&self, domain: &DomainProxy<'_>) -> zbus::Result<()> {
        match self {
            Self::Vcpu(vcpu, map) => domain.pin_vcpu(*vcpu, map, AFFECT_LIVE).await,
            Self::Emulator(map) => domain.pin_emulator(map, AFFECT_LIVE).await,
            Self::Iothread(id, map) => domain.pin_iothread(*id, map, AFFECT_LIVE).await,
            Self::Shares(shares) => {
                let parameters = HashMap::from([(CPU_SHARES, Variant::U64(*shares))]);
                domain.set_scheduler_parameters(parameters, AFFECT_LIVE).await
            }
        }
    }
}

fn cpus(map: &[bool]) -> KnobValue {
    KnobValue::Cpus((0..).zip(map).filter(|(_, on)| **on).map(|(cpu, _)| cpu).collect())
}

/// As long as needed: libvirt takes CPUs beyond the end of the list as not in the set.
fn map(cpus: &CpuSet) -> Vec<bool> {
    let len = cpus.iter().last().map_or(0, |last| last + 1);
    (0..len).map(|cpu| cpus.contains(cpu)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_maps_round_trip() {
        for list in ["0", "1", "0-3,8", "7,127"] {
            let set: CpuSet = list.parse().unwrap();
            assert_eq!(cpus(&map(&set)), KnobValue::Cpus(set));
        }
        assert_eq!(cpus(&[true, false, false]), KnobValue::Cpus(CpuSet::one(0)));
    }
}
