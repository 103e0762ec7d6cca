//! A host written out by hand: guests with loads and knobs, as the controllers and the model see them.

use std::collections::BTreeMap;
use std::sync::Arc;
use trimtab_policy::config::PolicyConfig;
use trimtab_policy::control::{Plan, State, Subject};
use trimtab_policy::identify::features::{Features, RoleLoad};
use trimtab_policy::identify::{Finding, Role};
use trimtab_policy::knob::{Knob, KnobValue, PriorityDomain};
use trimtab_policy::objective::{Party, score};
use trimtab_policy::sample::ThreadRole;
use trimtab_policy::topology::Topology;
use trimtab_policy::units::GuestId;

/// Means over five ticks: (run, wait) of each vCPU and of the emulator, and disk requests a second.
pub(crate) fn features(vcpus: &[(f64, f64)], service: (f64, f64), ops: Option<f64>) -> Features {
    let load = |role, &(run, wait): &(f64, f64)| RoleLoad { role, run, wait };
    let mut roles: Vec<RoleLoad> = vcpus.iter().zip(0..).map(|(l, n)| load(ThreadRole::Vcpu(n), l)).collect();
    roles.push(load(ThreadRole::Emulator, &service));
    Features {
        points: 5,
        run: roles.iter().map(|r| r.run).sum(),
        wait: roles.iter().map(|r| r.wait).sum(),
        roles,
        disk_bps: ops.map(|ops| ops * 65_536.0),
        ops_per_s: ops,
        in_flight: None,
    }
}

/// What a guest does.
#[derive(Clone, Copy)]
pub(crate) enum Does {
    /// Burns on so many vCPUs, each of which runs for this part of the time and waits for the rest.
    Burns(u32, f64),
    /// Writes: one vCPU and the emulator that each run 0.2 and wait so long.
    Writes(f64),
}

/// A host under construction.
#[derive(Clone)]
pub(crate) struct Setting(State);

impl Setting {
    pub(crate) fn new(topology: Topology, domain: PriorityDomain) -> Self {
        let cpus = topology.cpus.len() as f64;
        Self(State {
            topology: Arc::new(topology),
            domain,
            subjects: BTreeMap::new(),
            busy: BTreeMap::new(),
            capacity: cpus,
            score: score(Vec::new(), cpus, 90.0),
            profile: "p".to_owned(),
            config: PolicyConfig::default(),
        })
    }

    pub(crate) fn flat(cpus: u32) -> Self {
        Self::new(Topology::flat(cpus), PriorityDomain::CgroupV1)
    }

    /// The noisy neighbour: a writer twice as heavy as each of two burners.
    pub(crate) fn neighbours(domain: PriorityDomain) -> Self {
        Self::new(Topology::flat(2), domain)
            .guest("w", 2048, Does::Writes(0.25))
            .guest("a", 1024, Does::Burns(2, 0.4))
            .guest("b", 1024, Does::Burns(2, 0.4))
    }

    pub(crate) fn guest(mut self, name: &str, weight: u32, does: Does) -> Self {
        let id = id(name);
        let (features, was) = match does {
            Does::Burns(vcpus, run) => {
                (features(&vec![(run, 1.0 - run); vcpus as usize], (0.0, 0.0), Some(0.0)), Role::Cpu)
            }
            Does::Writes(wait) => (features(&[(0.2, wait)], (0.2, wait), Some(1_000.0)), Role::Io),
        };
        let vcpus = features.roles.len() as u32 - 1;
        let config = &self.0.config.identify;
        let found = Finding::of(features, was, self.0.topology.cpus.len(), |_| 0.0, config);
        let all = KnobValue::Cpus(self.0.cpus());
        let mut knobs: BTreeMap<Knob, KnobValue> =
            (0..vcpus).map(|n| (Knob::VcpuAffinity(n), all.clone())).collect();
        knobs.insert(Knob::EmulatorAffinity, all);
        knobs.extend(match self.0.domain {
            PriorityDomain::CgroupV1 => Some((Knob::CpuShares, KnobValue::Shares(1024))),
            PriorityDomain::CgroupV2 => Some((Knob::CpuShares, KnobValue::Shares(100))),
            PriorityDomain::Nice => Some((Knob::CpuNice, KnobValue::Nice(0))),
            PriorityDomain::None => None,
        });
        let (originals, frozen) = (BTreeMap::new(), BTreeMap::new());
        let name = name.to_owned();
        self.0
            .subjects
            .insert(id, Subject { id, name, weight, vcpus: Some(vcpus), found, knobs, originals, frozen });
        self
    }

    /// How much of its time a CPU is busy.
    pub(crate) fn busy(mut self, cpu: u32, share: f64) -> Self {
        self.0.busy.insert(cpu, share);
        self
    }

    /// A knob that Trimtab has turned; `text` is its value in words.
    pub(crate) fn turned(mut self, name: &str, knob: &str, text: &str) -> Self {
        let (subject, knob) = (self.0.subjects.get_mut(&id(name)).unwrap(), knob.parse().unwrap());
        let was = subject.knobs.insert(knob, value(knob, text)).unwrap();
        subject.originals.entry(knob).or_insert(was);
        self
    }

    /// A knob that the admin had set before Trimtab came.
    pub(crate) fn was(mut self, name: &str, knob: &str, text: &str) -> Self {
        let knob = knob.parse().unwrap();
        self.0.subjects.get_mut(&id(name)).unwrap().knobs.insert(knob, value(knob, text)).unwrap();
        self
    }

    pub(crate) fn state(mut self) -> State {
        let party = |s: &Subject| {
            let (name, run, wait) = (s.name.clone(), s.found.features.run, s.found.features.wait);
            Some(Party { guest: s.id, name, weight: s.weight, speed: s.found.speed?, run, wait })
        };
        let parties = self.0.subjects.values().filter_map(party).collect();
        self.0.score = score(parties, self.0.capacity, self.0.config.arbiter.floor_pct);
        self.0
    }
}

pub(crate) fn id(name: &str) -> GuestId {
    GuestId([name.as_bytes()[0]; 16])
}

fn value(knob: Knob, text: &str) -> KnobValue {
    match knob {
        Knob::CpuShares => KnobValue::Shares(text.parse().unwrap()),
        Knob::CpuNice => KnobValue::Nice(text.parse().unwrap()),
        _ => KnobValue::Cpus(text.parse().unwrap()),
    }
}

/// The changes of a plan as `guest.knob=value`; empty if there is no such plan.
pub(crate) fn told(plans: &[Plan], recipe: &str) -> String {
    let changes = plans.iter().filter(|p| p.recipe == recipe).flat_map(|p| &p.changes);
    let words = changes.map(|c| {
        let knob = c.knob.to_string();
        format!("{}.{}={}", c.guest_name, knob.trim_end_matches(".affinity").trim_start_matches("cpu."), c.to)
    });
    words.collect::<Vec<_>>().join(" ")
}
