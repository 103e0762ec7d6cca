//! Two hundred guests on one host: each a libvirt domain with a qemu of its own, whose CPU is halted from the first instruction
//! on, so that it costs next to nothing but attention; and three that work, to tune among them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use trimtab_tests::testbed::{proc, wait_for};
use trimtab_tests::trimtab::{Decision, Start, Trimtab};
use trimtab_tests::{Guest, GuestSpec, Host, Options, live};

/// Halted guests.
const MANY: usize = 200;
/// Those of them that hang for a while, in order of name.
const HUNG: [&str; 3] = ["idle-199", "idle-3", "idle-77"];
/// Guests that work when told to: much weight, and two that are in its way.
const BUSY: [&str; 3] = ["writer", "burner1", "burner2"];
const SOON: Duration = Duration::from_secs(120);
/// Between two questions to the daemon: an answer about all guests is work for it.
const PAUSE: Duration = Duration::from_secs(1);
/// Decides at once, and never ends a trial.
const CONFIG: &str = "[policy.identify]\nwindow_ms = 2000\n\
    [policy.arbiter]\nhold_ms = 0\ncool_down_ms = 1000\nmin_gain_pct = 0.5\nfloor_pct = 0.0\n\
    [policy.trial]\nbefore_ms = 2000\nbefore_max_ms = 4000\nsettle_ms = 500\nafter_ms = 600000\nafter_max_ms = 600000\n";

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

/// The guests that can work. On one CPU, so that more shares for the writer bring what the shares say, and with nothing to do.
fn busy(host: &Host) -> Vec<Guest> {
    let [writer, burners @ ..] = BUSY.map(GuestSpec::new);
    let guests: Vec<_> = [writer.vcpus(1).weight(4096)].into_iter().chain(burners).collect();
    let guests: Vec<_> = guests.iter().map(|spec| host.guest(spec).unwrap()).collect();
    let pins = guests.iter().flat_map(|guest| {
        let name = guest.name();
        let vcpus = (0..guest.spec().vcpus).map(move |n| format!("vcpupin {name} {n} 0 --live"));
        vcpus.chain([format!("emulatorpin {name} 0 --live; iothreadpin {name} 1 0 --live")])
    });
    host.virsh(&pins.collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    guests
}

/// What the kernel lets each thread of all these processes run on, and the shares of all guests.
fn turned(host: &Host, pids: &[i32]) -> (Vec<String>, String) {
    let allowed = |pid: &i32| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let of = |task: std::fs::DirEntry| {
            let read = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let (comm, status) = (read("comm"), read("status"));
            let cpus = status.lines().find(|line| line.starts_with("Cpus_allowed_list:"))?.to_owned();
            // Worker threads come and go.
            (!comm.starts_with("worker")).then(|| format!("{pid} {} {cpus}", comm.trim()))
        };
        tasks.filter_map(of).collect::<Vec<_>>()
    };
    let names = host.virsh(&["list --name"]).unwrap();
    let shares: String = names
        .lines()
        .filter(|name| !name.is_empty())
        .collect::<Vec<_>>()
        .chunks(50)
        .map(|some| {
            let ask = some.iter().map(|name| format!("echo {name}; schedinfo {name}")).collect::<Vec<_>>();
            host.virsh(&ask.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
        })
        .collect();
    let mut threads: Vec<_> = pids.iter().flat_map(allowed).collect();
    threads.sort_unstable();
    (threads, shares)
}

/// A decision among two hundred: made and carried out, on knobs of those whom it concerns alone.
fn tunes(trimtab: &Trimtab, busy: &[Guest]) -> Decision {
    busy[0].load("io").unwrap();
    busy[2].load("cpu:2").unwrap();
    let begin = Instant::now();
    let open = wait_for("a trial whose changes are made", SOON, || {
        let all = trimtab.decisions().map_err(|error| error.to_string())?;
        let open = all.iter().find(|decision| decision.verdict == "pending").cloned();
        let done = |open: &Decision| {
            let made = trimtab.log().matches(&format!("decision={}", open.id)).count();
            made >= open.to.split(' ').count()
        };
        open.filter(done).ok_or_else(|| format!("{all:#?}")).inspect_err(|_| std::thread::sleep(PAUSE))
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", trimtab.log()));
    println!("on trial after {:.0} s: {} -> {}", begin.elapsed().as_secs_f64(), open.from, open.to);
    let all = shown(trimtab).unwrap();
    let of = all.iter().filter(|(_, guest)| guest["originals"] != Value::Array(vec![]));
    let names: Vec<_> = of.map(|(name, _)| name.as_str()).collect();
    assert!(!names.is_empty() && names.iter().all(|name| BUSY.contains(name)), "{names:?}");
    // However long those who are halted wait behind the busy ones to say so, they are not what the trial is about.
    let active = |guest: &Value| ["cpu", "io", "mixed"].iter().any(|role| guest["profile"] == *role);
    let wrong: Vec<_> =
        all.iter().filter(|(name, guest)| !BUSY.contains(&name.as_str()) && active(guest)).collect();
    assert!(wrong.is_empty(), "{} halted ones count as active: {wrong:?}", wrong.len());
    let loads = trimtab.json::<Value>(&["status"]).unwrap()["cpu_loads"].take();
    let crowded = |load: &&Value| {
        let by = load["guests"][0]["guest"].as_str();
        load["over_committed"] == true && by.is_some_and(|name| BUSY.contains(&name))
    };
    assert!(loads.as_array().is_some_and(|loads| loads.iter().any(|load| crowded(&load))), "{loads}");
    open
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
            None if all.len() == MANY + BUSY.len() => Ok(()),
            first => Err(format!("{} guests; not known: {first:?}", all.len())),
        }
    });
    println!("all known after {:.0} s", begin.elapsed().as_secs_f64());
}

