//! Every parser: documented text, and never a panic on any bytes.

use crate::sensors::cgroup::{cpu_list, machine_level};
use crate::sensors::parse::*;
use crate::sensors::perf::CpuModel;
use proptest::prelude::*;
use trimtab_policy::sample::{CpuTimes, Psi, ThreadRole};

#[test]
fn schedstat_is_three_numbers() {
    let seen = SchedStat { run_ns: 12, wait_ns: 345, slices: 6 };
    assert_eq!(sched_stat(b"12 345 6\n"), Some(seen));
    for bad in ["", "\n", "12 345\n", "12 345 6 7\n", "12  345 6", "-1 2 3", "99999999999999999999 1 1"] {
        assert_eq!(sched_stat(bad.as_bytes()), None, "{bad:?}");
    }
}

fn stat_line(comm: &str) -> String {
    let after: Vec<String> = (4..=52).map(|field| field.to_string()).collect();
    format!("77 ({comm}) S {}\n", after.join(" "))
}

#[test]
fn stat_counts_fields_from_the_last_parenthesis() {
    let seen = Stat { utime_ticks: 14, stime_ticks: 15, processor: Some(39), blkio_ticks: Some(42) };
    for comm in ["CPU 0/KVM", "odd ) (name", ")))", "", " ", "a) S 1 2 3"] {
        assert_eq!(stat(stat_line(comm).as_bytes()), Some(seen), "{comm:?}");
    }
    let line = stat_line("x");
    let cut = line.find(" 40").unwrap();
    assert_eq!(stat(&line.as_bytes()[..cut]), Some(Stat { blkio_ticks: None, ..seen }));
    assert_eq!(stat(b"77 (x) S 4 5"), None);
    assert_eq!(stat(b"77 x S 4 5"), None);
}

#[test]
fn io_takes_storage_bytes_only() {
    let text =
        b"rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 6\ncancelled_write_bytes: 7\n";
    assert_eq!(io(text), Io { read_bytes: Some(5), write_bytes: Some(6) });
    assert_eq!(io(b""), Io::default());
}

#[test]
fn roles_by_name() {
    use Role::{Known, Unknown, Worker};
    for (comm, role) in [
        ("CPU 0/KVM\n", Known(ThreadRole::Vcpu(0))),
        ("CPU 12/TCG\n", Known(ThreadRole::Vcpu(12))),
        ("ALL CPUs/TCG\n", Known(ThreadRole::Vcpu(0))),
        ("IO iothread3\n", Known(ThreadRole::Iothread(3))),
        ("IO mon_iothread\n", Unknown),
        ("vhost-4711\n", Known(ThreadRole::Vhost)),
        ("vhost-\n", Unknown),
        ("worker\n", Worker),
        ("qemu-system-x86\n", Unknown),
        ("CPU 0\n", Unknown),
        ("CPU x/KVM\n", Unknown),
        ("CPU 99999999999/K\n", Unknown),
        ("", Unknown),
    ] {
        assert_eq!(comm_role(comm.as_bytes()), role, "{comm:?}");
    }
}

#[test]
fn roles_by_group() {
    let v1 = |leaf: &str| {
        format!(
            "4:memory:/machine/qemu-1-w.libvirt-qemu\n3:cpuset:/machine/qemu-1-w.libvirt-qemu/{leaf}\n0::/\n"
        )
    };
    let v2 = |leaf: &str| format!("0::/machine.slice/machine-qemu\\x2d1\\x2dw.scope/libvirt/{leaf}\n");
    for (leaf, role) in [
        ("vcpu0", Some(ThreadRole::Vcpu(0))),
        ("vcpu31", Some(ThreadRole::Vcpu(31))),
        ("iothread2", Some(ThreadRole::Iothread(2))),
        ("emulator", Some(ThreadRole::Emulator)),
        ("vcpux", None),
        ("", None),
    ] {
        assert_eq!(group_role(v1(leaf).as_bytes()), role);
        assert_eq!(group_role(v2(leaf).as_bytes()), role);
    }
}

const PROC_STAT: &[u8] =
    b"cpu  30 3 6 160 9 0 3 1 0 0\ncpu0 10 1 2 80 4 0 2 1 0 0\ncpu3 20 2 4 80 5 1 1 0 7 7\nintr 1 2 3\n";

#[test]
fn stat_of_the_host() {
    let mut cpus = Vec::new();
    assert!(host_stat(PROC_STAT, 10, |cpu, times| cpus.push((cpu, times))));
    let cpu3 = CpuTimes { user_ns: 220, system_ns: 40, idle_ns: 800, iowait_ns: 50, irq_ns: 20, steal_ns: 0 };
    assert_eq!(cpus.len(), 2);
    assert_eq!(cpus[1], (3, cpu3));
    assert!(!host_stat(&PROC_STAT[..60], 10, |_, _| {}), "cut off in the CPU lines");
    assert!(!host_stat(b"cpu0 1 1 1 1 1 1 1 1\n", 10, |_, _| {}));
}

