//! The sensors on hosts made of files: what this machine does not have.

use super::fake_host::FakeHost;
use crate::sensors::{Sensors, SensorsConfig};
use trimtab_policy::knob::PriorityDomain;
use trimtab_policy::sample::{HostSample, Psi, PsiSet, ThreadRole, ThreadSample};

const PSI: &str =
    "some avg10=0.00 avg60=0.00 avg300=0.00 total=11\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
const SCOPE: &str = "/machine.slice/machine-qemu\\x2d1\\x2dw.scope";

fn tick(sensors: &mut Sensors, pid: i32) -> Vec<ThreadSample> {
    sensors.host();
    sensors.guest(pid).unwrap()
}

/// A guest with main thread 100, vCPU 101, pool worker 102.
fn guest() -> FakeHost {
    let host = FakeHost::with_topology("xeon-2s-smt");
    host.thread(100, 100, "qemu-system-x86", 1000);
    host.thread(100, 101, "CPU 0/KVM", 2000);
    host.thread(100, 102, "worker", 3000);
    host
}

fn roles(threads: &[ThreadSample]) -> Vec<(i32, ThreadRole)> {
    threads.iter().map(|thread| (thread.tid, thread.role)).collect()
}

#[test]
fn no_proc_is_an_error_that_names_it() {
    let config = SensorsConfig { proc_root: "/nonexistent/proc".into(), ..SensorsConfig::default() };
    let error = Sensors::new(config).unwrap_err();
    assert_eq!(error.to_string(), "cannot open /nonexistent/proc");
}

#[test]
fn an_empty_proc_is_all_absent() {
    let host = FakeHost::empty();
    let mut sensors = host.sensors();
    let seen = sensors.host();
    let HostSample { priority, cpus, psi, mem_total_kib, mem_available_kib, .. } = seen;
    assert_eq!((priority, psi), (PriorityDomain::None, PsiSet::default()));
    assert!(cpus.is_empty() && mem_total_kib.is_none() && mem_available_kib.is_none());
    assert_eq!(sensors.guest(1), None);
    assert_eq!(sensors.guest_psi(1), PsiSet::default());
    let status = sensors.status();
    assert!(status["schedstat"].starts_with("off: not in this kernel"));
    assert!(status["psi"].starts_with("off: "));
    assert!(status["host"].ends_with(" GiB"), "of the host that we really run on");
    assert_eq!(status["perf"], "off: by configuration");
}

#[test]
fn counters_are_those_of_the_files() {
    let host = guest();
    let threads = tick(&mut host.sensors(), 100);
    let vcpu = &threads[1];
    assert_eq!((vcpu.run_ns, vcpu.wait_ns, vcpu.slices), (Some(2000), Some(7), Some(2)));
    assert_eq!(vcpu.last_cpu, Some(39));
    assert_eq!(vcpu.blkio_ns, None, "delay accounting is off");
    assert_eq!((vcpu.read_bytes, vcpu.perf), (None, None));
}

#[test]
fn block_delays_where_they_are_accounted() {
    let cases = [
        (Some("1\n"), "6.1.0-13-amd64\n", "ro\n", true),
        (Some("0\n"), "4.18.0\n", "ro\n", false),
        (None, "4.18.0-513.el8\n", "ro quiet\n", true),
        (None, "5.13.19\n", "ro nodelayacct\n", false),
        (None, "5.14.0\n", "ro\n", false),
        (None, "strange\n", "ro\n", false),
    ];
    for (switch, release, cmdline, expected) in cases {
        let host = guest();
        if let Some(switch) = switch {
            host.put("proc/sys/kernel/task_delayacct", switch);
        }
        host.put("proc/sys/kernel/osrelease", release);
        host.put("proc/cmdline", cmdline);
        let threads = tick(&mut host.sensors(), 100);
        let hz = rustix::param::clock_ticks_per_second();
        let blkio_ns = expected.then_some(42 * 1_000_000_000 / hz);
        assert_eq!(threads[0].blkio_ns, blkio_ns, "{switch:?} {release:?} {cmdline:?}");
    }
}

#[test]
fn without_schedstat_run_time_comes_from_stat() {
    let host = guest();
    host.put("proc/self/schedstat", "0 0 0\n");
    let threads = tick(&mut host.sensors(), 100);
    let hz = rustix::param::clock_ticks_per_second();
    assert_eq!(threads[1].run_ns, Some((14 + 15) * 1_000_000_000 / hz));
    assert_eq!((threads[1].wait_ns, threads[1].slices), (None, None));
}

