//! Properties that hold for every input: no panic on arbitrary sample streams, no proposal that breaks a floor in the model
//! or touches what is frozen, texts that survive a round trip.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use trimtab_policy::config::{ArbiterConfig, PolicyConfig};
use trimtab_policy::control::{State, Subject, propose};
use trimtab_policy::decision::{Effect, Mode, Outcome};
use trimtab_policy::engine::{Engine, Start};
use trimtab_policy::identify::features::{Features, RoleLoad};
use trimtab_policy::identify::{Finding, Role};
use trimtab_policy::knob::{Family, Knob, KnobValue, PriorityDomain};
use trimtab_policy::knowledge::Knowledge;
use trimtab_policy::objective::{Party, score};
use trimtab_policy::sample::*;
use trimtab_policy::topology::{Cpu, CpuSet, Topology};
use trimtab_policy::units::{GuestId, MonoNs, UnixMs};

fn cpu_set() -> impl Strategy<Value = CpuSet> {
    proptest::collection::btree_set(0..200u32, 0..40).prop_map(|cpus| cpus.into_iter().collect())
}

fn knob() -> impl Strategy<Value = Knob> {
    prop_oneof![
        any::<u32>().prop_map(Knob::VcpuAffinity),
        Just(Knob::EmulatorAffinity),
        any::<u32>().prop_map(Knob::IothreadAffinity),
        Just(Knob::CpuShares),
        Just(Knob::CpuNice),
    ]
}

fn domain() -> impl Strategy<Value = PriorityDomain> {
    prop_oneof![
        Just(PriorityDomain::CgroupV1),
        Just(PriorityDomain::CgroupV2),
        Just(PriorityDomain::Nice),
        Just(PriorityDomain::None)
    ]
}

fn counter() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![3 => (0..20_000_000_000u64).prop_map(Some), 1 => Just(None), 1 => any::<u64>().prop_map(Some)]
}

fn thread() -> impl Strategy<Value = ThreadSample> {
    let role = prop_oneof![
        (0..3u32).prop_map(ThreadRole::Vcpu),
        Just(ThreadRole::Emulator),
        Just(ThreadRole::Iothread(1)),
        Just(ThreadRole::Vhost)
    ];
    let perf = proptest::option::of(
        any::<f64>().prop_map(|x| PerfEvents { instructions: Some(x), ..PerfEvents::default() }),
    );
    (0..8i32, role, counter(), counter(), counter(), perf).prop_map(
        |(tid, role, run_ns, wait_ns, slices, perf)| ThreadSample {
            tid,
            role,
            run_ns,
            wait_ns,
            slices,
            blkio_ns: None,
            last_cpu: None,
            read_bytes: None,
            write_bytes: None,
            perf,
        },
    )
}

fn value(knob: Knob) -> BoxedStrategy<KnobValue> {
    match knob.family() {
        Family::Placement => cpu_set().prop_map(KnobValue::Cpus).boxed(),
        Family::Priority if knob == Knob::CpuNice => (-20..=19).prop_map(KnobValue::Nice).boxed(),
        Family::Priority => any::<u64>().prop_map(KnobValue::Shares).boxed(),
    }
}

fn knobs() -> impl Strategy<Value = BTreeMap<Knob, KnobValue>> {
    let knobs = [
        Knob::VcpuAffinity(0),
        Knob::VcpuAffinity(1),
        Knob::EmulatorAffinity,
        Knob::IothreadAffinity(1),
        Knob::CpuShares,
        Knob::CpuNice,
    ];
    let values = knobs.map(|k| proptest::option::of(value(k)));
    values.prop_map(move |v| knobs.into_iter().zip(v).filter_map(|(k, v)| Some((k, v?))).collect())
}

