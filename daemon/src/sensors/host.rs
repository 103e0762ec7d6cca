//! The host at one instant: CPU times, pressure, memory, from files that stay open.
//!
//! May not: look at guests, allocate per CPU more than the map it returns.

use super::files::HostFile;
use super::parse;
use std::collections::BTreeMap;
use std::path::Path;
use trimtab_policy::sample::{CpuTimes, Psi, PsiSet};

/// First size of the buffer for `/proc/stat`: about 100 CPUs. It grows where there are more.
const STAT_BUFFER: usize = 8 * 1024;
/// A host with more than this in its CPU lines is cut there: MAX_CPU lines of at most 200 bytes.
const STAT_BUFFER_MAX: usize = 2 * 1024 * 1024;

/// The kept files.
#[derive(Debug)]
pub(super) struct HostSensor {
    stat: HostFile,
    mem_info: HostFile,
    pressure: Pressure,
    buffer: Vec<u8>,
    tick_ns: u64,
}

impl HostSensor {
    /// Opens what there is below `proc_root`; `tick_ns` is one USER_HZ tick.
    pub(super) fn open(proc_root: &Path, tick_ns: u64) -> Self {
        Self {
            stat: HostFile::open(&proc_root.join("stat")),
            mem_info: HostFile::open(&proc_root.join("meminfo")),
            pressure: Pressure::open(&proc_root.join("pressure"), ""),
            buffer: vec![0; STAT_BUFFER],
            tick_ns,
        }
    }
    /// Times of every online CPU.
    pub(super) fn cpus(&mut self) -> BTreeMap<u32, CpuTimes> {
        loop {
            let mut cpus = BTreeMap::new();
            let Some(text) = self.stat.read(&mut self.buffer) else { return cpus };
            let read = text.len();
            let complete = parse::host_stat(text, self.tick_ns, |cpu, times| {
                cpus.insert(cpu, times);
            });
            let full = read == self.buffer.len() && self.buffer.len() < STAT_BUFFER_MAX;
            if complete || !full {
                return cpus;
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }
    /// MemTotal and MemAvailable.
    pub(super) fn memory(&mut self) -> parse::MemInfo {
        self.mem_info.read(&mut self.buffer).map(parse::mem_info).unwrap_or_default()
    }
    /// `/proc/pressure`. The `full` of cpu means nothing system-wide: newer kernels print 0 there for compatibility, so
    /// it is absent.
    pub(super) fn psi(&self) -> PsiSet {
        let set = self.pressure.read();
        PsiSet { cpu: set.cpu.map(|psi| Psi { full_us: None, ..psi }), ..set }
    }
    /// Descriptors held.
    pub(super) fn descriptors(&self) -> usize {
        self.stat.descriptors() + self.mem_info.descriptors() + self.pressure.descriptors()
    }
    /// Whether the kernel accounts pressure.
    pub(super) fn has_psi(&self) -> bool {
        self.psi() != PsiSet::default()
    }
}

/// The three pressure files of the host or of a cgroup, kept open.
#[derive(Debug)]
pub(super) struct Pressure {
    cpu: HostFile,
    io: HostFile,
    memory: HostFile,
}

impl Pressure {
    /// Opens `cpu`, `io` and `memory` in `dir`, each name followed by `suffix` (cgroups: `.pressure`).
    pub(super) fn open(dir: &Path, suffix: &str) -> Self {
        let file = |name: &str| HostFile::open(&dir.join(format!("{name}{suffix}")));
        Self { cpu: file("cpu"), io: file("io"), memory: file("memory") }
    }
    /// What they say now. Kernels booted with psi=0 have the files but refuse to read them.
    pub(super) fn read(&self) -> PsiSet {
        let read = |file: &HostFile| file.read(&mut [0; 256]).and_then(parse::psi);
        PsiSet { cpu: read(&self.cpu), io: read(&self.io), memory: read(&self.memory) }
    }
    /// Descriptors held.
    pub(super) fn descriptors(&self) -> usize {
        self.cpu.descriptors() + self.io.descriptors() + self.memory.descriptors()
    }
}
