//! What an answer is about: wishes that are known, unknown again, and processes that came after each other.

use super::*;
use std::process::{Child, Command, Stdio};

/// A process that looks like the qemu of guest `a`.
struct Qemu(Child);

impl Qemu {
    /// It runs, and `dir` has its pid.
    fn start(dir: &std::path::Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "read line", "sh", "-name", "guest=a"]).stdin(Stdio::piped());
        let qemu = Self(command.spawn().unwrap());
        std::fs::write(dir.join("a.pid"), qemu.0.id().to_string()).unwrap();
        // A process that was just started has no command line yet.
        for _ in 0..1000 {
            if crate::libvirt::qemu_pid(dir, "a").is_some() {
                return qemu;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{command:?} is not there");
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn present() -> Result<Vec<GuestRef>, LibvirtError> {
    Ok(vec![GuestRef { id: A, name: "a".to_owned() }])
}

fn shares(shares: u64) -> Result<BTreeMap<Knob, KnobValue>, LibvirtError> {
    Ok([(Knob::CpuShares, KnobValue::Shares(shares))].into())
}

fn asks(work: &[Work], wanted: Ask) -> bool {
    has(work, |w| matches!(w, Work::AskGuest(A, _, ask) if *ask == wanted))
}

impl Rig {
    /// Two ticks: what was read back before the first is in the sample of the second.
    fn ticks(&mut self) -> Vec<Work> {
        let mut work = Vec::new();
        for _ in 0..2 {
            work.extend(self.tick());
            work.extend(self.stats());
        }
        work
    }
    fn left_alone(&self) -> Option<String> {
        self.view.borrow().guests[&A].left_alone.clone()
    }
    /// Everything that is asked after a start is answered.
    fn answer_all(&mut self) {
        self.control.on_metadata(A, Ok(None));
        self.control.on_knobs(A, shares(1024));
        self.control.on_job(A, &Ok(false));
    }
}

#[test]
fn wishes_stay_known_when_an_answer_is_late_and_not_when_it_is_refused() {
    let mut rig = Rig::new();
    rig.connect();
    rig.answer_all();
    rig.ticks();
    assert_eq!(rig.left_alone(), None);
    let (call, whom) = ("GetMetadata", "a".to_owned());
    rig.control.on_metadata(A, Err(LibvirtError::NoSlot { call, whom: whom.clone(), waited_ms: 1 }));
    assert!(asks(&rig.ticks(), Ask::Metadata), "asked again");
    assert_eq!(rig.left_alone(), None, "control goes on");
    rig.control.on_metadata(A, Err(LibvirtError::Refused { call, whom, text: "no".to_owned() }));
    let asked: Vec<Work> = (0..3).flat_map(|_| rig.ticks()).collect();
    assert_eq!(rig.left_alone().as_deref(), Some("excluded by its metadata"), "it may have become <off/>");
    assert!(asks(&asked, Ask::Metadata), "asked now and then");
    rig.control.on_metadata(A, Ok(None));
    rig.ticks();
    assert_eq!(rig.left_alone(), None);
}

#[test]
fn an_answer_about_the_process_before_is_not_taken_for_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new();
    rig.control.around.pid_dir = dir.path().to_owned();
    let first = Qemu::start(dir.path());
    rig.connect();
    rig.answer_all();
    rig.ticks();
    assert_eq!(rig.left_alone(), None);
    // Out when it is restarted.
    assert!(asks(&rig.control.on_libvirt(LibvirtEvent::Tunable(A)), Ask::Knobs));
    assert!(asks(&rig.control.on_libvirt(LibvirtEvent::Metadata(A)), Ask::Metadata));
    drop(first);
    let _second = Qemu::start(dir.path());
    let asked = rig.control.on_guests(present());
    assert!(matches!(asked[..], [Work::AskGuest(A, _, Ask::Job)]), "each is out once: {asked:?}");
    assert!(asks(&rig.control.on_knobs(A, shares(2048)), Ask::Knobs), "of the new one");
    assert!(asks(&rig.control.on_metadata(A, Ok(None)), Ask::Metadata), "of the new one");
    rig.ticks();
    assert_eq!(rig.control.engine.knobs(A), None);
    assert_eq!(rig.left_alone().as_deref(), Some("excluded by its metadata"), "its wishes are not known yet");
    rig.answer_all();
    rig.ticks();
    assert_eq!(rig.control.engine.knobs(A).unwrap()[&Knob::CpuShares], KnobValue::Shares(1024));
    assert_eq!(rig.left_alone(), None);
}

#[test]
fn an_answer_about_a_guest_that_was_gone_meanwhile_is_not_taken() {
    let mut rig = Rig::new();
    rig.connect();
    rig.tick();
    rig.control.on_guests(Ok(Vec::new()));
    assert!(rig.control.on_guests(present()).is_empty(), "what is out comes back first");
    assert!(asks(&rig.control.on_knobs(A, shares(2048)), Ask::Knobs));
    rig.control.on_metadata(A, Ok(None));
    rig.ticks();
    assert_eq!(rig.control.engine.knobs(A), None);
    assert_eq!(rig.left_alone().as_deref(), Some("excluded by its metadata"));
    rig.answer_all();
    rig.ticks();
    assert_eq!(rig.control.engine.knobs(A).unwrap()[&Knob::CpuShares], KnobValue::Shares(1024));
}
