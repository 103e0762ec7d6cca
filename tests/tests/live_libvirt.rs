//! The libvirt client and the actuator against real libvirtd, libvirt-dbus and qemu: knobs, an admin's hand, and faults.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::{Duration, Instant};
use trimtab_policy::decision::{Change, Outcome};
use trimtab_policy::knob::{Knob, KnobValue};
use trimtab_policy::sample::GuestState;
use trimtab_policy::topology::CpuSet;
use trimtab_policy::units::GuestId;
use trimtab_tests::testbed::proc;
use trimtab_tests::{Daemon, Guest, GuestSpec, Host, Options, Testbed, live};
use trimtabd::actuators::{Actuate, Actuator};
use trimtabd::libvirt::{
    GuestRef, GuestStats, Hypervisor, LibvirtConfig, LibvirtDbus, LibvirtError, LibvirtEvent, metadata,
};

/// Patience with things that have to happen; a loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of eight samples, those in which a guest that hangs may leave the others without disks: one until it is known, and some for
/// emulated guests on a crowded machine, which are late by themselves now and then. Held up for good they would lack all eight.
const SOME: u32 = 4;

/// One host with libvirt-dbus' own default of threads.
fn one_host() -> Options {
    Options::plain(1).each(|spec| spec.libvirt_dbus_threads = 4)
}

fn guests(tb: &Testbed, names: &[&str]) -> Vec<Guest> {
    tb.host(0).guests(&names.iter().map(|name| GuestSpec::new(name)).collect::<Vec<_>>()).unwrap()
}

fn config(host: &Host) -> LibvirtConfig {
    LibvirtConfig {
        bus: host.bus_address().parse().unwrap(),
        probe_every: Duration::from_secs(1),
        ..LibvirtConfig::default()
    }
}

fn id(guest: &Guest) -> GuestId {
    guest.uuid().parse().unwrap()
}

fn cpus(list: &str) -> KnobValue {
    KnobValue::Cpus(list.parse::<CpuSet>().unwrap())
}

fn run<F: Future<Output = ()>>(test: F) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// A connected client.
async fn client(host: &Host) -> Arc<LibvirtDbus> {
    let libvirt = Arc::new(LibvirtDbus::start(config(host)));
    wait(&libvirt, |event| *event == LibvirtEvent::Connected).await;
    libvirt
}

/// Events up to the first that fits, that one included.
async fn wait(libvirt: &LibvirtDbus, fits: impl Fn(&LibvirtEvent) -> bool) -> Vec<LibvirtEvent> {
    let mut seen = Vec::new();
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            seen.push(libvirt.next_event().await);
            if fits(&seen[seen.len() - 1]) {
                break;
            }
        }
    });
    let in_time = found.await.is_ok();
    assert!(in_time, "not in time; seen {seen:?}");
    seen
}

/// Blocking work of the testbed, beside the client's tasks.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn of(stats: &[GuestStats], guest: &Guest) -> GuestStats {
    stats
        .iter()
        .find(|s| s.id == Some(id(guest)))
        .unwrap_or_else(|| panic!("no {}: {stats:?}", guest.name()))
        .clone()
}

/// What the kernel lets the thread of this name run on.
fn allowed(guest: &Guest, comm: &str) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", guest.qemu_pid().unwrap())).unwrap();
    let task = tasks
        .map(|task| task.unwrap().path())
        .find(|task| std::fs::read_to_string(task.join("comm")).unwrap().trim().starts_with(comm))
        .unwrap_or_else(|| panic!("no thread {comm}"));
    let status = std::fs::read_to_string(task.join("status")).unwrap();
    status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
}

fn change(guest: &Guest, knob: Knob, from: KnobValue, to: KnobValue) -> Change {
    Change { guest: id(guest), guest_name: guest.name().to_owned(), knob, from, to }
}

