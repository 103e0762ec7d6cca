//! The state machine without a host: answers that come, come late, or never come.

mod lives;
mod undo;

use super::*;
use crate::handle::{Request, RequestError};
use crate::sensors::SensorsConfig;
use tokio::sync::oneshot;
use trimtab_policy::decision::{Change, Mode, Original, Outcome, Verdict};
use trimtab_policy::engine::Start;
use trimtab_policy::knob::Family;
use trimtab_policy::sample::GuestState;
use trimtab_policy::topology::CpuSet;

const A: GuestId = GuestId([1; 16]);

struct Rig {
    control: ControlLoop,
    view: watch::Receiver<Arc<View>>,
    now: u64,
}

impl Rig {
    fn new() -> Self {
        Self::holding(Vec::new())
    }
    /// A daemon that finds these knobs turned.
    fn holding(originals: Vec<Original>) -> Self {
        let (sender, view) = watch::channel(Arc::new(View::default()));
        let sensors = Sensors::new(SensorsConfig { perf: false, ..SensorsConfig::default() }).unwrap();
        let around = Surroundings { pid_dir: "/nonexistent".into(), journal_every_ticks: 2, questions: 3 };
        let engine = Engine::new(Start { next_decision: 1, originals, ..Start::default() });
        let control = ControlLoop::new(engine, sensors, around, Vec::new(), "# policy".to_owned(), sender);
        Self { control, view, now: 0 }
    }
    fn tick(&mut self) -> Vec<Work> {
        self.now += 1_000_000_000;
        self.control.on_tick(MonoNs(self.now), UnixMs(1), "ok".to_owned())
    }
    fn stats(&mut self) -> Vec<Work> {
        let stats = GuestStats { name: "a".to_owned(), id: Some(A), vcpus: Some(2), ..GuestStats::default() };
        self.control
            .on_stats(MonoNs(self.now + 1), Ok(vec![GuestStats { blocks: Some(Vec::new()), ..stats }]))
    }
    fn connect(&mut self) {
        assert!(has(&self.control.on_libvirt(LibvirtEvent::Connected), |w| matches!(w, Work::ListGuests)));
        let found = Ok(vec![GuestRef { id: A, name: "a".to_owned() }]);
        let asked = self.control.on_guests(found);
        for wanted in [Ask::Metadata, Ask::Knobs, Ask::Job] {
            assert!(has(&asked, |w| matches!(w, Work::AskGuest(A, _, ask) if *ask == wanted)), "{wanted:?}");
        }
    }
}

fn has(work: &[Work], wanted: impl Fn(&Work) -> bool) -> bool {
    work.iter().any(wanted)
}

fn alive(work: &[Work]) -> bool {
    has(work, |w| matches!(w, Work::Alive))
}

#[test]
fn what_is_known_is_shown_before_the_first_tick() {
    let mut rig = Rig::new();
    assert_eq!(rig.view.borrow().policy_toml, "");
    rig.control.begin(UnixMs(1), "ok".to_owned());
    let view = rig.view.borrow().clone();
    assert_eq!((view.policy_toml.as_str(), view.store.as_str(), view.ticks), ("# policy", "ok", 0));
}

#[test]
fn without_libvirt_the_loop_is_alive_and_says_why() {
    let mut rig = Rig::new();
    let work = rig.tick();
    assert!(alive(&work) && !has(&work, |w| matches!(w, Work::BulkStats)));
    rig.connect();
    rig.control.on_libvirt(LibvirtEvent::Disconnected("bus is gone".to_owned()));
    assert!(alive(&rig.tick()));
    assert_eq!(rig.view.borrow().libvirt, "bus is gone");
}

#[test]
fn who_wants_which_cpu_is_told_when_asked_for() {
    let mut rig = Rig::new();
    rig.connect();
    for _ in 0..2 {
        rig.tick();
        rig.stats();
    }
    let (reply, mut answer) = oneshot::channel();
    rig.control.on_request(MonoNs(1), UnixMs(1), Request::CpuUses(reply));
    let uses = answer.try_recv().unwrap().unwrap();
    let cpus: CpuSet = uses.iter().map(|of| of.load.cpu).collect();
    assert_eq!(cpus.to_string(), rig.view.borrow().cpus);
}

