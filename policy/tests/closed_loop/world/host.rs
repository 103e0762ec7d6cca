//! A synthetic host: a small fair scheduler in short steps, burners, and a writer whose every request
//! passes serially through vCPU, iothread, worker and device. Enough physics for the loop to be closed on; absolute numbers
//! mean nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use trimtab_policy::knob::{Knob, KnobValue, PriorityDomain};
use trimtab_policy::sample::{
    BlockSample, CpuTimes, GuestMeta, GuestSample, GuestState, HostSample, Sample, ThreadRole, ThreadSample,
};
use trimtab_policy::topology::{CpuSet, Topology};
use trimtab_policy::units::{GuestId, MonoNs, UnixMs};

/// Stages of one request of the writer and its device time, in nanoseconds; some 590 KiB, so 146 MB/s alone.
const STAGES: [(ThreadRole, u64); 3] =
    [(ThreadRole::Vcpu(0), 1_500_000), (ThreadRole::Iothread(1), 500_000), (ThreadRole::Emulator, 1_500_000)];
const DEVICE_NS: u64 = 600_000;
const REQUEST_BYTES: u64 = 600_000;

/// What a guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Idle,
    Burner,
    Writer,
}

struct Thread {
    role: ThreadRole,
    tid: i32,
    cpu: u32,
    /// Work left; `None` sleeps.
    work_ns: Option<u64>,
    vruntime: f64,
    slice_ns: u64,
    run_ns: u64,
    wait_ns: u64,
    slices: u64,
}

pub(crate) struct Guest {
    pub(crate) name: String,
    pub(crate) pid: i32,
    pub(crate) meta: Arc<GuestMeta>,
    pub(crate) load: Load,
    pub(crate) vcpus: u32,
    pub(crate) knobs: BTreeMap<Knob, KnobValue>,
    pub(crate) state: GuestState,
    pub(crate) job_active: bool,
    pub(crate) unresponsive: bool,
    /// What the kernel makes of its weight beyond what the knobs say: its group shares do not always follow pins.
    pub(crate) luck: f64,
    /// CPU time that a request of the writer takes, relative to `STAGES`, and time of its device, relative to `DEVICE_NS`.
    pub(crate) cost: f64,
    pub(crate) device: f64,
    threads: Vec<Thread>,
    device_until: Option<u64>,
    pub(crate) bytes: u64,
    requests: u64,
}

impl Guest {
    pub(crate) fn cpu_ns(&self) -> u64 {
        self.threads.iter().map(|t| t.run_ns).sum()
    }
}

pub(crate) struct Host {
    pub(crate) topology: Arc<Topology>,
    pub(crate) domain: PriorityDomain,
    pub(crate) guests: BTreeMap<GuestId, Guest>,
    pub(crate) now_ns: u64,
    wall_ms: i64,
    busy_ns: BTreeMap<u32, u64>,
    current: BTreeMap<u32, (GuestId, usize)>,
    next_tid: i32,
    seed: u64,
    /// Length of a step of the scheduler: physics that is asked for figures needs a fine one.
    pub(crate) step_ns: u64,
    /// Whether the balancer leaves threads where they are, unless they may not be there: it misses what it should see.
    pub(crate) blind: bool,
    /// Relative size of the noise on device times.
    pub(crate) noise: f64,
}

pub(crate) fn guest_id(name: &str) -> GuestId {
    let mut bytes = [0u8; 16];
    for (b, c) in bytes.iter_mut().zip(name.bytes()) {
        *b = c;
    }
    GuestId(bytes)
}

impl Host {
    pub(crate) fn new(cpus: u32, domain: PriorityDomain, seed: u64) -> Self {
        Self {
            topology: Arc::new(Topology::flat(cpus)),
            domain,
            guests: BTreeMap::new(),
            now_ns: 1_000_000_000,
            wall_ms: 1_700_000_000_000,
            busy_ns: BTreeMap::new(),
            current: BTreeMap::new(),
            next_tid: 100,
            seed: seed.wrapping_mul(2) + 1,
            step_ns: 250_000,
            blind: false,
            noise: 0.2,
        }
    }

