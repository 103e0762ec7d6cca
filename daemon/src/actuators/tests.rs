//! The actuator over a fake libvirt, and nice values on a real process.

use super::*;
use crate::libvirt::fake::FakeHypervisor;
use trimtab_policy::topology::CpuSet;

struct Bench {
    fake: FakeHypervisor,
    actuator: Actuator<FakeHypervisor>,
    id: GuestId,
    dir: tempfile::TempDir,
}

/// A host with CPUs 0-3 online and one guest of two vCPUs.
fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("devices/system/cpu")).unwrap();
    std::fs::write(dir.path().join("devices/system/cpu/online"), "0-3\n").unwrap();
    let fake = FakeHypervisor::with_guests(1, 2, 4);
    let actuator = Actuator::new(Arc::new(fake.clone()), dir.path().into())
        .with_roots("/proc".into(), dir.path().into());
    Bench { fake, actuator, id: FakeHypervisor::id(0), dir }
}

fn cpus(list: &str) -> KnobValue {
    KnobValue::Cpus(list.parse::<CpuSet>().unwrap())
}

impl Bench {
    fn change(&self, knob: Knob, from: KnobValue, to: KnobValue) -> Change {
        Change { guest: self.id, guest_name: "g0".to_owned(), knob, from, to }
    }

    fn pin(&self) -> Change {
        self.change(Knob::VcpuAffinity(1), cpus("0-3"), cpus("2"))
    }

    fn present(&self, knob: Knob) -> KnobValue {
        self.fake.guest(self.id).unwrap().knobs[&knob].clone()
    }