#[test]
fn a_sample_is_complete_with_its_statistics_and_not_before() {
    let mut rig = Rig::new();
    rig.connect();
    let work = rig.tick();
    assert!(has(&work, |w| matches!(w, Work::BulkStats)) && !alive(&work));
    rig.control.publish(UnixMs(1));
    assert_eq!(rig.view.borrow().guests[&A].vcpus, None, "not told yet is not none");
    assert!(alive(&rig.stats()));
    assert_eq!(rig.view.borrow().guests[&A].vcpus, Some(2));
}

#[test]
fn a_hung_libvirt_costs_a_sample_its_statistics_not_the_rhythm() {
    let mut rig = Rig::new();
    rig.connect();
    rig.tick();
    assert!(alive(&rig.control.on_deadline(1)));
    // The question is still out: it is not asked twice, and the next sample goes through all the same.
    let work = rig.tick();
    assert!(!has(&work, |w| matches!(w, Work::BulkStats)));
    assert!(!alive(&rig.control.on_deadline(1)), "a deadline of the tick before");
    assert!(alive(&rig.control.on_deadline(2)));
    // What comes late is used by the next sample, and the next question goes out.
    assert!(!alive(&rig.stats()));
    assert!(has(&rig.tick(), |w| matches!(w, Work::BulkStats)));
    assert!(alive(&rig.control.on_deadline(3)));
    assert_eq!(rig.view.borrow().guests[&A].vcpus, Some(2));
}

#[test]
fn a_guest_is_left_alone_until_its_wishes_are_known() {
    let mut rig = Rig::new();
    rig.connect();
    rig.tick();
    rig.stats();
    assert_eq!(rig.view.borrow().guests[&A].left_alone.as_deref(), Some("excluded by its metadata"));
    rig.control.on_metadata(A, Ok(None));
    rig.tick();
    rig.stats();
    assert_eq!(rig.view.borrow().guests[&A].left_alone, None);
}

#[test]
fn an_unanswered_question_marks_the_guest_and_is_asked_again() {
    let mut rig = Rig::new();
    rig.connect();
    rig.control.on_metadata(A, Ok(None));
    let late = LibvirtError::Timeout { call: "GetVcpuPinInfo", whom: "a".to_owned(), timeout_ms: 1 };
    rig.control.on_knobs(A, Err(late));
    let work = rig.tick();
    assert!(has(&work, |w| matches!(w, Work::AskGuest(A, _, Ask::Knobs))));
    rig.stats();
    assert_eq!(rig.view.borrow().guests[&A].left_alone.as_deref(), Some("does not answer"));
}

#[test]
fn a_question_that_was_not_made_is_asked_again_and_marks_nobody() {
    let mut rig = Rig::new();
    rig.connect();
    rig.control.on_metadata(A, Ok(None));
    let (call, whom) = ("GetVcpuPinInfo", "a".to_owned());
    for not_made in [
        LibvirtError::NoSlot { call, whom: whom.clone(), waited_ms: 1 },
        LibvirtError::Busy { call, whom: whom.clone() },
    ] {
        rig.control.on_knobs(A, Err(not_made));
        let work = rig.tick();
        assert!(has(&work, |w| matches!(w, Work::AskGuest(A, _, Ask::Knobs))));
        rig.stats();
        assert_eq!(rig.view.borrow().guests[&A].left_alone, None);
    }
}

#[test]
fn what_is_read_back_is_never_newer_than_the_host_of_its_sample() {
    let mut rig = Rig::new();
    rig.connect();
    rig.tick();
    // The tick has read the host; CPUs that vanish now are missing in this answer, but not in that host.
    rig.control.on_knobs(A, Ok([(Knob::CpuShares, KnobValue::Shares(1024))].into()));
    rig.stats();
    assert_eq!(rig.control.engine.knobs(A), None);
    rig.tick();
    rig.stats();
    assert_eq!(rig.control.engine.knobs(A).unwrap().len(), 1);
}

