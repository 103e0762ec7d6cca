//! The knobs: what can be turned on a guest, and the values they take.
//!
//! A value is always the platform's own unit, so that what was read back can be compared with what was set.
//! May not: turn anything (the daemon's actuators do).

use crate::topology::CpuSet;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A family of knobs, the unit of exclusion and of `knob` in a decision. Text: `placement`, `priority`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Affinity of vCPUs, emulator and iothreads.
    Placement,
    /// CPU shares/weight, or nice.
    Priority,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Placement => "placement",
            Self::Priority => "priority",
        })
    }
}

/// One knob of one guest. Text: `vcpu0.affinity`, `emulator.affinity`, `iothread1.affinity`, `cpu.shares`, `cpu.nice`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Knob {
    /// Affinity of vCPU n.
    VcpuAffinity(u32),
    /// Affinity of the emulator threads.
    EmulatorAffinity,
    /// Affinity of IOThread n.
    IothreadAffinity(u32),
    /// CPU shares (cgroup v1) or weight (v2), in libvirt's unit: v1 2..=262144 default 1024, v2 1..=10000 default 100
    /// (1 is not used: libvirt may refuse it).
    CpuShares,
    /// Nice value of every thread of the guest, -20..=19; only where there are no cgroups.
    CpuNice,
}

impl Knob {
    /// The family that the knob belongs to.
    pub fn family(self) -> Family {
        match self {
            Self::VcpuAffinity(_) | Self::EmulatorAffinity | Self::IothreadAffinity(_) => Family::Placement,
            Self::CpuShares | Self::CpuNice => Family::Priority,
        }
    }
}

impl fmt::Display for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VcpuAffinity(n) => write!(f, "vcpu{n}.affinity"),
            Self::EmulatorAffinity => f.write_str("emulator.affinity"),
            Self::IothreadAffinity(n) => write!(f, "iothread{n}.affinity"),
            Self::CpuShares => f.write_str("cpu.shares"),
            Self::CpuNice => f.write_str("cpu.nice"),
        }
    }
}

/// The text names no knob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a knob")]
pub struct BadKnob(pub String);

impl std::str::FromStr for Knob {
    type Err = BadKnob;
    fn from_str(text: &str) -> Result<Self, BadKnob> {
        let bad = || BadKnob(text.to_owned());
        let number = |s: &str| s.parse::<u32>().map_err(|_| bad());
        match text {
            "emulator.affinity" => Ok(Self::EmulatorAffinity),
            "cpu.shares" => Ok(Self::CpuShares),
            "cpu.nice" => Ok(Self::CpuNice),
            _ => {
                let (thread, kind) = text.split_once('.').ok_or_else(bad)?;
                match (thread.strip_prefix("vcpu"), thread.strip_prefix("iothread"), kind) {
                    (Some(n), _, "affinity") => Ok(Self::VcpuAffinity(number(n)?)),
                    (_, Some(n), "affinity") => Ok(Self::IothreadAffinity(number(n)?)),
                    _ => Err(bad()),
                }
            }
        }
    }
}

impl Serialize for Knob {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Knob {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The value of a knob. Text: a CPU list for affinities, a number otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KnobValue {
    /// Host CPUs.
    Cpus(CpuSet),
    /// Shares or weight in libvirt's unit.
    Shares(u64),
    /// Nice.
    Nice(i32),
}

impl fmt::Display for KnobValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpus(cpus) => cpus.fmt(f),
            Self::Shares(shares) => shares.fmt(f),
            Self::Nice(nice) => nice.fmt(f),
        }
    }
}

/// How CPU priority between guests can be turned on this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PriorityDomain {
    /// `cpu.shares` of cgroup v1: 2..=262144, default 1024.
    CgroupV1,
    /// `cpu.weight` of cgroup v2: 1..=10000, default 100.
    CgroupV2,
    /// No cgroups (session mode): nice.
    Nice,
    /// Nothing can be turned.
    #[default]
    None,
}