#[test]
fn memory() {
    let host =
        mem_info(b"MemTotal:       24000 kB\nMemFree:  100 kB\nMemAvailable:   200 kB\nHugePages_Total: 4\n");
    assert_eq!(host, MemInfo { total_kib: Some(24000), free_kib: Some(100), available_kib: Some(200) });
    let node = mem_info(b"Node 1 MemTotal:       12000 kB\nNode 1 MemFree:        10 kB\n");
    assert_eq!(node, MemInfo { total_kib: Some(12000), free_kib: Some(10), available_kib: None });
    assert_eq!(mem_info(b"MemTotal: 5 MB\nMemTotal:\n"), MemInfo::default());
}

#[test]
fn pressure() {
    let both = b"some avg10=46.38 avg60=11.58 avg300=4.35 total=31185908\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
    assert_eq!(psi(both), Some(Psi { some_us: 31_185_908, full_us: Some(7) }));
    assert_eq!(psi(b"some avg10=0.00 total=5\n"), Some(Psi { some_us: 5, full_us: None }));
    assert_eq!(psi(b"full avg10=0.00 total=5\n"), None);
    assert_eq!(psi(b""), None);
}

#[test]
fn the_machine_level_group_of_a_path() {
    let scope = "/machine.slice/machine-qemu\\x2d1\\x2dw.scope";
    for (path, group) in [
        (format!("{scope}/libvirt/emulator"), Some(scope)),
        (scope.to_owned(), Some(scope)),
        ("/machine/qemu-1-w.libvirt-qemu/vcpu0".to_owned(), Some("/machine/qemu-1-w.libvirt-qemu")),
        ("/user.slice/user-1000.slice".to_owned(), None),
        ("/".to_owned(), None),
        (String::new(), None),
        (format!("/..{scope}"), None),
        ("/machine.slice/machine-lxc\\x2d1.scope".to_owned(), None),
    ] {
        assert_eq!(machine_level(&path), group, "{path}");
    }
}

/// All parsers on the same bytes.
fn feed(bytes: &[u8]) {
    sched_stat(bytes);
    stat(bytes);
    io(bytes);
    comm_role(bytes);
    vhost_owner(bytes);
    group_role(bytes);
    host_stat(bytes, u64::MAX, |_, _| {});
    mem_info(bytes);
    psi(bytes);
    cpu_list(bytes);
    let text = String::from_utf8_lossy(bytes);
    CpuModel::parse(&text);
    assert!(machine_level(&text).is_none_or(|group| text.starts_with(group)));
}

/// Real text, to be damaged.
fn seeds() -> Vec<Vec<u8>> {
    vec![
        b"12 345 6\n".to_vec(),
        stat_line("odd ) (name").into_bytes(),
        PROC_STAT.to_vec(),
        b"Node 1 MemTotal:       12000 kB\n".to_vec(),
        b"some avg10=0.00 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.00 total=7\n".to_vec(),
        b"3:cpuset:/machine/qemu-1-w.libvirt-qemu/vcpu0\n".to_vec(),
        b"CPU 0/KVM\n".to_vec(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        feed(&bytes);
    }

    #[test]
    fn damaged_text(seed in prop::sample::select(seeds()), at in any::<prop::sample::Index>(), with in "[ 0-9():/\n]{0,24}") {
        let mut bytes = seed;
        let at = at.index(bytes.len());
        bytes.splice(at..(at + with.len() / 2).min(bytes.len()), with.bytes());
        feed(&bytes);
        bytes.truncate(at);
        feed(&bytes);
    }

    #[test]
    fn schedstat_round_trip(run_ns: u64, wait_ns: u64, slices: u64) {
        let text = format!("{run_ns} {wait_ns} {slices}\n");
        prop_assert_eq!(sched_stat(text.as_bytes()), Some(SchedStat { run_ns, wait_ns, slices }));
    }

    #[test]
    fn stat_round_trip(comm in "[^\n]{0,15}", utime: u64, cpu: u32, blkio: u64) {
        let mut fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        fields[14 - 3] = utime.to_string();
        fields[39 - 3] = cpu.to_string();
        fields[42 - 3] = blkio.to_string();
        let text = format!("1 ({comm}) {}\n", fields.join(" "));
        let seen = Stat { utime_ticks: utime, stime_ticks: 15, processor: Some(cpu), blkio_ticks: Some(blkio) };
        prop_assert_eq!(stat(text.as_bytes()), Some(seen));
    }
}