#[test]
fn what_was_read_back_before_our_change_is_not_taken_for_an_admins() {
    let mut rig = Rig::new();
    rig.connect();
    let value = |shares| Ok([(Knob::CpuShares, KnobValue::Shares(shares))].into());
    let change = Change {
        guest: A,
        guest_name: "a".to_owned(),
        knob: Knob::CpuShares,
        from: KnobValue::Shares(1024),
        to: KnobValue::Shares(2048),
    };
    let done = Performed { decision: None, change, outcome: Outcome::Done };
    // An answer that waits for its tick, and one that is on its way while the change is made.
    rig.control.on_knobs(A, value(1024));
    rig.control.on_tick(MonoNs(1), UnixMs(1), "ok".to_owned());
    let mut work = Vec::new();
    rig.control.want(A, Ask::Knobs, &mut work);
    rig.control.on_performed(MonoNs(2), UnixMs(1), &done);
    rig.control.on_knobs(A, value(1024));
    rig.tick();
    rig.stats();
    assert_eq!(rig.control.engine.knobs(A), None);
    // Asked again, and now it counts.
    rig.control.on_knobs(A, value(2048));
    rig.tick();
    rig.stats();
    assert_eq!(rig.control.engine.knobs(A).unwrap()[&Knob::CpuShares], KnobValue::Shares(2048));
}

#[test]
fn a_guest_that_is_gone_is_gone_from_the_view() {
    let mut rig = Rig::new();
    rig.connect();
    rig.tick();
    rig.stats();
    assert_eq!(rig.view.borrow().guests[&A].state, GuestState::Running);
    rig.control.on_guests(Ok(Vec::new()));
    rig.tick();
    rig.control.on_deadline(2);
    assert!(rig.view.borrow().guests.is_empty());
}

#[test]
fn requests_are_answered() {
    let mut rig = Rig::new();
    let (reply, mut answer) = oneshot::channel();
    rig.control.on_request(MonoNs(1), UnixMs(1), Request::SetMode(Mode::Advise, reply));
    assert_eq!(answer.try_recv(), Ok(Ok(())));
    assert_eq!(rig.view.borrow().mode, Mode::Advise);
    let (reply, mut answer) = oneshot::channel();
    rig.control.on_request(MonoNs(1), UnixMs(1), Request::Restore(Some(A), reply));
    assert!(matches!(answer.try_recv(), Ok(Err(RequestError::NotFound(_)))));
    let (reply, mut answer) = oneshot::channel();
    rig.control.on_request(MonoNs(1), UnixMs(1), Request::Restore(None, reply));
    assert_eq!(answer.try_recv().unwrap().unwrap().len(), 1);
    // A decision that is not among the newest is looked for in the journal.
    let (reply, _answer) = oneshot::channel();
    let work = rig.control.on_request(MonoNs(1), UnixMs(1), Request::Revert(7, reply));
    assert!(has(&work, |w| matches!(w, Work::AskJournal(Question::ToRevert(7, _)))));
}

#[test]
fn a_crowd_is_asked_one_after_the_other() {
    let mut rig = Rig::new();
    rig.control.on_libvirt(LibvirtEvent::Connected);
    let crowd = (0..50).map(|n| GuestRef { id: GuestId([n; 16]), name: format!("g{n}") }).collect();
    let mut out: Vec<(GuestId, Ask)> = Vec::new();
    let mut asked = 0;
    let mut work = rig.control.on_guests(Ok(crowd));
    loop {
        out.extend(work.into_iter().filter_map(|w| match w {
            Work::AskGuest(id, _, ask) => Some((id, ask)),
            _ => None,
        }));
        assert!(out.len() <= 3, "{out:?}");
        let Some((id, ask)) = out.pop() else { break };
        asked += 1;
        work = match ask {
            Ask::Knobs => rig.control.on_knobs(id, Ok(BTreeMap::new())),
            Ask::Metadata => rig.control.on_metadata(id, Ok(None)),
            // Not answered: asked again at the next tick, and not before.
            Ask::Job => {
                rig.control.on_job(id, &Err(LibvirtError::BackedOff { whom: "g".to_owned(), retry_in_ms: 1 }))
            }
        };
    }
    assert_eq!(asked, 150);
    assert!(has(&rig.tick(), |w| matches!(w, Work::AskGuest(_, _, Ask::Job))));
}

