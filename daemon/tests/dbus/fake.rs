//! A scripted control loop behind a `Handle`: two guests, three decisions, and every request noted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};
use trimtab_policy::decision::{Change, Decision, Mode, Original, Verdict};
use trimtab_policy::knob::{Family, Knob, KnobValue};
use trimtab_policy::model::{CpuLoad, CpuUse};
use trimtab_policy::rates::{GuestRates, HostRates, Pressure, Rates, RoleRates};
use trimtab_policy::sample::{GuestState, PerfEvents, ThreadRole};
use trimtab_policy::units::{GuestId, UnixMs};
use trimtabd::handle::{GuestView, Handle, Note, Request, RequestError, View};

/// The guest that writes.
pub(crate) const WRITER: &str = "11111111-2222-3333-4444-555555555555";
/// The guest that computes.
pub(crate) const BURNER: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
/// 2026-01-31T12:00:00Z.
pub(crate) const NOON: i64 = 1_769_860_800_000;

/// The loop: change the view as a tick would, look at what was asked.
pub(crate) struct FakeLoop {
    view: watch::Sender<Arc<View>>,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl FakeLoop {
    /// A loop that answers at once.
    pub(crate) fn start() -> (Self, Handle) {
        let (requests, receiver) = mpsc::channel(8);
        let (view, views) = watch::channel(Arc::new(first_view()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(answer(receiver, views.clone(), asked.clone()));
        (Self { view, asked, task }, Handle { requests, view: views })
    }

    /// One tick: the view as `change` leaves it, replaced whole.
    pub(crate) fn tick(&self, change: impl FnOnce(&mut View)) {
        let mut view = View::clone(&self.view.borrow());
        view.ticks += 1;
        view.time.0 += 1000;
        change(&mut view);
        self.view.send_replace(Arc::new(view));
    }

    /// What was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

impl Drop for FakeLoop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    mut requests: mpsc::Receiver<Request>,
    views: watch::Receiver<Arc<View>>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    while let Some(request) = requests.recv().await {
        let note = |text: String| asked.lock().unwrap().push(text);
        let decisions: Vec<Decision> = views.borrow().decisions.iter().map(|d| (**d).clone()).collect();
        // A requester that has gone away does not matter to the loop.
        match request {
            Request::SetMode(mode, reply) => {
                note(format!("set-mode {mode:?}"));
                let _ = reply.send(Ok(()));
            }
            Request::Pause(reply) => {
                note("pause".to_owned());
                let _ = reply.send(Ok(()));
            }
            Request::Resume(reply) => {
                note("resume".to_owned());
                let _ = reply.send(Ok(()));
            }
            Request::Reload(reply) => {
                note("reload".to_owned());
                let text = "trimtab.toml:3: mode: 'enforced' is not a mode".to_owned();
                let _ = reply.send(Err(RequestError::InvalidArgs(text)));
            }
            Request::Decisions { guest, limit, reply } => {
                note(format!("decisions {guest:?} {limit}"));
                let wanted = decisions.into_iter().filter(|d| guest.is_none_or(|g| d.guest == g));
                let _ = reply.send(Ok(wanted.take(limit as usize).collect()));
            }
            Request::Decision(id, reply) => {
                let found = decisions.into_iter().find(|d| d.id == id);
                let _ = reply.send(found.ok_or_else(|| RequestError::NotFound(format!("no decision {id}"))));
            }
            Request::Notes { guest, limit, reply } => {
                let wanted =
                    notes().into_iter().filter(|n| guest.is_none_or(|g| n.guest == Some(g.to_string())));
                let _ = reply.send(Ok(wanted.take(limit as usize).collect()));
            }
            Request::CpuUses(reply) => {
                let _ = reply.send(Ok(cpu_uses()));
            }
            Request::Revert(id, reply) => {
                note(format!("revert {id}"));
                let _ = reply.send(match id {
                    2 => Ok(vec!["burner cpu.shares: done".to_owned()]),
                    1 => Err(RequestError::Conflict("decision 1 was reverted already".to_owned())),
                    8 => Err(RequestError::Unfinished("1 of 2 knobs are not back yet".to_owned())),
                    9 => Err(RequestError::Failed("SetSchedulerParameters of burner: no answer".to_owned())),
                    _ => Err(RequestError::NotFound(format!("no decision {id}"))),
                });
            }
            Request::Restore(guest, reply) => {
                note(format!("restore {guest:?}"));
                let lines = vec!["writer emulator.affinity: done".to_owned()];
                let _ = reply.send(Ok(lines));
            }
        }
    }
}

/// The first CPU is crowded, and of the second nothing is known but that nobody wants it.
fn cpu_uses() -> Vec<CpuUse> {
    let of = |cpu, idle, guests: Vec<(GuestId, f64)>| CpuUse {
        load: CpuLoad { cpu, demand: guests.iter().map(|(_, demand)| demand).sum(), idle },
        guests,
    };
    vec![of(0, Some(0.012_3), vec![(id(BURNER), 1.25), (id(WRITER), 0.504)]), of(1, None, Vec::new())]
}

fn notes() -> Vec<Note> {
    let note = |minutes: i64, guest: Option<&str>, text: &str| Note {
        time: UnixMs(NOON - 60_000 * minutes),
        guest: guest.map(str::to_owned),
        text: text.to_owned(),
    };
    vec![
        note(
            1,
            Some(WRITER),
            "vcpu0.affinity of writer could not be put back to 0-1: no answer; tried again",
        ),
        note(2, None, "usable CPUs changed from 0-3 to 0-1"),
    ]
}

/// A guest's identity.
pub(crate) fn id(uuid: &str) -> GuestId {
    uuid.parse().unwrap()
}

fn cpus(list: &str) -> KnobValue {
    KnobValue::Cpus(list.parse().unwrap())
}

fn first_view() -> View {
    View {
        version: "0.1.0".to_owned(),
        ticks: 7,
        time: UnixMs(NOON),
        mode: Mode::Enforce,
        paused: false,
        libvirt: "connected".to_owned(),
        store: "ok".to_owned(),
        sensors: BTreeMap::from([
            ("perf".to_owned(), "software".to_owned()),
            ("psi".to_owned(), "host".to_owned()),
        ]),
        cpus: "0-1".to_owned(),
        host_busy: Some(0.875_04),
        host_pressure: None,
        rates: Arc::new(rates()),
        objective: Some(0.702),
        guests: BTreeMap::from([(id(WRITER), writer()), (id(BURNER), burner())]),
        decisions: [pending(), kept(), reverted()].map(Arc::new).into(),
        policy_toml: "mode = \"enforce\"\n".to_owned(),
    }
}

/// What was sensed of the host and of the writer; of the burner nothing.
fn rates() -> Rates {
    let role = |role, run, wait, last_cpu| RoleRates { role, run, wait, slices_per_s: Some(250.0), last_cpu };
    let writer = GuestRates {
        roles: vec![
            role(ThreadRole::Vcpu(0), 0.21, 0.1, Some(1)),
            role(ThreadRole::Emulator, 0.1, 0.125, Some(0)),
            role(ThreadRole::Iothread(1), 0.0, 0.0, None),
        ],
        perf: PerfEvents {
            instructions: Some(1.25e9),
            context_switches: Some(812.5),
            ..PerfEvents::default()
        },
        storage_bps: Some((0.0, 123_456_789.0)),
        balloon_kib: Some(524_288),
        pressure: Pressure { cpu: Some(0.25), ..Pressure::default() },
        ..GuestRates::default()
    };
    Rates {
        host: HostRates {
            cpus: BTreeMap::from([(0, 1.0), (1, 0.75)]),
            pressure: Pressure { io: Some(0.031), ..Pressure::default() },
            memory_kib: Some((16 << 20, 10 << 20)),
            ..HostRates::default()
        },
        guests: BTreeMap::from([(id(WRITER), writer)]),
        ..Rates::default()
    }
}

/// The writer as first seen.
pub(crate) fn writer() -> GuestView {
    GuestView {
        name: "writer".to_owned(),
        state: GuestState::Running,
        pid: Some(4711),
        vcpus: Some(1),
        weight: 2048,
        job: Some("lammps".to_owned()),
        cpu_cores: Some(0.31),
        run_delay: Some(0.4201),
        write_bps: Some(123_456_789.4),
        read_bps: Some(0.0),
        speed: Some(0.55),
        bottleneck: "io-service".to_owned(),
        profile: "w1-io".to_owned(),
        left_alone: None,
        knobs: Arc::new(BTreeMap::from([
            ("emulator.affinity".to_owned(), "0".to_owned()),
            ("iothread1.affinity".to_owned(), "0-1".to_owned()),
            ("vcpu0.affinity".to_owned(), "1".to_owned()),
        ])),
        originals: vec![
            original(Knob::EmulatorAffinity, "0", None),
            original(Knob::VcpuAffinity(0), "1", Some("0-1")),
        ],
    }
}

/// Of the writer; every knob was at 0-1.
fn original(knob: Knob, ours: &str, back_to: Option<&str>) -> Arc<Original> {
    Arc::new(Original {
        guest: id(WRITER),
        guest_name: "writer".to_owned(),
        pid: Some(4711),
        knob,
        value: cpus("0-1"),
        ours: cpus(ours),
        back_to: back_to.map(cpus),
    })
}

/// The burner as first seen: libvirt has told neither pid nor vCPUs, nothing is measured yet.
pub(crate) fn burner() -> GuestView {
    GuestView {
        name: "burner".to_owned(),
        state: GuestState::Paused,
        weight: 1024,
        bottleneck: "none".to_owned(),
        profile: "idle".to_owned(),
        left_alone: Some("paused".to_owned()),
        ..GuestView::default()
    }
}

fn decision(number: u64) -> Decision {
    Decision {
        id: number,
        time: UnixMs(NOON - 60_000 * (4 - i64::try_from(number).unwrap())),
        guest: id(WRITER),
        guest_name: "writer".to_owned(),
        knob: Family::Placement,
        changes: vec![Change {
            guest: id(WRITER),
            guest_name: "writer".to_owned(),
            knob: Knob::EmulatorAffinity,
            from: cpus("0-1"),
            to: cpus("0"),
        }],
        why: "The emulator thread of writer waits 42 % of its time for a CPU while burner computes on both."
            .to_owned(),
        profile: "w1-io".to_owned(),
        recipe: "isolate-io".to_owned(),
        expected: 0.12,
        before: Some(0.621),
        after: None,
        verdict: Verdict::Pending,
        outcome: String::new(),
        closed: None,
    }
}

fn pending() -> Decision {
    let mut decision = decision(3);
    decision.changes.push(Change {
        guest: id(BURNER),
        guest_name: "burner".to_owned(),
        knob: Knob::VcpuAffinity(0),
        from: cpus("0-1"),
        to: cpus("1"),
    });
    decision
}

fn kept() -> Decision {
    Decision {
        guest: id(BURNER),
        guest_name: "burner".to_owned(),
        knob: Family::Priority,
        changes: vec![Change {
            guest: id(BURNER),
            guest_name: "burner".to_owned(),
            knob: Knob::CpuShares,
            from: KnobValue::Shares(1024),
            to: KnobValue::Shares(512),
        }],
        after: Some(0.702),
        verdict: Verdict::Kept,
        outcome: "The gain is well above the noise.".to_owned(),
        closed: Some(UnixMs(NOON - 100_000)),
        ..decision(2)
    }
}

fn reverted() -> Decision {
    Decision {
        before: Some(0.64),
        after: Some(0.61),
        verdict: Verdict::Reverted,
        outcome: "It did not help.".to_owned(),
        closed: Some(UnixMs(NOON - 150_000)),
        ..decision(1)
    }
}