#[test]
fn live_knobs_are_turned_undone_and_given_up_to_the_admin() {
    let Some(tb) = live!(one_host()) else { return };
    let a = &guests(&tb, &["a"])[0];
    let host = tb.host(0).clone();
    run(async {
        let libvirt = client(&host).await;
        let actuator = Actuator::new(libvirt.clone(), host.dir().join("run/libvirt/qemu"));
        let before = libvirt.knobs(id(a)).await.unwrap();
        let stats = of(&libvirt.bulk_stats().await.unwrap(), a);
        assert_eq!((stats.name.as_str(), stats.state, stats.vcpus), ("a", GuestState::Running, Some(2)));
        let (disks, cards) = (stats.blocks.unwrap(), stats.nets.unwrap());
        assert_eq!((disks.len(), disks[0].name.as_str(), cards.len()), (1, "vda", 1));
        assert!(disks[0].rd_bytes.is_some() && disks[0].wr_time_ns.is_some() && cards[0].tx_bytes.is_some());
        assert!(stats.balloon_kib.unwrap() > 0);
        let all = before[&Knob::VcpuAffinity(0)].clone();
        assert_eq!(
            before.keys().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            "vcpu0.affinity vcpu1.affinity emulator.affinity iothread1.affinity cpu.shares"
        );
        let shares = before[&Knob::CpuShares].clone();
        let steps = [
            (Knob::VcpuAffinity(1), all.clone(), cpus("1"), Some("CPU 1/")),
            (Knob::EmulatorAffinity, all.clone(), cpus("0"), None),
            (Knob::IothreadAffinity(1), all.clone(), cpus("1"), Some("IO iothread1")),
            (Knob::CpuShares, shares, KnobValue::Shares(2048), None),
        ];
        for (knob, from, to, thread) in steps.clone() {
            let there = change(a, knob, from.clone(), to.clone());
            assert_eq!(actuator.apply(&there).await, Outcome::Done, "{knob}");
            // Of an iothread only the effect can be read, so it is written again.
            let again = if let Knob::IothreadAffinity(_) = knob { Outcome::Done } else { Outcome::AlreadySo };
            assert_eq!(actuator.apply(&there).await, again, "{knob}");
            assert_eq!(libvirt.knobs(id(a)).await.unwrap()[&knob], to);
            if let Some(thread) = thread {
                assert_eq!(allowed(a, thread), to.to_string(), "{thread}");
            }
        }
        // Live only: the definition knows nothing of it.
        let definition = host.virsh(&["dumpxml a --inactive"]).unwrap();
        assert!(!definition.contains("cputune"), "{definition}");
        for (knob, from, to, _) in steps {
            assert_eq!(actuator.apply(&change(a, knob, to, from)).await, Outcome::Done, "{knob}");
        }
        assert_eq!(libvirt.knobs(id(a)).await.unwrap(), before);
        wait(&libvirt, |e| *e == LibvirtEvent::Tunable(id(a))).await;

        // The admin's hand is seen, and wins.
        host.virsh(&["vcpupin a 0 0 --live"]).unwrap();
        wait(&libvirt, |e| *e == LibvirtEvent::Tunable(id(a))).await;
        let ours = change(a, Knob::VcpuAffinity(0), all.clone(), cpus("1"));
        assert_eq!(
            actuator.apply(&ours).await,
            Outcome::Refused(format!("somebody moved it: it is 0 and not {all}"))
        );
        // What cannot be is refused by us or by libvirt, and nothing has changed.
        let nowhere = change(a, Knob::VcpuAffinity(1), all.clone(), cpus("4000"));
        assert_eq!(actuator.apply(&nowhere).await, Outcome::Refused("CPU 4000 is not online".to_owned()));
        let huge = change(a, Knob::CpuShares, before[&Knob::CpuShares].clone(), KnobValue::Shares(1 << 40));
        assert!(matches!(actuator.apply(&huge).await, Outcome::Refused(_)));
        assert_eq!(libvirt.knobs(id(a)).await.unwrap()[&Knob::CpuShares], before[&Knob::CpuShares]);
    });
}

