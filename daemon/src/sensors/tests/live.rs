//! The sensors on this machine's own kernel.

use super::skipped;
use super::stand_in::StandIn;
use crate::sensors::{Sensors, SensorsConfig};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use trimtab_policy::sample::{PsiSet, ThreadRole, ThreadSample};

fn sensors(descriptors: Option<usize>) -> Sensors {
    Sensors::new(SensorsConfig { descriptors, ..SensorsConfig::default() }).unwrap()
}

fn tick(sensors: &mut Sensors, pid: i32) -> Option<Vec<ThreadSample>> {
    sensors.host();
    sensors.guest(pid)
}

fn count(threads: &[ThreadSample], role: ThreadRole) -> usize {
    threads.iter().filter(|thread| thread.role == role).count()
}

fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}

#[test]
fn roles_of_a_stand_in_guest() {
    let guest = StandIn::start();
    let mut sensors = sensors(None);
    let threads = tick(&mut sensors, guest.pid()).unwrap();
    assert_eq!(count(&threads, ThreadRole::Vcpu(0)), 1);
    assert_eq!(count(&threads, ThreadRole::Vcpu(1)), 1);
    assert_eq!(count(&threads, ThreadRole::Iothread(1)), 1);
    let main = threads.iter().find(|thread| thread.tid == guest.pid()).unwrap();
    assert_eq!(main.role, ThreadRole::Emulator);
    assert!(threads.is_sorted_by_key(|thread| thread.tid));
    assert!(threads.iter().all(|thread| thread.last_cpu.is_some()));
    assert!(threads.iter().all(|thread| thread.read_bytes.is_none()));
}

/// The same in both ways of reading: from kept files, and with no descriptor to keep any.
#[test]
fn counters_grow_and_never_fall() {
    for descriptors in [None, Some(0)] {
        let mut guest = StandIn::start();
        let mut sensors = sensors(descriptors);
        guest.tell("spin");
        let mut last: Option<Vec<ThreadSample>> = None;
        for _ in 0..5 {
            pause();
            let now = tick(&mut sensors, guest.pid()).unwrap();
            if let Some(last) = &last {
                for (a, b) in last.iter().zip(&now) {
                    assert_eq!(a.tid, b.tid);
                    assert!(a.run_ns <= b.run_ns && a.wait_ns <= b.wait_ns && a.slices <= b.slices);
                }
                let run = |threads: &[ThreadSample], role| {
                    threads.iter().find(|thread| thread.role == role).unwrap().run_ns.unwrap()
                };
                let spun = run(&now, ThreadRole::Vcpu(0)) - run(last, ThreadRole::Vcpu(0));
                let slept = run(&now, ThreadRole::Vcpu(1)) - run(last, ThreadRole::Vcpu(1));
                assert!(spun > 1_000_000, "a spinning thread ran {spun} ns in 100 ms");
                assert_eq!(slept, 0, "a sleeping thread ran");
            }
            last = Some(now);
        }
        let files = &sensors.status()["files"];
        assert_eq!(files.contains("opened for each read"), descriptors.is_some(), "{files}");
    }
}

#[test]
fn workers_come_and_go() {
    let mut guest = StandIn::start();
    let mut sensors = sensors(None);
    let before = tick(&mut sensors, guest.pid()).unwrap();
    guest.tell("worker");
    guest.tell("worker");
    let with = tick(&mut sensors, guest.pid()).unwrap();
    assert_eq!(with.len(), before.len() + 2);
    guest.tell("end");
    assert_eq!(tick(&mut sensors, guest.pid()).unwrap().len(), before.len());
    // As many as before, but another one: only the failing read tells.
    guest.tell("worker");
    let one = tick(&mut sensors, guest.pid()).unwrap();
    guest.tell("end");
    guest.tell("worker");
    tick(&mut sensors, guest.pid()).unwrap();
    let other = tick(&mut sensors, guest.pid()).unwrap();
    assert_eq!(one.len(), other.len());
    assert_ne!(one.last().unwrap().tid, other.last().unwrap().tid);
}

#[test]
fn an_ended_guest_is_absent() {
    let mut guest = StandIn::start();
    let mut sensors = sensors(None);
    assert!(tick(&mut sensors, guest.pid()).is_some());
    guest.kill();
    assert_eq!(tick(&mut sensors, guest.pid()), None);
    assert_eq!(tick(&mut sensors, guest.pid()), None);
    assert_eq!(sensors.guest(0), None);
    assert_eq!(sensors.guest(-1), None);
}

#[test]
fn thread_traffic_only_when_wanted() {
    let guest = StandIn::start();
    let mut sensors = sensors(None);
    tick(&mut sensors, guest.pid());
    sensors.want_thread_io(guest.pid(), true);
    assert!(tick(&mut sensors, guest.pid()).unwrap().iter().all(|thread| thread.read_bytes.is_some()));
    sensors.want_thread_io(guest.pid(), false);
    assert!(tick(&mut sensors, guest.pid()).unwrap().iter().all(|thread| thread.read_bytes.is_none()));
}

#[test]
fn this_host() {
    let mut sensors = sensors(None);
    let a = sensors.host();
    pause();
    let b = sensors.host();
    assert!(!b.topology.cpus.is_empty() && !b.topology.nodes.is_empty());
    assert!(std::sync::Arc::ptr_eq(&a.topology, &b.topology), "nothing changed: the same topology");
    assert!(b.topology.cpus.iter().all(|cpu| b.cpus.contains_key(&cpu.cpu)));
    let sum = |host: &trimtab_policy::sample::HostSample| {
        host.cpus.values().map(|t| t.user_ns + t.system_ns + t.idle_ns + t.iowait_ns).sum::<u64>()
    };
    assert!(sum(&b) > sum(&a));
    assert!(b.mem_available_kib.unwrap() < b.mem_total_kib.unwrap());
}

/// A v2 cgroup named as libvirt names a guest's, with one process in it; removed when dropped, after the process.
struct GuestGroup(PathBuf);

impl GuestGroup {
    /// `None` where this kernel has no v2 tree, or where we may not write to it.
    fn with(pid: i32) -> Option<Self> {
        let root = [Path::new("/sys/fs/cgroup"), Path::new("/sys/fs/cgroup/unified")]
            .into_iter()
            .find(|root| root.join("cgroup.controllers").exists())?;
        let dir = root.join(format!("trimtab-test-{pid}.libvirt-qemu"));
        fs::create_dir(&dir).ok()?;
        let group = Self(dir);
        fs::write(group.0.join("cgroup.procs"), pid.to_string()).ok()?;
        Some(group)
    }
}

impl Drop for GuestGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn pressure_of_a_real_group() {
    let mut guest = StandIn::start();
    let Some(group) = GuestGroup::with(guest.pid()) else {
        skipped("pressure_of_a_real_group", "no cgroup v2 tree that we may write to");
        return;
    };
    guest.tell("spin");
    let mut sensors = sensors(None);
    tick(&mut sensors, guest.pid());
    let PsiSet { cpu, io, memory } = sensors.guest_psi(guest.pid());
    assert_eq!(cpu.is_some(), group.0.join("cpu.pressure").exists());
    assert_eq!(io.is_some(), group.0.join("io.pressure").exists());
    assert_eq!(memory.is_some(), group.0.join("memory.pressure").exists());
    assert!(cpu.is_none_or(|cpu| cpu.full_us.is_some()), "within a group, full of cpu has a meaning");
    guest.kill();
}