#[test]
fn stat_is_read_in_turn_and_only_after_running() {
    let host = guest();
    let mut sensors = host.sensors();
    let last_cpu = |threads: &[ThreadSample]| threads[1].last_cpu;
    assert_eq!(last_cpu(&tick(&mut sensors, 100)), Some(39));
    let moved = |cpu: &str| {
        let stat = std::fs::read_to_string(host.root().join("proc/100/task/101/stat")).unwrap();
        host.put("proc/100/task/101/stat", &stat.replace(" 39 ", cpu));
    };
    moved(" 3 ");
    for _ in 0..20 {
        assert_eq!(last_cpu(&tick(&mut sensors, 100)), Some(39), "not scheduled since: cannot have moved");
    }
    host.put("proc/100/task/101/schedstat", "5000 7 5\n");
    let seen: Vec<_> = (0..30).map(|_| last_cpu(&tick(&mut sensors, 100))).collect();
    assert_eq!(seen[29], Some(3), "within stat_ticks: {seen:?}");
}

#[test]
fn a_thread_named_late_is_recognised() {
    let host = guest();
    host.thread(100, 103, "qemu-system-x86", 0);
    let mut sensors = host.sensors();
    assert_eq!(tick(&mut sensors, 100)[3].role, ThreadRole::Emulator);
    host.put("proc/100/task/103/comm", "CPU 1/KVM\n");
    tick(&mut sensors, 100);
    assert_eq!(tick(&mut sensors, 100)[3].role, ThreadRole::Vcpu(1));
}

#[test]
fn a_replaced_thread_is_noticed() {
    let host = guest();
    let mut sensors = host.sensors();
    tick(&mut sensors, 100);
    host.end_thread(100, 102);
    host.thread(100, 110, "worker", 1);
    // The files of 102 were deleted but are open: unlike in /proc, reading them still works. The scan tells.
    let found = (0..20).any(|_| roles(&tick(&mut sensors, 100)).contains(&(110, ThreadRole::Emulator)));
    assert!(found);
    let threads = tick(&mut sensors, 100);
    assert!(threads.iter().all(|thread| thread.tid != 102));
    for tid in [100, 101, 110] {
        host.end_thread(100, tid);
    }
    sensors.host();
    assert_eq!(sensors.guest(100), None);
}

#[test]
fn workers_belong_to_the_iothread_whose_group_they_inherited() {
    let host = guest();
    host.put("proc/100/task/102/cgroup", &format!("0::{SCOPE}/libvirt/iothread2\n"));
    let threads = tick(&mut host.sensors(), 100);
    assert_eq!(threads[2].role, ThreadRole::Iothread(2));
}

#[test]
fn unnamed_threads_are_known_by_their_groups() {
    let host = FakeHost::with_topology("vm-1cpu");
    for (tid, leaf) in [(100, "emulator"), (101, "vcpu0"), (102, "vcpu1"), (103, "iothread1")] {
        host.thread(100, tid, "qemu-kvm", 1000);
        host.put(
            &format!("proc/100/task/{tid}/cgroup"),
            &format!("3:cpuset:/machine/w.libvirt-qemu/{leaf}\n0::/\n"),
        );
    }
    let threads = tick(&mut host.sensors(), 100);
    let expected = [
        (100, ThreadRole::Emulator),
        (101, ThreadRole::Vcpu(0)),
        (102, ThreadRole::Vcpu(1)),
        (103, ThreadRole::Iothread(1)),
    ];
    assert_eq!(roles(&threads), expected);
}

#[test]
fn vhost_workers_inside_and_outside_of_the_process() {
    for with_children in [true, false] {
        let host = guest();
        host.thread(100, 104, "vhost-100", 10);
        host.counters("proc/2", "kthreadd", 1);
        host.counters("proc/50", "vhost-101", 20);
        host.counters("proc/51", "kworker/0:1", 30);
        host.counters("proc/52", "vhost-9999", 40);
        if with_children {
            host.put("proc/2/task/2/children", "50 51 52 ");
        }
        let mut sensors = host.sensors();
        tick(&mut sensors, 100);
        let threads = tick(&mut sensors, 100);
        let vhost: Vec<i32> = threads
            .iter()
            .filter(|thread| thread.role == ThreadRole::Vhost)
            .map(|thread| thread.tid)
            .collect();
        assert_eq!(vhost, [50, 104]);
        assert_eq!(threads[0].run_ns, Some(20), "in ascending order of id, with its own counters");
    }
    let host = guest();
    host.counters("proc/2", "bash", 1);
    host.counters("proc/50", "vhost-101", 20);
    let mut sensors = host.sensors();
    tick(&mut sensors, 100);
    assert_eq!(tick(&mut sensors, 100).len(), 3, "a pid namespace: process 2 is not kthreadd");
}

#[test]
fn few_descriptors_are_spent_on_what_is_read_most() {
    let host = guest();
    for (descriptors, kept) in [(0, 0), (2, 1), (3, 2), (5, 3), (1000, 3)] {
        let mut sensors =
            Sensors::new(SensorsConfig { descriptors: Some(descriptors), ..host.config() }).unwrap();
        for _ in 0..3 {
            assert_eq!(tick(&mut sensors, 100).len(), 3);
        }
        let expected = if kept == 3 {
            format!("kept open, at most {descriptors}")
        } else {
            format!("{} threads opened for each read: more than {descriptors} files needed", 3 - kept)
        };
        assert_eq!(sensors.status()["files"], expected);
    }
}