    pub(crate) fn start(&mut self, name: &str, load: Load, vcpus: u32, meta: GuestMeta) -> GuestId {
        let id = guest_id(name);
        self.stop(id);
        let pid = self.next_tid;
        let mut roles: Vec<ThreadRole> = vec![ThreadRole::Emulator];
        roles.extend((0..vcpus).map(ThreadRole::Vcpu));
        roles.push(ThreadRole::Iothread(1));
        let all = KnobValue::Cpus(self.topology.cpu_set());
        let mut knobs: BTreeMap<Knob, KnobValue> =
            (0..vcpus).map(|n| (Knob::VcpuAffinity(n), all.clone())).collect();
        knobs.insert(Knob::EmulatorAffinity, all.clone());
        knobs.insert(Knob::IothreadAffinity(1), all);
        match self.domain {
            PriorityDomain::CgroupV1 => knobs.insert(Knob::CpuShares, KnobValue::Shares(1024)),
            PriorityDomain::CgroupV2 => knobs.insert(Knob::CpuShares, KnobValue::Shares(100)),
            PriorityDomain::Nice => knobs.insert(Knob::CpuNice, KnobValue::Nice(0)),
            PriorityDomain::None => None,
        };
        let threads = roles
            .into_iter()
            .map(|role| {
                self.next_tid += 1;
                Thread {
                    role,
                    tid: self.next_tid,
                    cpu: self.topology.cpus[self.next_tid as usize % self.topology.cpus.len()].cpu,
                    work_ns: None,
                    vruntime: 0.0,
                    slice_ns: 0,
                    run_ns: 0,
                    wait_ns: 0,
                    slices: 0,
                }
            })
            .collect();
        let guest = Guest {
            name: name.to_owned(),
            pid,
            meta: Arc::new(meta),
            load: Load::Idle,
            vcpus,
            knobs,
            state: GuestState::Running,
            job_active: false,
            unresponsive: false,
            luck: 1.0,
            cost: 1.0,
            device: 1.0,
            threads,
            device_until: None,
            bytes: 0,
            requests: 0,
        };
        self.guests.insert(id, guest);
        self.set_load(id, load);
        id
    }

    pub(crate) fn stop(&mut self, id: GuestId) {
        self.guests.remove(&id);
        self.current.retain(|_, (g, _)| *g != id);
    }