fn guest() -> impl Strategy<Value = GuestSample> {
    let state = prop_oneof![4 => Just(GuestState::Running), 1 => Just(GuestState::Paused), 1 => Just(GuestState::Other)];
    let block = (counter(), counter(), counter()).prop_map(|(wr_bytes, wr_reqs, wr_time_ns)| BlockSample {
        name: "vda".to_owned(),
        wr_bytes,
        wr_reqs,
        wr_time_ns,
        ..BlockSample::default()
    });
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (
        state,
        proptest::option::of(0..3i32),
        proptest::option::of(0..5u32),
        any::<u32>(),
        proptest::collection::vec(thread(), 0..6),
        proptest::collection::vec(block, 0..2),
        flags,
        proptest::option::of(knobs()),
    )
        .prop_map(
            |(state, pid, vcpus, weight, mut threads, blocks, (fresh, job_active, unresponsive), knobs)| {
                threads.sort_by_key(|t| t.tid);
                GuestSample {
                    name: "g".to_owned(),
                    state,
                    pid,
                    meta: Arc::new(GuestMeta { weight, ..GuestMeta::default() }),
                    vcpus,
                    threads,
                    blocks,
                    stats_at: fresh.then_some(MonoNs(0)),
                    job_active: job_active && unresponsive,
                    unresponsive,
                    knobs,
                    ..GuestSample::default()
                }
            },
        )
}

fn sample() -> impl Strategy<Value = (u64, Sample)> {
    let times = (counter(), counter()).prop_map(|(user, idle)| CpuTimes {
        user_ns: user.unwrap_or(0),
        idle_ns: idle.unwrap_or(0),
        ..CpuTimes::default()
    });
    let guests = proptest::collection::btree_map((0..4u8).prop_map(|n| GuestId([n; 16])), guest(), 0..4);
    (
        prop_oneof![6 => Just(1_000u64), 1 => Just(0), 1 => Just(9_000), 1 => Just(400)],
        0..5u32,
        domain(),
        proptest::collection::btree_map(0..5u32, times, 0..5),
        guests,
        any::<i64>(),
    )
        .prop_map(|(step_ms, cpus, priority, times, guests, wall)| {
            let host = HostSample {
                topology: Arc::new(Topology::flat(cpus)),
                priority,
                cpus: times,
                ..HostSample::default()
            };
            (step_ms, Sample { at: MonoNs(0), wall: UnixMs(wall), host, guests })
        })
}

/// Puts a sample at its time, its statistics included.
fn set_time(sample: &mut Sample, at: MonoNs) {
    sample.at = at;
    for stats_at in sample.guests.values_mut().filter_map(|g| g.stats_at.as_mut()) {
        *stats_at = at;
    }
}

/// A host of cores with two threads each in two LLCs, with guests of any load and any knobs.
fn state() -> impl Strategy<Value = State> {
    let load = (0.0..1.0f64, 0.0..1.0f64);
    let subject = (
        prop_oneof![2 => Just(Role::Cpu), 2 => Just(Role::Io), 1 => Just(Role::Idle), 1 => Just(Role::Unknown), 1 => Just(Role::Mixed)],
        prop_oneof![Just(1024u32), Just(2048), Just(100)],
        proptest::collection::vec(load, 1..4),
        (0.0..0.5f64, 0.0..0.9f64),
        knobs(),
        (any::<bool>(), 0..6u8),
    );
    (1..6u32, domain(), proptest::collection::vec(subject, 1..6)).prop_map(|(cores, domain, guests)| {
        let cpus = (0..2 * cores)
            .map(|cpu| Cpu { cpu, core: cpu / 2, llc: cpu / 4, package: 0, node: cpu / 8 })
            .collect();
        let topology = Arc::new(Topology { cpus, nodes: Vec::new() });
        let config = PolicyConfig::default();
        let all = topology.cpus.len();
        let subjects: BTreeMap<GuestId, Subject> = guests
            .into_iter()
            .enumerate()
            .map(|(n, (role, weight, vcpus, service, mut knobs, (held, frozen)))| {
                let id = GuestId([n as u8 + 1; 16]);
                let loads = vcpus.iter().map(|&(run, wait)| (run, wait.min(1.0 - run)));
                let mut roles: Vec<RoleLoad> = loads
                    .enumerate()
                    .map(|(v, (run, wait))| RoleLoad { role: ThreadRole::Vcpu(v as u32), run, wait })
                    .collect();
                roles.push(RoleLoad { role: ThreadRole::Emulator, run: service.0, wait: service.1 });
                let features = Features {
                    points: 5,
                    run: roles.iter().map(|r| r.run).sum(),
                    wait: roles.iter().map(|r| r.wait).sum(),
                    roles,
                    disk_bps: Some(if role == Role::Io { 1e8 } else { 0.0 }),
                    ops_per_s: Some(0.0),
                    in_flight: None,
                };
                let found = Finding::of(features, role, all, |_| 0.0, &config.identify);
                knobs.entry(Knob::EmulatorAffinity).or_insert(KnobValue::Cpus(topology.cpu_set()));
                let originals = if held { knobs.clone() } else { BTreeMap::new() };
                let frozen = match frozen {
                    0 => [(Family::Placement, "x".to_owned())].into(),
                    1 => [(Family::Priority, "x".to_owned())].into(),
                    _ => BTreeMap::new(),
                };
                let vcpus = Some(vcpus.len() as u32);
                (id, Subject { id, name: format!("g{n}"), weight, vcpus, found, knobs, originals, frozen })
            })
            .collect();
        let parties = subjects
            .values()
            .filter_map(|s| {
                let (name, run, wait) = (s.name.clone(), s.found.features.run, s.found.features.wait);
                Some(Party { guest: s.id, name, weight: s.weight, speed: s.found.speed?, run, wait })
            })
            .collect();
        let score = score(parties, all as f64, config.arbiter.floor_pct);
        let busy = BTreeMap::from([(0, 0.5)]);
        State {
            topology,
            domain,
            subjects,
            busy,
            capacity: all as f64,
            score,
            profile: "p".to_owned(),
            config,
        }
    })
}

