//! The host threads of one guest, found below `/proc/PID/task` and sampled from kept-open files.
//!
//! Approach: the directory `/proc/PID/task` stays open. Its link count is 2 + the number of threads, so one `fstat` a
//! tick tells whether threads came or went; a read that fails tells that a thread was replaced; and every so often the
//! directory is read in any case. `schedstat` is read at every tick. `stat` costs four times as much and is only read
//! where the thread was scheduled since (otherwise nothing in it can have changed), and, unless the kernel accounts
//! block I/O delays, only at every few ticks: it then tells no more than the CPU last run on.
//! May not: read a clock (ages are counted in ticks), decide anything, follow a pid to its next owner.

use super::Rules;
use super::files::{self, Budget, RelPath};
use super::parse::{self, Role};
use super::perf::PerfSensor;
use super::thread::Thread;
use rustix::fs::{Dir, OFlags, fstat};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use trimtab_policy::sample::{ThreadRole, ThreadSample};

/// Ticks after which the directory is read though nothing seems to have changed: a worker replaced by another within
/// a tick with both reads in between is noticed then.
const RESCAN_TICKS: u64 = 60;
/// Ages in ticks at which names are read again: threads are born with their parent's name and then name themselves.
const RENAME_AGES: [u64; 3] = [1, 3, 10];

/// One guest's threads.
#[derive(Debug)]
pub(super) struct GuestSensor {
    pid: i32,
    task: OwnedFd,
    threads: Vec<Thread>,
    /// As wide as this architecture's `stat` has it.
    links: libc::nlink_t,
    age: u64,
    scanned_at: u64,
    /// A thread failed since the last scan.
    lost: bool,
    /// Storage traffic per thread is wanted of this guest.
    with_io: bool,
}

impl GuestSensor {
    /// Opens `/proc/PID/task` and finds the threads.
    ///
    /// # Errors
    /// The system's error: no such process, or out of file descriptors.
    pub(super) fn open(proc_root: &Path, pid: i32) -> Result<Self, Errno> {
        let task = files::open(&proc_root.join(format!("{pid}/task")), OFlags::DIRECTORY)?;
        let links = fstat(&task)?.st_nlink;
        let mut guest = Self {
            pid,
            task,
            threads: Vec::new(),
            links,
            age: 0,
            scanned_at: 0,
            lost: false,
            with_io: false,
        };
        guest.scan()?;
        if guest.threads.is_empty() { Err(Errno::SRCH) } else { Ok(guest) }
    }

    /// One reading of all threads in ascending order of id; `None` once the process has ended. `proc_dir` is `/proc`.
    pub(super) fn sample(
        &mut self,
        proc_dir: BorrowedFd<'_>,
        rules: &Rules,
        perf: &mut PerfSensor,
        budget: &mut Budget,
    ) -> Option<Vec<ThreadSample>> {
        let links = fstat(&self.task).ok()?.st_nlink;
        // 2 means that the process has no thread left. Less is a file system that does not count: then always look.
        if links == 2 {
            return None;
        }
        let due = self.age - self.scanned_at >= RESCAN_TICKS || RENAME_AGES.contains(&self.age);
        if links < 2 || links != self.links || self.lost || due {
            self.scan().ok()?;
            self.links = links;
        }
        self.age += 1;
        let mut samples = Vec::with_capacity(self.threads.len());
        let task = self.task.as_fd();
        self.threads.retain_mut(|thread| {
            let dir = if thread.outside { proc_dir } else { task };
            let sample = thread.sample(dir, self.with_io, rules, perf, budget);
            self.lost |= sample.is_none();
            let lives = sample.is_some();
            samples.extend(sample);
            lives
        });
        (!samples.is_empty()).then_some(samples)
    }

    /// Asks for, or no longer for, the storage traffic of each thread.
    pub(super) fn set_with_io(&mut self, wanted: bool) {
        self.with_io = wanted;
    }