    pub(crate) fn set_load(&mut self, id: GuestId, load: Load) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        guest.load = load;
        guest.device_until = None;
        for thread in &mut guest.threads {
            thread.work_ns = match (load, thread.role) {
                (Load::Burner, ThreadRole::Vcpu(_)) => Some(u64::MAX),
                (Load::Writer, ThreadRole::Vcpu(0)) => Some(STAGES[0].1),
                _ => None,
            };
        }
    }

    fn random(&mut self) -> f64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) as f64 / (1u64 << 53) as f64
    }

    fn allowed(&self, id: GuestId, role: ThreadRole) -> CpuSet {
        let knob = match role {
            ThreadRole::Vcpu(n) => Knob::VcpuAffinity(n),
            ThreadRole::Iothread(n) => Knob::IothreadAffinity(n),
            ThreadRole::Emulator | ThreadRole::Vhost => Knob::EmulatorAffinity,
        };
        let usable = self.topology.cpu_set();
        match self.guests[&id].knobs.get(&knob) {
            Some(KnobValue::Cpus(set)) if !set.and(&usable).is_empty() => set.and(&usable),
            _ => usable,
        }
    }

    /// Weight of one runnable thread: groups share by guest, without groups every thread stands for itself.
    fn thread_weight(&self, id: GuestId) -> f64 {
        let guest = &self.guests[&id];
        let runnable = guest.threads.iter().filter(|t| t.work_ns.is_some()).count().max(1) as f64;
        let told = match (guest.knobs.get(&Knob::CpuShares), guest.knobs.get(&Knob::CpuNice)) {
            (Some(KnobValue::Shares(s)), _) if self.domain == PriorityDomain::CgroupV2 => {
                *s as f64 / 100.0 / runnable
            }
            (Some(KnobValue::Shares(s)), _) => *s as f64 / 1024.0 / runnable,
            (_, Some(KnobValue::Nice(n))) => 1.25f64.powi(-n),
            _ => 1.0,
        };
        told * guest.luck
    }

    pub(crate) fn run_ms(&mut self, ms: u64) {
        let end = self.now_ns + ms * 1_000_000;
        let mut step = 0u64;
        while self.now_ns < end {
            self.finish_devices();
            if step.is_multiple_of(16) {
                self.balance(step.is_multiple_of(128));
            }
            self.step();
            self.now_ns += self.step_ns;
            step += 1;
        }
        self.wall_ms += ms as i64;
    }

    fn finish_devices(&mut self) {
        let due: Vec<GuestId> = self
            .guests
            .iter()
            .filter(|(_, g)| g.device_until.is_some_and(|t| t <= self.now_ns))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let guest = self.guests.get_mut(&id).unwrap();
            guest.device_until = None;
            guest.bytes += REQUEST_BYTES;
            guest.requests += 1;
            self.wake(id, STAGES[0].0, STAGES[0].1);
        }
    }

    fn queue(&self, cpu: u32) -> Vec<(GuestId, usize)> {
        let mut queue = Vec::new();
        for (&id, g) in &self.guests {
            for (i, t) in g.threads.iter().enumerate() {
                if t.cpu == cpu && t.work_ns.is_some() {
                    queue.push((id, i));
                }
            }
        }
        queue
    }

    fn vruntime(&self, (id, i): (GuestId, usize)) -> f64 {
        self.guests[&id].threads[i].vruntime
    }

    fn base(&self, cpu: u32) -> f64 {
        let least = self.queue(cpu).into_iter().map(|t| self.vruntime(t)).fold(f64::INFINITY, f64::min);
        if least.is_finite() { least } else { 0.0 }
    }

    fn wake(&mut self, id: GuestId, role: ThreadRole, work_ns: u64) {
        let allowed = self.allowed(id, role);
        let i = self.guests[&id].threads.iter().position(|t| t.role == role).unwrap();
        let was = self.guests[&id].threads[i].cpu;
        let idle = allowed.iter().find(|&c| self.queue(c).is_empty());
        let cpu = idle.unwrap_or(if allowed.contains(was) { was } else { allowed.iter().next().unwrap() });
        let base = self.base(cpu);
        let guest = self.guests.get_mut(&id).unwrap();
        let t = &mut guest.threads[i];
        t.cpu = cpu;
        t.work_ns = Some((work_ns as f64 * guest.cost) as u64);
        t.vruntime = t.vruntime.max(base - 0.5e6).min(base + 1e6);
        t.slice_ns = 0;
        if let Some(&(g, j)) = self.current.get(&cpu) {
            let running = self.vruntime((g, j));
            if running - self.vruntime((id, i)) > 2.5e6 {
                self.current.remove(&cpu);
            }
        }
    }

    fn balance(&mut self, thorough: bool) {
        for cpu in self.topology.cpus.iter().map(|c| c.cpu).collect::<Vec<_>>() {
            // Threads found where they may not be are moved at once, as the kernel does on an affinity change.
            for (id, i) in self.queue(cpu) {
                let allowed = self.allowed(id, self.guests[&id].threads[i].role);
                if !allowed.contains(cpu) {
                    self.migrate(id, i, allowed.iter().min_by_key(|&c| self.queue(c).len()).unwrap());
                }
            }
        }
        if self.blind {
            return;
        }
        let load = |h: &Self, cpu: u32| h.queue(cpu).iter().map(|&(g, _)| h.thread_weight(g)).sum::<f64>();
        let cpus: Vec<u32> = self.topology.cpus.iter().map(|c| c.cpu).collect();
        for &to in &cpus {
            let mine = load(self, to);
            if mine > 0.0 && !thorough {
                continue;
            }
            let from = *cpus.iter().max_by(|a, b| load(self, **a).total_cmp(&load(self, **b))).unwrap();
            let theirs = load(self, from);
            let mut movable = self.queue(from).into_iter().filter(|&(g, i)| {
                let t = (g, i);
                let allowed = self.allowed(g, self.guests[&g].threads[i].role).contains(to);
                let w = self.thread_weight(g);
                let better = (theirs - w).max(mine + w) < theirs - 1e-9;
                allowed && better && self.current.get(&from) != Some(&t)
            });
            if let Some((g, i)) = movable.next_back() {
                self.migrate(g, i, to);
            }
        }
    }

    /// Puts every thread on one CPU, where a blind balancer leaves it.
    pub(crate) fn crowd(&mut self, cpu: u32) {
        self.blind = true;
        self.current.clear();
        self.guests.values_mut().flat_map(|g| &mut g.threads).for_each(|t| t.cpu = cpu);
    }

    fn migrate(&mut self, id: GuestId, i: usize, to: u32) {
        let from = self.guests[&id].threads[i].cpu;
        let shift = self.base(to) - self.base(from);
        self.current.retain(|_, t| *t != (id, i));
        let t = &mut self.guests.get_mut(&id).unwrap().threads[i];
        t.vruntime += shift;
        t.cpu = to;
    }

    fn step(&mut self) {
        let step_ns = self.step_ns;
        for cpu in self.topology.cpus.iter().map(|c| c.cpu).collect::<Vec<_>>() {
            let queue = self.queue(cpu);
            let Some(&next) = queue.iter().min_by(|a, b| self.vruntime(**a).total_cmp(&self.vruntime(**b)))
            else {
                self.current.remove(&cpu);
                continue;
            };
            let keep = self.current.get(&cpu).copied().filter(|&(id, i)| {
                let t = &self.guests[&id].threads[i];
                t.cpu == cpu && t.work_ns.is_some() && (t.slice_ns < 3_000_000 || next == (id, i))
            });
            let now = keep.unwrap_or(next);
            if self.current.insert(cpu, now) != Some(now) {
                let t = &mut self.guests.get_mut(&now.0).unwrap().threads[now.1];
                t.slices += 1;
                t.slice_ns = 0;
            }
            for &(id, i) in queue.iter().filter(|&&t| t != now) {
                self.guests.get_mut(&id).unwrap().threads[i].wait_ns += step_ns;
            }
            *self.busy_ns.entry(cpu).or_default() += step_ns;
            let weight = self.thread_weight(now.0);
            let t = &mut self.guests.get_mut(&now.0).unwrap().threads[now.1];
            t.run_ns += step_ns;
            t.slice_ns += step_ns;
            t.vruntime += step_ns as f64 / weight;
            let left =
                t.work_ns.unwrap().saturating_sub(if t.work_ns == Some(u64::MAX) { 0 } else { step_ns });
            t.work_ns = (left > 0).then_some(left);
            if left == 0 {
                let role = t.role;
                self.stage_done(now.0, role);
            }
        }
    }

    fn stage_done(&mut self, id: GuestId, role: ThreadRole) {
        match STAGES.iter().position(|(r, _)| *r == role) {
            Some(n) if n + 1 < STAGES.len() => self.wake(id, STAGES[n + 1].0, STAGES[n + 1].1),
            _ => {
                let noise = 1.0 + self.noise * (2.0 * self.random() - 1.0);
                let guest = self.guests.get_mut(&id).unwrap();
                let takes = DEVICE_NS as f64 * guest.device * noise;
                guest.device_until = Some(self.now_ns + takes as u64);
            }
        }
    }

    pub(crate) fn sample(&self, with_knobs: bool) -> Sample {
        let guests = self.guests.iter().map(|(&id, g)| {
            let threads = g.threads.iter().map(|t| ThreadSample {
                tid: t.tid,
                role: t.role,
                run_ns: Some(t.run_ns),
                wait_ns: Some(t.wait_ns),
                slices: Some(t.slices),
                blkio_ns: None,
                last_cpu: Some(t.cpu),
                read_bytes: None,
                write_bytes: None,
                perf: None,
            });
            let block = BlockSample {
                name: "vda".to_owned(),
                wr_reqs: Some(g.requests),
                wr_bytes: Some(g.bytes),
                rd_bytes: Some(0),
                rd_reqs: Some(0),
                ..BlockSample::default()
            };
            let sample = GuestSample {
                name: g.name.clone(),
                state: g.state,
                pid: Some(g.pid),
                meta: Arc::clone(&g.meta),
                vcpus: Some(g.vcpus),
                threads: threads.collect(),
                blocks: vec![block],
                stats_at: Some(MonoNs(self.now_ns)),
                job_active: g.job_active,
                unresponsive: g.unresponsive,
                knobs: (with_knobs && !g.unresponsive).then(|| g.knobs.clone()),
                ..GuestSample::default()
            };
            (id, sample)
        });
        let cpus = self.topology.cpus.iter().map(|c| {
            let user_ns = self.busy_ns.get(&c.cpu).copied().unwrap_or_default();
            (c.cpu, CpuTimes { user_ns, ..CpuTimes::default() })
        });
        Sample {
            at: MonoNs(self.now_ns),
            wall: UnixMs(self.wall_ms),
            host: HostSample {
                topology: Arc::clone(&self.topology),
                priority: self.domain,
                cpus: cpus.collect(),
                ..HostSample::default()
            },
            guests: guests.collect(),
        }
    }
}