proptest! {
    #[test]
    fn cpu_lists_survive_a_round_trip(set in cpu_set()) {
        prop_assert_eq!(set.to_string().parse::<CpuSet>().unwrap(), set);
    }

    #[test]
    fn cpu_lists_never_panic(text in "[0-9,\\- ]{0,20}") {
        let _ = text.parse::<CpuSet>();
    }

    #[test]
    fn knob_names_survive_a_round_trip(knob in knob()) {
        prop_assert_eq!(knob.to_string().parse::<Knob>().unwrap(), knob);
    }

    #[test]
    fn arbitrary_samples_never_break_the_engine(
        samples in proptest::collection::vec(sample(), 1..40),
        refuse in any::<bool>(),
    ) {
        let config = PolicyConfig { mode: Mode::Enforce, ..PolicyConfig::default() };
        let mut engine = Engine::new(Start { config: config.clone(), next_decision: 1, ..Start::default() });
        let mut twin = Engine::new(Start { config, next_decision: 1, ..Start::default() });
        let mut at = MonoNs(1);
        let mut stored = BTreeSet::new();
        for (step_ms, mut sample) in samples {
            at = MonoNs(at.0 + step_ms * 1_000_000);
            set_time(&mut sample, at);
            let off_limits: BTreeSet<GuestId> =
                sample.guests.iter().filter(|(_, g)| g.unresponsive || g.job_active).map(|(id, _)| *id).collect();
            let tick = engine.observe(sample.clone());
            prop_assert_eq!(&tick.effects, &twin.observe(sample).effects, "replay differs");
            let mut queue: Vec<Effect> = tick.effects;
            while !queue.is_empty() {
                match queue.remove(0) {
                    Effect::SaveOriginal(o) => drop(stored.insert((o.guest, o.knob))),
                    Effect::ForgetOriginal { guest, knob } => drop(stored.remove(&(guest, knob))),
                    Effect::Apply { decision, change } => {
                        prop_assert!(stored.contains(&(change.guest, change.knob)), "{:?} without an original", change);
                        prop_assert!(!off_limits.contains(&change.guest), "{:?} is off limits", change);
                        let outcome = if refuse { Outcome::Refused("no".to_owned()) } else { Outcome::Done };
                        let more = engine.applied(at, UnixMs(0), decision, &change, &outcome);
                        prop_assert_eq!(&more, &twin.applied(at, UnixMs(0), decision, &change, &outcome));
                        queue.extend(more);
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn plans_are_legal_and_undo_exactly(state in state()) {
        let usable = state.cpus();
        for p in propose(&state) {
            prop_assert!(!p.plan.changes.is_empty() && p.expected.is_finite() && !p.why.is_empty());
            let mut seen = BTreeSet::new();
            for c in &p.plan.changes {
                let subject = &state.subjects[&c.guest];
                prop_assert!(subject.may_turn(p.plan.family) && c.knob.family() == p.plan.family, "{:?}", c);
                prop_assert_eq!(subject.knobs.get(&c.knob), Some(&c.from), "starts from what is");
                prop_assert!(c.from != c.to && seen.insert((c.guest, c.knob)));
                let original = subject.original(c.knob).unwrap();
                match (&c.to, original) {
                    (KnobValue::Cpus(to), KnobValue::Cpus(bound)) => {
                        prop_assert!(p.plan.undoes || to == bound || (!to.is_empty() && to.minus(bound).is_empty()));
                        prop_assert!(p.plan.undoes || to == bound || to.minus(&usable).is_empty());
                    }
                    (KnobValue::Shares(s), _) if !p.plan.undoes => prop_assert!((1..=262_144).contains(s)),
                    (KnobValue::Nice(n), KnobValue::Nice(o)) => prop_assert!((*o..=19).contains(n)),
                    _ => prop_assert!(p.plan.undoes),
                }
            }
        }
    }

    #[test]
    fn no_proposal_breaks_a_floor_in_the_model(state in state()) {
        for p in propose(&state) {
            for then in &p.prediction.score.terms {
                let now = state.score.terms.iter().find(|t| t.party.guest == then.party.guest).unwrap();
                // Who is below already may stay there, but no more than rounding deeper.
                let bound = then.floor.min(then.floor - (now.floor - now.party.run)) - 0.01 * then.floor;
                let (name, run) = (&then.party.name, then.party.run);
                prop_assert!(run >= bound - 1e-9, "{name} with {run} below {bound}: {}\n{}", p.why, state.score);
            }
        }
    }

    #[test]
    fn a_recipe_that_does_nothing_is_tried_ever_more_rarely(
        predicted in 0.03..0.6f64,
        error in 0.002..0.2f64,
        noise in proptest::collection::vec(-2.0..2.0f64, 40),
    ) {
        let config = ArbiterConfig::default();
        let (mut k, mut tried) = (Knowledge::default(), Vec::new());
        for minute in 0..24 * 60u64 {
            let now = (MonoNs(minute * 60_000_000_000), UnixMs(minute as i64 * 60_000));
            if k.rests("p", "r", now.0).is_none() && k.rank("p", "r", predicted, now.0) >= config.min_gain_pct / 100.0 {
                let gain = error * noise.get(tried.len()).copied().unwrap_or(0.0);
                k.learn("p", "r", false, Some((gain, error)), now, &config);
                tried.push(minute);
            }
        }
        let before = |end: u64| tried.iter().filter(|&&minute| minute < end).count();
        prop_assert!(before(10) <= 4 && before(60) <= 6 && before(24 * 60) <= 30, "{:?}", tried);
    }

    #[test]
    fn no_slight_loss_speaks_for_ever(
        predicted in 0.05..0.6f64,
        gain in -0.02..0.03f64,
        error in 0.0..0.3f64,
    ) {
        let config = ArbiterConfig::default();
        let mut k = Knowledge::default();
        k.learn("p", "r", false, Some((gain, error)), (MonoNs(0), UnixMs(0)), &config);
        let later = MonoNs(3 * 3_600_000_000_000);
        prop_assert!(k.rests("p", "r", later).is_none() && k.rank("p", "r", predicted, later) >= 0.03);
    }

    #[test]
    fn predictions_stay_within_what_exists(state in state()) {
        for p in propose(&state) {
            for t in &p.prediction.score.terms {
                prop_assert!((0.0..=1.0).contains(&t.party.speed) && t.party.run.is_finite() && t.party.run >= 0.0);
            }
        }
    }
}