#[test]
fn live_metadata_is_read_and_its_changes_are_seen() {
    let Some(tb) = live!(one_host()) else { return };
    let host = tb.host(0).clone();
    let specs = [GuestSpec::new("a"), GuestSpec::new("weighty").weight(2048)];
    let guests = host.guests(&specs).unwrap();
    run(async {
        let libvirt = client(&host).await;
        assert_eq!(libvirt.metadata(id(&guests[0])).await.unwrap(), None);
        let xml = libvirt.metadata(id(&guests[1])).await.unwrap().unwrap();
        let (meta, errors) = metadata::parse("weighty", &xml);
        assert_eq!((meta.weight, errors), (2048, vec![]));
        let set = "metadata a --uri urn:trimtab:guest:1 --key trimtab --live --set '<guest><off/></guest>'";
        host.virsh(&[set]).unwrap();
        wait(&libvirt, |e| *e == LibvirtEvent::Metadata(id(&guests[0]))).await;
        let xml = libvirt.metadata(id(&guests[0])).await.unwrap().unwrap();
        assert!(metadata::parse("a", &xml).0.excluded, "{xml}");
    });
}

#[test]
fn live_guests_appear_disappear_and_are_renamed() {
    let Some(tb) = live!(one_host()) else { return };
    let host = tb.host(0).clone();
    run(async {
        let libvirt = client(&host).await;
        assert_eq!(libvirt.guests().await.unwrap(), []);
        let a = beside({
            let host = host.clone();
            move || host.guest(&GuestSpec::new("a")).unwrap()
        })
        .await;
        let is_a = |event: &LibvirtEvent| *event == LibvirtEvent::Lifecycle(id(&a));
        wait(&libvirt, is_a).await;
        let names = |list: Vec<GuestRef>| list.into_iter().map(|g| (g.id, g.name)).collect::<Vec<_>>();
        assert_eq!(names(libvirt.guests().await.unwrap()), [(id(&a), "a".to_owned())]);
        assert_eq!(of(&libvirt.bulk_stats().await.unwrap(), &a).name, "a");

        host.virsh(&["destroy a"]).unwrap();
        wait(&libvirt, is_a).await;
        assert_eq!(libvirt.guests().await.unwrap(), []);
        assert!(matches!(libvirt.knobs(id(&a)).await, Err(LibvirtError::Gone(_))));
        let odd = "odd näme, 1";
        host.virsh(&[&format!("domrename a '{odd}'"), &format!("start '{odd}'")]).unwrap();
        wait(&libvirt, is_a).await;
        // Started is another event than renamed; both have been sent when virsh has ended.
        assert_eq!(names(libvirt.guests().await.unwrap()), [(id(&a), odd.to_owned())]);
        assert_eq!(of(&libvirt.bulk_stats().await.unwrap(), &a).name, odd);

        // Dead by itself.
        let pid = host.processes("qemu-system-x86")[0];
        proc::signal(pid, rustix::process::Signal::KILL).unwrap();
        tokio::time::timeout(PATIENCE, async {
            while !libvirt.guests().await.unwrap().is_empty() {
                wait(&libvirt, is_a).await;
            }
        })
        .await
        .unwrap();
    });
}

/// One call a second, as the daemon does; what the slowest took and how often the others lacked their disks.
async fn rhythm(libvirt: &LibvirtDbus, others: &[&Guest], seconds: u32) -> (Duration, u32) {
    let (mut slowest, mut lacking) = (Duration::ZERO, 0);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..seconds {
        ticks.tick().await;
        let before = Instant::now();
        let stats = libvirt.bulk_stats().await.unwrap();
        slowest = slowest.max(before.elapsed());
        lacking += u32::from(others.iter().any(|guest| of(&stats, guest).blocks.is_none()));
    }
    (slowest, lacking)
}