#[test]
fn v2_pressure_is_that_of_the_machine_group() {
    let host = guest();
    host.put("cgroup/cgroup.controllers", "cpuset cpu io memory\n");
    host.put("proc/100/cgroup", &format!("0::{SCOPE}/libvirt/emulator\n"));
    for resource in ["cpu", "io"] {
        host.put(&format!("cgroup{SCOPE}/{resource}.pressure"), PSI);
    }
    host.put(&format!("cgroup{SCOPE}/libvirt/emulator/memory.pressure"), PSI);
    let mut sensors = host.sensors();
    assert_eq!(sensors.guest_psi(100), PsiSet::default(), "not asked for yet");
    tick(&mut sensors, 100);
    let psi = Some(Psi { some_us: 11, full_us: Some(5) });
    assert_eq!(sensors.guest_psi(100), PsiSet { cpu: psi, io: psi, memory: None });
    assert_eq!(sensors.host().priority, PriorityDomain::CgroupV2);
}

#[test]
fn on_a_hybrid_host_only_the_guests_own_groups_count() {
    let host = guest();
    host.put("cgroup/cpuset/cpuset.cpus", "0-15\n");
    host.put("cgroup/cpu,cpuacct/cpu.shares", "1024\n");
    host.put("cgroup/unified/cgroup.controllers", "");
    let group = "/tb-1/machine/qemu-1-w.libvirt-qemu";
    host.put("proc/100/cgroup", &format!("3:cpuset:{group}/emulator\n1:cpu:{group}/emulator\n0::/tb-1\n"));
    host.put("cgroup/unified/tb-1/cpu.pressure", PSI);
    let mut sensors = host.sensors();
    tick(&mut sensors, 100);
    assert_eq!(sensors.guest_psi(100), PsiSet::default(), "the group in the unified tree is shared");
    assert_eq!(sensors.host().priority, PriorityDomain::CgroupV1);
}

#[test]
fn session_guests_have_no_group_of_their_own() {
    let host = guest();
    host.put("cgroup/cgroup.controllers", "memory pids\n");
    let group = "/user.slice/user-1000.slice/user@1000.service/app.slice/term.scope";
    host.put("proc/100/cgroup", &format!("0::{group}\n"));
    host.put(&format!("cgroup{group}/cpu.pressure"), PSI);
    let mut sensors = host.sensors();
    tick(&mut sensors, 100);
    assert_eq!(sensors.guest_psi(100), PsiSet::default());
    assert_eq!(sensors.host().priority, PriorityDomain::None, "the cpu controller is not there");
    let config = SensorsConfig { priority: Some(PriorityDomain::Nice), ..host.config() };
    assert_eq!(Sensors::new(config).unwrap().host().priority, PriorityDomain::Nice);
}

#[test]
fn a_path_out_of_sight_is_no_group() {
    let host = guest();
    host.put("cgroup/cgroup.controllers", "cpu\n");
    host.put("proc/100/cgroup", "0::/../machine-qemu\\x2d1.scope\n");
    host.put("machine-qemu\\x2d1.scope/cpu.pressure", PSI);
    let mut sensors = host.sensors();
    tick(&mut sensors, 100);
    assert_eq!(sensors.guest_psi(100), PsiSet::default());
}

#[test]
fn host_pressure_and_a_long_stat() {
    let host = FakeHost::with_topology("vm-1cpu");
    let cpus: String = (0..500).map(|cpu| format!("cpu{cpu} 1 2 3 4 5 6 7 8 9 10\n")).collect();
    host.put("proc/stat", &format!("cpu  1 2 3 4 5 6 7 8 9 10\n{cpus}intr 5\n"));
    host.put("proc/meminfo", "MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable: 50 kB\n");
    host.put("proc/pressure/cpu", PSI);
    host.put("proc/pressure/memory", PSI);
    let seen = host.sensors().host();
    assert_eq!(seen.cpus.len(), 500);
    assert_eq!(
        seen.psi.cpu,
        Some(Psi { some_us: 11, full_us: None }),
        "full of cpu means nothing system-wide"
    );
    assert_eq!(seen.psi.memory, Some(Psi { some_us: 11, full_us: Some(5) }));
    assert_eq!(seen.psi.io, None);
    assert_eq!((seen.mem_total_kib, seen.mem_available_kib), (Some(100), Some(50)));
}

#[test]
fn guests_not_asked_for_are_forgotten() {
    let host = guest();
    let mut sensors = host.sensors();
    tick(&mut sensors, 100);
    assert_eq!(sensors.guests.len(), 1);
    for _ in 0..5 {
        sensors.host();
    }
    assert_eq!(sensors.guests.len(), 0);
}
