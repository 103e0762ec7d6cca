//! Two hundred guests on one host: each a libvirt domain with a qemu of its own, whose CPU is halted from the first instruction
//! on, so that it costs next to nothing but attention; and one that works.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use trimtab_tests::testbed::{proc, wait_for};
use trimtab_tests::trimtab::{Start, Trimtab};
use trimtab_tests::{GuestSpec, Host, Options, live};

/// Halted guests.
const MANY: usize = 200;
/// Those of them that hang for a while, in order of name.
const HUNG: [&str; 3] = ["idle-199", "idle-3", "idle-77"];
const SOON: Duration = Duration::from_secs(120);
/// Between two questions to the daemon: an answer about all guests is work for it.
const PAUSE: Duration = Duration::from_secs(1);

/// A machine whose reset vector says: interrupts off, halt, and once more.
fn firmware() -> Vec<u8> {
    let mut rom = vec![0xf4; 65536];
    rom[65536 - 16..65536 - 12].copy_from_slice(&[0xfa, 0xf4, 0xeb, 0xfd]);
    rom
}

/// A domain with that firmware on the smallest machine there is. Those that are to hang have a drive, because without one
/// nobody could tell them from a guest that is busy.
fn domain(name: &str, rom: &str) -> String {
    let (machine, drive) = if HUNG.contains(&name) {
        let source = format!("<source file='{rom}'/><target dev='hdc' bus='ide'/><readonly/>");
        let drive =
            format!("<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>{source}</disk>");
        ("pc", drive)
    } else {
        ("isapc", String::new())
    };
    format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='{machine}'>hvm</type><loader readonly='yes' type='rom'>{rom}</loader></os>\
         <cpu mode='custom' match='exact'><model fallback='forbid'>qemu64</model></cpu>\
         <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><controller type='usb' model='none'/>\
         {drive}<memballoon model='none'/></devices></domain>"
    )
}