#[test]
fn live_a_hung_qemu_concerns_nobody_else() {
    let Some(tb) = live!(one_host()) else { return };
    let guests = guests(&tb, &["a", "b", "c"]);
    let [a, b, c] = &guests[..] else { panic!() };
    let host = tb.host(0).clone();
    run(async {
        let libvirt = client(&host).await;
        let actuator = Actuator::new(libvirt.clone(), host.dir().join("run/libvirt/qemu"));
        let limit = config(&host).bulk_timeout;
        let (healthy, lacking) = rhythm(&libvirt, &[a, b, c], 3).await;
        assert!(lacking < 3, "nobody hangs, and nobody has disks");
        let all = libvirt.knobs(id(a)).await.unwrap()[&Knob::VcpuAffinity(0)].clone();
        a.stop().unwrap();
        let (slowest, lacking) = rhythm(&libvirt, &[b, c], 8).await;
        println!("bulk: healthy {healthy:?}, with a hung one {slowest:?}, lacking {lacking}");
        assert!(lacking < SOME, "others were without disks {lacking} times");
        assert!(slowest < 3 * limit, "a bulk call took {slowest:?}");
        assert_eq!(of(&libvirt.bulk_stats().await.unwrap(), a).blocks, None);

        // It is not even asked any more; the others are, and their knobs turn.
        let before = Instant::now();
        assert!(matches!(libvirt.job_active(id(a)).await, Err(LibvirtError::BackedOff { .. })));
        let pin = |guest| change(guest, Knob::VcpuAffinity(0), all.clone(), cpus("0"));
        let Outcome::Refused(why) = actuator.apply(&pin(a)).await else { panic!() };
        assert!(why.starts_with("a does not answer"), "{why}");
        assert!(before.elapsed() < config(&host).read_timeout, "a refusal that waited");
        assert_eq!(actuator.apply(&pin(b)).await, Outcome::Done);

        // A second one hangs. With two calls stuck there are as many threads left: the third guest misses nothing.
        b.stop().unwrap();
        let (slowest, lacking) = rhythm(&libvirt, &[c], 8).await;
        assert!(lacking < SOME, "the other one was without disks {lacking} times");
        assert!(slowest < 3 * limit, "a bulk call took {slowest:?}");
        let stats = libvirt.bulk_stats().await.unwrap();
        assert_eq!((of(&stats, b).state, of(&stats, b).blocks), (GuestState::Running, None));
        assert!(matches!(libvirt.job_active(id(b)).await, Err(LibvirtError::BackedOff { .. })));
        assert_eq!(actuator.apply(&pin(c)).await, Outcome::Done);

        // Everything is as before once they go on.
        a.cont().unwrap();
        b.cont().unwrap();
        tokio::time::timeout(PATIENCE, async {
            loop {
                let stats = libvirt.bulk_stats().await.unwrap();
                if guests.iter().all(|guest| of(&stats, guest).blocks.is_some()) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        })
        .await
        .unwrap();
        for guest in [a, b, c] {
            assert!(!libvirt.job_active(id(guest)).await.unwrap());
        }
        assert_eq!(actuator.apply(&pin(a)).await, Outcome::Done);
    });
    for guest in &guests {
        guest.wait_ticks(1).unwrap();
    }
}

#[test]
fn live_every_daemon_may_be_restarted() {
    let Some(tb) = live!(one_host()) else { return };
    let a = &guests(&tb, &["a"])[0];
    let host = tb.host(0).clone();
    run(async {
        let libvirt = client(&host).await;
        let before = libvirt.knobs(id(a)).await.unwrap();
        for daemon in [Daemon::LibvirtDbus, Daemon::Libvirtd, Daemon::Bus] {
            let restart = tokio::task::spawn_blocking({
                let host = host.clone();
                move || {
                    if daemon == Daemon::Libvirtd {
                        // A restart quicker than two questions may pass unseen, and need not be seen: libvirt-dbus
                        // registers for events again by itself. A second is long enough to be met.
                        host.stop(daemon).unwrap();
                        std::thread::sleep(Duration::from_secs(1));
                        host.start_daemon(daemon).unwrap();
                    } else {
                        host.restart(daemon).unwrap();
                    }
                }
            });
            // As the daemon does: it goes on asking, and whatever is not there is an error and no wait.
            let asking = async {
                loop {
                    let asked = Instant::now();
                    let answer = libvirt.bulk_stats().await;
                    assert!(asked.elapsed() < Duration::from_secs(5), "{daemon:?}: {answer:?}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            };
            let seen = tokio::select! {
                seen = wait(&libvirt, |e| *e == LibvirtEvent::Connected) => seen,
                () = asking => unreachable!(),
            };
            assert!(matches!(seen[0], LibvirtEvent::Disconnected(_)), "{daemon:?}: {seen:?}");
            println!("{daemon:?}: {seen:?}");
            restart.await.unwrap();
            // Whatever the first attempt met while the restart went on, in the end it is connected, and sees events.
            tokio::time::timeout(PATIENCE, async {
                while libvirt.knobs(id(a)).await.ok().as_ref() != Some(&before) {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
            .await
            .unwrap();
            for cpu in ["0", "0-1"] {
                host.virsh(&[&format!("vcpupin a 0 {cpu} --live")]).unwrap();
                wait(&libvirt, |e| *e == LibvirtEvent::Tunable(id(a))).await;
            }
            assert_eq!(of(&libvirt.bulk_stats().await.unwrap(), a).name, "a");
        }
    });
    a.wait_ticks(1).unwrap();
}

#[test]
fn live_nobody_asks_and_still_events_of_a_new_libvirtd_arrive() {
    let Some(tb) = live!(one_host()) else { return };
    let a = &guests(&tb, &["a"])[0];
    let host = tb.host(0).clone();
    run(async {
        let libvirt = client(&host).await;
        host.stop(Daemon::Libvirtd).unwrap();
        wait(&libvirt, |e| matches!(e, LibvirtEvent::Disconnected(_))).await;
        assert!(matches!(libvirt.bulk_stats().await, Err(LibvirtError::Away(_))));
        beside({
            let host = host.clone();
            move || host.start_daemon(Daemon::Libvirtd).unwrap()
        })
        .await;
        wait(&libvirt, |e| *e == LibvirtEvent::Connected).await;
        host.virsh(&["schedinfo a --live cpu_shares=512"]).unwrap();
        wait(&libvirt, |e| *e == LibvirtEvent::Tunable(id(a))).await;
        assert_eq!(libvirt.knobs(id(a)).await.unwrap()[&Knob::CpuShares], KnobValue::Shares(512));
    });
}

#[test]
fn live_a_migrating_guest_is_left_alone() {
    let Some(tb) = live!(Options::plain(2).each(|spec| spec.libvirt_dbus_threads = 4)) else { return };
    let (from, to) = (tb.host(0).clone(), tb.host(1).clone());
    let spec = GuestSpec { disk: None, iothreads: 0, ..GuestSpec::new("a").load("mem:32") };
    let a = from.guest(&spec).unwrap();
    run(async {
        let libvirt = client(&from).await;
        let actuator = Actuator::new(libvirt.clone(), from.dir().join("run/libvirt/qemu"));
        let knobs = libvirt.knobs(id(&a)).await.unwrap();
        let pin = change(&a, Knob::VcpuAffinity(0), knobs[&Knob::VcpuAffinity(0)].clone(), cpus("0"));
        assert!(!libvirt.job_active(id(&a)).await.unwrap());
        let migrate = format!("migrate a --live --p2p --bandwidth 1 qemu+tcp://{}/system", to.name());
        let migration = tokio::task::spawn_blocking({
            let from = from.clone();
            move || from.virsh(&[&migrate])
        });
        tokio::time::timeout(PATIENCE, async {
            while !libvirt.job_active(id(&a)).await.unwrap() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await
        .unwrap();
        let asked = Instant::now();
        let Outcome::Refused(why) = actuator.apply(&pin).await else { panic!() };
        assert!(why.contains("job"), "{why}");
        assert!(libvirt.bulk_stats().await.unwrap().len() == 1 && asked.elapsed() < Duration::from_secs(5));
        from.virsh(&["domjobabort a"]).unwrap();
        assert!(migration.await.unwrap().is_err());
        tokio::time::timeout(PATIENCE, async {
            while libvirt.job_active(id(&a)).await.unwrap() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await
        .unwrap();
        assert_eq!(actuator.apply(&pin).await, Outcome::Done);
    });
    a.wait_ticks(1).unwrap();
}