/// Three of the crowd hang: they are told from the others, who are not left alone, and who works has figures.
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
    let worker = &shown(trimtab).unwrap()["burner1"];
    assert!(worker["cpu_cores"].as_f64().is_some_and(|cores| cores > 0.01), "{worker}");
    signal(Signal::CONT);
    wait_known(trimtab);
    assert_eq!(qemus(host), all, "every guest is the process that it was");
}

#[test]
fn live_two_hundred_guests() {
    let Some(tb) = live!(Options::plain(1)) else { return };
    let host = tb.host(0);
    let begin = Instant::now();
    let busy = busy(host);
    crowd(host);
    busy.iter().for_each(|guest| guest.booted().unwrap());
    println!("{MANY} guests started in {:.0} s", begin.elapsed().as_secs_f64());
    let all = qemus(host);
    assert_eq!(all.len(), MANY + BUSY.len());
    let start = Start {
        log: "info,trimtabd::tick=trace,trimtabd::libvirt=debug".to_owned(),
        config: CONFIG.to_owned(),
        ..Start::mode("enforce")
    };
    let untouched = turned(host, &all);
    let mut trimtab = Trimtab::start(host, &start).unwrap();
    wait_known(&trimtab);
    busy[1].load("cpu:2").unwrap();
    hang_some(host, &trimtab, &all);

    assert!(trimtab.rhythm(0).unwrap() >= 10);
    let (pid, ticks) = (trimtab.process().pid(), trimtab.status().unwrap().ticks);
    let cpu = proc::threads_cpu_s(pid).unwrap() * 1000.0 / ticks as f64;
    println!("{ticks} ticks, {cpu:.0} ms of CPU each, {:?} KiB", proc::rss_kib(pid));

    // Killed and started again it finds them all, and its trial, which it closes; `restore` leaves no knob turned.
    let open = tunes(&trimtab, &busy);
    trimtab.process_mut().kill().unwrap();
    assert_ne!(turned(host, &all), untouched, "{open:?}");
    let trimtab = Trimtab::start(host, &Start::mode("observe")).unwrap();
    wait_known(&trimtab);
    wait_for("the end of the trial", SOON, || {
        let all = trimtab.decisions().map_err(|error| error.to_string())?;
        let now = all.into_iter().find(|decision| decision.id == open.id).ok_or("it is forgotten")?;
        if now.verdict == "reverted" { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .unwrap();
    trimtab.restore().unwrap();
    wait_shown(&trimtab, "every knob back", |all| {
        let turned = all.values().find(|guest| guest["originals"] != Value::Array(vec![]));
        turned.map_or(Ok(()), |guest| Err(guest.to_string()))
    });
    trimtab.stop().unwrap();
    assert_eq!(qemus(host), all, "every guest is the process that it was");
    assert_eq!(turned(host, &all), untouched);
    busy.iter().for_each(|guest| guest.wait_ticks(2).unwrap());
    tb.down().unwrap();
    assert_eq!(all.iter().filter(|&&pid| proc::alive(pid)).count(), 0, "nothing is left behind");
    println!("all of it: {:.0} s", begin.elapsed().as_secs_f64());
}
