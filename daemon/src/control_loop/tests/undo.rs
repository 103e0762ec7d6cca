//! Restore and revert: who is kept waiting, for what, for how long, and what he is told.

use super::*;

const B: GuestId = GuestId([2; 16]);

type Answer = Result<Vec<String>, RequestError>;

/// Guests `a` and `b`, so many vCPUs of each pinned by Trimtab.
struct Pinned {
    rig: Rig,
    each: u32,
    /// Changes that the performer was given.
    out: Vec<Change>,
}

fn cpus(list: &str) -> KnobValue {
    KnobValue::Cpus(list.parse().unwrap())
}

impl Pinned {
    fn new(each: u32) -> Self {
        let original = |(guest, n)| Original {
            guest,
            guest_name: "stored".to_owned(),
            pid: None,
            knob: Knob::VcpuAffinity(n),
            value: cpus("0-1"),
            ours: cpus("0"),
            back_to: None,
        };
        let knobs = [A, B].into_iter().flat_map(|guest| (0..each).map(move |n| (guest, n)));
        let mut two = Self { rig: Rig::holding(knobs.map(original).collect()), each, out: Vec::new() };
        let named = [(A, "a"), (B, "b")].map(|(id, name)| GuestRef { id, name: name.to_owned() });
        two.rig.control.on_libvirt(LibvirtEvent::Connected);
        two.rig.control.on_guests(Ok(named.into()));
        for id in [A, B] {
            two.rig.control.on_metadata(id, Ok(None));
            let knobs = (0..each).map(|n| (Knob::VcpuAffinity(n), cpus("0"))).collect();
            two.rig.control.on_knobs(id, Ok(knobs));
        }
        two.tick();
        two
    }
    fn take(&mut self, work: Vec<Work>) {
        for item in work {
            let Work::Perform(batch) = item else { continue };
            let change = |effect| match effect {
                Effect::Apply { change, .. } => Some(change),
                _ => None,
            };
            self.out.extend(batch.effects.into_iter().filter_map(change));
        }
    }
    /// A tick with statistics of both.
    fn tick(&mut self) {
        let stats = [(A, "a"), (B, "b")].map(|(id, name)| GuestStats {
            name: name.to_owned(),
            id: Some(id),
            vcpus: Some(self.each),
            blocks: Some(Vec::new()),
            ..GuestStats::default()
        });
        let mut work = self.rig.tick();
        work.extend(self.rig.control.on_stats(MonoNs(self.rig.now + 1), Ok(stats.into())));
        self.take(work);
    }
    /// A tick in which `a` does not answer.
    fn hung(&mut self) {
        let late = LibvirtError::Timeout { call: "GetJobInfo", whom: "a".to_owned(), timeout_ms: 1 };
        self.rig.control.on_job(A, &Err(late));
        self.tick();
    }
    fn restore(&mut self, guest: Option<GuestId>) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Restore(guest, reply);
        let work = self.rig.control.on_request(MonoNs(self.rig.now), UnixMs(1), request);
        self.take(work);
        answer
    }
    /// Carries out what the performer was given. True if that was something.
    fn perform(&mut self) -> bool {
        let changes = std::mem::take(&mut self.out);
        for change in &changes {
            let done = Performed { decision: None, change: change.clone(), outcome: Outcome::Done };
            let work = self.rig.control.on_performed(MonoNs(self.rig.now), UnixMs(1), &done);
            self.take(work);
        }
        !changes.is_empty()
    }
}

/// The text of the refusal.
fn unfinished(answer: &mut oneshot::Receiver<Answer>) -> String {
    match answer.try_recv() {
        Ok(Err(RequestError::Unfinished(text))) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hung_guest_keeps_nobody_waiting_who_asks_for_another() {
    let mut two = Pinned::new(1);
    two.hung();
    let mut of_hung = two.restore(Some(A));
    assert!(!two.perform(), "it cannot be reached");
    let mut of_other = two.restore(Some(B));
    assert!(of_other.try_recv().is_err(), "its knob is on its way");
    assert!(two.perform());
    assert_eq!(of_other.try_recv().unwrap().unwrap(), ["vcpu0.affinity of b: 0 -> 0-1"]);
    assert!(of_hung.try_recv().is_err(), "this one still has time");
}

#[test]
fn what_does_not_come_back_is_named_and_no_success() {
    let mut two = Pinned::new(2);
    two.hung();
    let mut all = two.restore(None);
    while two.perform() {}
    for _ in 0..10 {
        assert!(all.try_recv().is_err());
        two.hung();
    }
    two.hung();
    let text = unfinished(&mut all);
    let left = "2 of 4 knobs are not back yet; trimtabd goes on trying: vcpu0.affinity, vcpu1.affinity of a (does not answer)";
    assert_eq!(text, left);
    // They go back as soon as it answers; who asks again then is told so.
    two.rig.control.on_job(A, &Ok(false));
    two.tick();
    let mut again = two.restore(Some(A));
    while two.perform() {}
    assert_eq!(again.try_recv().unwrap().unwrap().len(), 2);
}

#[test]
fn while_knobs_come_back_there_is_patience_but_not_for_ever() {
    for (knobs, finished) in [(10, true), (20, false)] {
        let mut two = Pinned::new(knobs);
        let mut answer = two.restore(Some(B));
        for second in 1..=51 {
            two.tick();
            if second % 4 == 0 {
                assert!(two.perform() || finished);
            }
        }
        if finished {
            assert_eq!(answer.try_recv().unwrap().unwrap().len(), 10);
        } else {
            let text = unfinished(&mut answer);
            assert!(
                text.starts_with("8 of 20 knobs") && text.contains("vcpu19.affinity of b (under way"),
                "{text}"
            );
        }
    }
}