#[test]
fn who_wants_much_stands_in_line_and_who_is_gone_keeps_a_place() {
    let mut rig = Rig::new();
    rig.connect();
    let b = GuestId([2; 16]);
    let named = |id, name: &str| GuestRef { id, name: name.to_owned() };
    assert!(rig.control.on_guests(Ok(vec![named(A, "a"), named(b, "b")])).is_empty(), "three are out");
    assert!(rig.control.on_libvirt(LibvirtEvent::Tunable(A)).is_empty());
    let next = rig.control.on_knobs(A, Ok(BTreeMap::new()));
    assert!(matches!(next[..], [Work::AskGuest(id, _, _)] if id == b), "{next:?}");
    // Two questions about A are out whether or not it is there.
    assert!(rig.control.on_guests(Ok(vec![named(b, "b")])).is_empty());
    let next = rig.control.on_job(A, &Err(LibvirtError::Gone("a".to_owned())));
    assert!(matches!(next[..], [Work::AskGuest(id, _, _)] if id == b), "{next:?}");
}

/// A kept decision for `a`.
fn decision(id: u64) -> Decision {
    Decision {
        id,
        time: UnixMs(1),
        guest: A,
        guest_name: "a".to_owned(),
        knob: Family::Placement,
        changes: Vec::new(),
        why: String::new(),
        profile: String::new(),
        recipe: String::new(),
        expected: 0.1,
        before: None,
        after: None,
        verdict: Verdict::Kept,
        outcome: String::new(),
        closed: None,
    }
}

#[test]
fn the_newest_decisions_need_no_journal() {
    let mut rig = Rig::new();
    rig.control.decisions = vec![Arc::new(decision(2)), Arc::new(decision(1))];
    let (reply, mut answer) = oneshot::channel();
    rig.control.on_request(MonoNs(1), UnixMs(1), Request::Decision(2, reply));
    assert_eq!(answer.try_recv().unwrap().unwrap().id, 2);
    assert_eq!(rig.at_hand(None, 1), [2]);
}

impl Rig {
    /// Decisions that are shown if the journal cannot be asked.
    fn at_hand(&mut self, guest: Option<GuestId>, limit: u32) -> Vec<u64> {
        let (reply, _answer) = oneshot::channel();
        let request = Request::Decisions { guest, limit, reply };
        let work = self.control.on_request(MonoNs(1), UnixMs(1), request);
        let Some(Work::AskJournal(Question::Decisions { at_hand, .. })) = work.first() else {
            panic!("{work:?}")
        };
        at_hand.iter().map(|d| d.id).collect()
    }
}

#[test]
fn without_a_journal_a_guests_decisions_are_also_those_that_turned_its_knobs_for_another() {
    let mut rig = Rig::new();
    let (b, c) = (GuestId([2; 16]), GuestId([3; 16]));
    let change = Change {
        guest: b,
        guest_name: "b".to_owned(),
        knob: Knob::CpuShares,
        from: KnobValue::Shares(1024),
        to: KnobValue::Shares(2048),
    };
    let for_a = Decision { changes: vec![change], ..decision(2) };
    rig.control.decisions = vec![Arc::new(for_a), Arc::new(decision(1))];
    assert_eq!((rig.at_hand(Some(A), 9), rig.at_hand(Some(b), 9)), (vec![2, 1], vec![2]));
    assert_eq!(rig.at_hand(Some(c), 9), [0; 0]);
}