/// Starts the halted guests, as many at a time as there are CPUs.
fn crowd(host: &Host) {
    let rom = host.work().join("shared/halt.rom");
    std::fs::write(&rom, firmware()).unwrap();
    let dir = host.work().join("shared/crowd");
    std::fs::create_dir_all(&dir).unwrap();
    let commands: Vec<String> = (0..MANY)
        .map(|n| {
            let file = dir.join(format!("{n}.xml"));
            std::fs::write(&file, domain(&format!("idle-{n}"), &rom.display().to_string())).unwrap();
            format!("create {}", file.display())
        })
        .collect();
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
    std::thread::scope(|scope| {
        for part in commands.chunks(MANY.div_ceil(cpus)) {
            scope.spawn(|| {
                // Command lines have an end.
                for some in part.chunks(50) {
                    host.virsh(&some.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
                }
            });
        }
    });
}

/// Process ids of all guests' qemus.
fn qemus(host: &Host) -> Vec<i32> {
    let mut pids = host.processes("qemu-system-x86");
    pids.sort_unstable();
    pids
}

/// All guests as trimtabctl shows them, by name.
fn shown(trimtab: &Trimtab) -> Result<BTreeMap<String, Value>, String> {
    let all: Vec<Value> = trimtab.json(&["guests"]).map_err(|error| error.to_string())?;
    Ok(all.into_iter().map(|guest| (guest["name"].as_str().unwrap_or_default().to_owned(), guest)).collect())
}

/// Waits until the guests are as wanted; asks rarely.
fn wait_shown(
    trimtab: &Trimtab,
    what: &str,
    wanted: impl Fn(&BTreeMap<String, Value>) -> Result<(), String>,
) -> BTreeMap<String, Value> {
    wait_for(what, SOON, || {
        let all = shown(trimtab)?;
        wanted(&all).map(|()| all).inspect_err(|_| std::thread::sleep(PAUSE))
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", trimtab.log()))
}

/// Waits until all guests are shown, each known to the last: process, knobs, and no reason to leave it alone.
fn wait_known(trimtab: &Trimtab) {
    let begin = Instant::now();
    wait_shown(trimtab, "all guests, known", |all| {
        let known = |guest: &&Value| {
            let knobs = guest["knobs"].as_object().is_some_and(|knobs| !knobs.is_empty());
            guest["pid"].is_i64() && guest["left_alone"].is_null() && knobs
        };
        match all.values().find(|guest| !known(guest)) {
            None if all.len() == MANY + 1 => Ok(()),
            first => Err(format!("{} guests; not known: {first:?}", all.len())),
        }
    });
    println!("all known after {:.0} s", begin.elapsed().as_secs_f64());
}

/// Three of the crowd hang: they are told from the others, who are not left alone, and the worker has its figures.
fn hang_some(host: &Host, trimtab: &Trimtab, all: &[i32]) {
    let named = |pid: &&i32, name: &str| {
        proc::command_line(**pid).is_some_and(|line| line.contains(&format!("guest={name},")))
    };
    let hung: Vec<i32> = HUNG.iter().map(|name| *all.iter().find(|pid| named(pid, name)).unwrap()).collect();
    let signal = |signal| hung.iter().for_each(|&pid| proc::signal(pid, signal).unwrap());
    signal(Signal::STOP);
    let begin = Instant::now();
    wait_shown(trimtab, "word of who hangs", |all| {
        let alone = |guest: &&Value| guest["left_alone"].as_str().is_some_and(|why| why == "does not answer");
        let alone: Vec<&str> =
            all.values().filter(alone).filter_map(|guest| guest["name"].as_str()).collect();
        if alone == HUNG { Ok(()) } else { Err(format!("{alone:?}")) }
    });
    println!("three hung ones found after {:.0} s", begin.elapsed().as_secs_f64());
    let worker = &shown(trimtab).unwrap()["worker"];
    assert!(worker["cpu_cores"].as_f64().is_some_and(|cores| cores > 0.05), "{worker}");
    signal(Signal::CONT);
    wait_known(trimtab);
    assert_eq!(qemus(host), all, "every guest is the process that it was");
}

#[test]
fn live_two_hundred_guests() {
    let Some(tb) = live!(Options::plain(1)) else { return };
    let host = tb.host(0);
    let begin = Instant::now();
    let worker = host.guest(&GuestSpec::new("worker").load("cpu:2")).unwrap();
    crowd(host);
    worker.booted().unwrap();
    println!("{MANY} guests started in {:.0} s", begin.elapsed().as_secs_f64());
    let all = qemus(host);
    assert_eq!(all.len(), MANY + 1);
    let start = Start {
        log: "info,trimtabd::tick=trace,trimtabd::libvirt=debug".to_owned(),
        ..Start::mode("enforce")
    };
    let mut trimtab = Trimtab::start(host, &start).unwrap();
    wait_known(&trimtab);
    hang_some(host, &trimtab, &all);

    assert!(trimtab.rhythm(0).unwrap() >= 10);
    let (pid, ticks) = (trimtab.process().pid(), trimtab.status().unwrap().ticks);
    let cpu = proc::threads_cpu_s(pid).unwrap() * 1000.0 / ticks as f64;
    println!("{ticks} ticks, {cpu:.0} ms of CPU each, {:?} KiB", proc::rss_kib(pid));

    // Killed and started again it finds them all, and `restore` leaves no knob turned.
    trimtab.process_mut().kill().unwrap();
    let trimtab = Trimtab::start(host, &Start::mode("observe")).unwrap();
    wait_known(&trimtab);
    trimtab.restore().unwrap();
    wait_shown(&trimtab, "every knob back", |all| {
        let turned = all.values().find(|guest| guest["originals"] != Value::Array(vec![]));
        turned.map_or(Ok(()), |guest| Err(guest.to_string()))
    });
    trimtab.stop().unwrap();
    assert_eq!(qemus(host), all, "every guest is the process that it was");
    worker.wait_ticks(2).unwrap();
    tb.down().unwrap();
    assert_eq!(all.iter().filter(|&&pid| proc::alive(pid)).count(), 0, "nothing is left behind");
    println!("all of it: {:.0} s", begin.elapsed().as_secs_f64());
}