    async fn refused(&self, change: &Change) -> String {
        let before = self.fake.writes();
        match self.actuator.apply(change).await {
            Outcome::Refused(why) => {
                assert_eq!(self.fake.writes(), before, "refused, but written");
                why
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn every_knob_is_set_and_a_second_time_it_is_so_already() {
    let b = bench();
    let all = cpus("0-3");
    for (knob, from, to) in [
        (Knob::VcpuAffinity(0), all.clone(), cpus("1")),
        (Knob::EmulatorAffinity, all.clone(), cpus("0,2")),
        (Knob::IothreadAffinity(1), all, cpus("3")),
        (Knob::CpuShares, KnobValue::Shares(1024), KnobValue::Shares(4096)),
    ] {
        let change = b.change(knob, from.clone(), to.clone());
        assert_eq!(b.actuator.apply(&change).await, Outcome::Done);
        assert_eq!(b.present(knob), to);
        let again = if let Knob::IothreadAffinity(_) = knob { Outcome::Done } else { Outcome::AlreadySo };
        assert_eq!(b.actuator.apply(&change).await, again);
        let undo = b.change(knob, to, from.clone());
        assert_eq!(b.actuator.apply(&undo).await, Outcome::Done);
        assert_eq!(b.present(knob), from);
    }
    assert_eq!(b.fake.writes().len(), 9);
}

#[tokio::test]
async fn somebody_who_moved_the_knob_wins() {
    let b = bench();
    b.fake.admin_sets(b.id, Knob::VcpuAffinity(1), cpus("1"));
    assert_eq!(b.refused(&b.pin()).await, "somebody moved it: it is 1 and not 0-3");
    assert_eq!(b.present(Knob::VcpuAffinity(1)), cpus("1"));
}

#[tokio::test]
async fn a_guest_with_a_job_or_a_hung_one_or_none_is_left_alone() {
    let b = bench();
    b.fake.edit(b.id, |guest| guest.job = true);
    assert!(b.refused(&b.pin()).await.contains("job"));
    b.fake.edit(b.id, |guest| (guest.job, guest.hung) = (false, true));
    assert!(b.refused(&b.pin()).await.contains("no answer within"));
    b.fake.remove(b.id);
    assert!(b.refused(&b.pin()).await.ends_with("is gone"));
}

#[tokio::test]
async fn impossible_values_are_refused_before_libvirt_is_asked() {
    let b = bench();
    let calls = b.fake.calls();
    let knob = Knob::VcpuAffinity(0);
    assert_eq!(b.refused(&b.change(knob, cpus("0-3"), cpus("4-5"))).await, "CPU 4-5 is not online");
    assert!(b.refused(&b.change(knob, cpus("0-3"), cpus(""))).await.contains("at least one CPU"));
    std::fs::remove_file(b.dir.path().join("devices/system/cpu/online")).unwrap();
    assert!(b.refused(&b.pin()).await.starts_with("cannot read"));
    assert_eq!(b.fake.calls(), calls);
}

#[tokio::test]
async fn a_knob_that_the_guest_lacks_is_refused() {
    let b = bench();
    assert_eq!(
        b.refused(&b.change(Knob::VcpuAffinity(9), cpus("0-3"), cpus("1"))).await,
        "the guest has no such knob"
    );
}

/// libvirt answers everything but the write itself, which times out: what counts is what is read back.
#[tokio::test]
async fn after_a_lost_answer_the_value_read_back_counts() {
    for lands in [true, false] {
        let b = bench();
        b.fake.edit(b.id, |guest| (guest.lose_writes, guest.writes_land) = (true, lands));
        let outcome = b.actuator.apply(&b.pin()).await;
        if lands {
            assert_eq!(outcome, Outcome::Done);
        } else {
            let Outcome::Refused(why) = outcome else { panic!("{outcome:?}") };
            assert!(why.contains("no answer within") && why.ends_with("reads back as 0-3"), "{why}");
        }
    }
}

#[tokio::test]
async fn libvirts_refusal_is_handed_on() {
    let b = bench();
    b.fake.edit(b.id, |guest| guest.refuse_writes = Some("out of range".to_owned()));
    assert_eq!(b.refused(&b.pin()).await, "PinVcpu of g0: out of range");
}

/// A process that looks like the qemu of guest `g0`, in a session (and so an autogroup) of its own.
struct Process(std::process::Child);

impl Process {
    fn start(pid_dir: &std::path::Path) -> Self {
        let child = std::process::Command::new("setsid")
            .args(["sh", "-c", "sleep 60; :", "-name", "guest=g0,debug-threads=on"])
            .spawn()
            .unwrap();
        std::fs::write(pid_dir.join("g0.pid"), child.id().to_string()).unwrap();
        let process = Self(child);
        // Not before it is in its own session: until then it shares ours, and so our autogroup.
        while !process.file("cmdline").starts_with("sh\0") {
            std::thread::yield_now();
        }
        process
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.0.id())).unwrap()
    }

    /// Field 19 of `stat`, counted after the name in brackets.
    fn nice(&self) -> i32 {
        self.file("stat").rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn nice_is_set_read_back_and_undone_on_a_real_process() {
    let b = bench();
    let process = Process::start(b.dir.path());
    b.fake.edit(b.id, |guest| drop(guest.knobs.remove(&Knob::CpuShares)));
    let knobs = match b.actuator.knobs(b.id, "g0").await.unwrap().remove(&Knob::CpuNice) {
        Some(value) => value,
        // An unprivileged run on a kernel without autogroups: then there is no such knob, which is the promise.
        None => return,
    };
    assert_eq!(knobs, KnobValue::Nice(process.nice()));
    let change = b.change(Knob::CpuNice, knobs.clone(), KnobValue::Nice(7));
    assert_eq!(b.actuator.apply(&change).await, Outcome::Done);
    assert_eq!(b.actuator.apply(&change).await, Outcome::AlreadySo);
    let autogroup = process.file("autogroup");
    assert!(process.nice() == 7 || autogroup.trim().ends_with("nice 7"), "{autogroup}");
    let undo = b.change(Knob::CpuNice, KnobValue::Nice(7), knobs.clone());
    assert_eq!(b.actuator.apply(&undo).await, Outcome::Done);
    assert_eq!(KnobValue::Nice(process.nice()), knobs);
    assert_eq!(b.fake.writes(), []);
}

#[tokio::test]
async fn nice_of_a_guest_without_a_process_is_no_knob() {
    let b = bench();
    b.fake.edit(b.id, |guest| drop(guest.knobs.remove(&Knob::CpuShares)));
    assert!(!b.actuator.knobs(b.id, "g0").await.unwrap().contains_key(&Knob::CpuNice));
    let change = b.change(Knob::CpuNice, KnobValue::Nice(0), KnobValue::Nice(5));
    assert_eq!(b.refused(&change).await, "g0 has no qemu process here");
}

/// Fixture of /proc with one qemu: is nice a knob?
fn nice_of(autogroups: &str, capabilities: &str, limit: &str, leader: &str) -> Result<i32, NiceError> {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("g0.pid", "77");
    put("77/cmdline", "qemu\0-name\0guest=g0\0");
    put("77/autogroup", "/autogroup-43 nice 5\n");
    put(
        "77/limits",
        &format!("Limit                     Soft Limit\nMax nice priority         {limit}      {limit}\n"),
    );
    put("77/task/none", "");
    put("77/stat", &format!("77 (qemu) x) S 1 76 {leader} 0 -1"));
    put("78/stat", "");
    put("self/status", &format!("Name:\tx\nCapEff:\t{capabilities}\n"));
    put("sys/kernel/sched_autogroup_enabled", autogroups);
    Nice::new(dir.path().into(), dir.path().into()).read("g0")
}

#[test]
fn what_could_not_be_undone_is_no_knob() {
    let (none, nice_cap) = ("0000000000000000", "0000000000800000");
    assert_eq!(nice_of("1\n", none, "0", "76").unwrap(), 5);
    assert_eq!(nice_of("1\n", none, "0", "77").unwrap(), 5);
    let shared = nice_of("1\n", none, "0", "78");
    assert!(matches!(shared, Err(NiceError::NotUndoable(_))), "an autogroup with others in it");
    assert!(matches!(nice_of("0\n", none, "0", "76"), Err(NiceError::NotUndoable(guest)) if guest == "g0"));
    assert!(matches!(nice_of("0\n", none, "19", "76"), Err(NiceError::NotUndoable(_))));
    // Undoable by the threads; the fixture has none, which is as good as no process.
    assert!(matches!(nice_of("0\n", none, "20", "76"), Err(NiceError::NoProcess(_))));
    assert!(matches!(nice_of("0\n", nice_cap, "0", "76"), Err(NiceError::NoProcess(_))));
}