    /// Descriptors held.
    pub(super) fn descriptors(&self) -> usize {
        1 + self.threads.iter().map(Thread::descriptors).sum::<usize>()
    }

    /// Threads whose files are opened for each read for want of descriptors.
    pub(super) fn reopened(&self) -> usize {
        self.threads.iter().filter(|thread| thread.is_reopened()).count()
    }

    /// Whether `tid` is one of its threads (which a vhost worker names as its owner).
    pub(super) fn owns(&self, tid: i32) -> bool {
        tid == self.pid || self.position(tid).is_ok()
    }

    /// Takes a vhost worker that the kernel runs outside of the process; known ones are left as they are.
    pub(super) fn adopt_vhost(&mut self, tid: i32) {
        if let Err(at) = self.position(tid) {
            let mut thread = Thread::new(tid, ThreadRole::Vhost, true);
            thread.count_events();
            self.threads.insert(at, thread);
        }
    }

    fn position(&self, tid: i32) -> Result<usize, usize> {
        self.threads.binary_search_by_key(&tid, |thread| thread.tid)
    }

    /// Reads the directory: forgets threads that are gone, takes new ones, names the young ones again.
    fn scan(&mut self) -> Result<(), Errno> {
        let mut tids = Vec::with_capacity(self.threads.len() + 4);
        for entry in Dir::read_from(&self.task)? {
            let entry = entry?;
            let tid = parse::whole_number(entry.file_name().to_bytes());
            tids.extend(tid.and_then(|tid| i32::try_from(tid).ok()));
        }
        tids.sort_unstable();
        self.threads.retain(|thread| thread.outside || tids.binary_search(&thread.tid).is_ok());
        for tid in tids {
            let (at, role) = match self.position(tid) {
                // Only the main thread keeps a name that says nothing.
                Ok(at) if self.threads[at].role != ThreadRole::Emulator || tid == self.pid => continue,
                Ok(at) => (at, self.role(tid)),
                Err(at) => {
                    self.threads.insert(at, Thread::new(tid, ThreadRole::Emulator, false));
                    (at, self.role(tid))
                }
            };
            let thread = &mut self.threads[at];
            thread.role = role.0;
            if role.1 || tid == self.pid {
                thread.count_events();
            }
        }
        self.roles_from_groups();
        self.scanned_at = self.age;
        self.lost = false;
        Ok(())
    }

    /// The role by name, and whether the thread is one that stays. A pool worker's role is read from the cgroup that it
    /// inherited from the thread that it works for, because libvirt's pin of that IOThread moves the group as a whole.
    fn role(&self, tid: i32) -> (ThreadRole, bool) {
        let mut buf = [0; 64];
        let comm = files::read_once(&self.task, &RelPath::of(tid, "comm"), &mut buf).unwrap_or_default();
        match parse::comm_role(comm) {
            Role::Known(role) => (role, true),
            Role::Worker => (self.group_role(tid).unwrap_or(ThreadRole::Emulator), false),
            Role::Unknown => (ThreadRole::Emulator, false),
        }
    }

    /// Without `debug-threads=on` qemu names no thread: then libvirt's cgroups tell which one is what.
    fn roles_from_groups(&mut self) {
        if self.threads.iter().any(|thread| matches!(thread.role, ThreadRole::Vcpu(_))) {
            return;
        }
        for at in 0..self.threads.len() {
            let thread = &self.threads[at];
            if thread.role == ThreadRole::Emulator
                && !thread.outside
                && let Some(role) = self.group_role(thread.tid)
            {
                self.threads[at].role = role;
                if role != ThreadRole::Emulator {
                    self.threads[at].count_events();
                }
            }
        }
    }

    fn group_role(&self, tid: i32) -> Option<ThreadRole> {
        let mut buf = [0; 4096];
        files::read_once(&self.task, &RelPath::of(tid, "cgroup"), &mut buf).ok().and_then(parse::group_role)
    }
}
