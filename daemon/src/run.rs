//! One closed set of events, one select loop, the only reader of the clock.
//!
//! Everything that may wait runs beside the loop and comes back as an event; the loop itself only computes. The service
//! manager's watchdog is fed when the engine has seen a sample, so a loop that spins without control is restarted too.
//! May not: decide anything, know what an answer means.

use crate::actuators::Actuator;
use crate::config::Config;
use crate::control_loop::guests::Ask;
use crate::control_loop::requests::Question;
use crate::control_loop::{ControlLoop, Work};
use crate::handle::{Note, Reply, Request, RequestError};
use crate::journal;
use crate::libvirt::{GuestRef, GuestStats, Hypervisor, LibvirtError, LibvirtEvent};
use crate::performer::{Batch, Performed};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use trimtab_policy::decision::{Decision, DecisionId};
use trimtab_policy::knob::{Knob, KnobValue};
use trimtab_policy::units::{GuestId, MonoNs, UnixMs};
use trimtab_store::{DecisionFilter, DecisionRow, NoteRow, Store, StoreError};

/// Statistics that come later than this part of the interval are not waited for.
const DEADLINE: f64 = 0.4;
/// At most so long a stop waits for the running trial to be undone: systemd's own patience is 90 s, an admin's is less.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// At start, at most this part of the interval goes by before the first tick while libvirt is asked which guests there are: an
/// observation without them would be worth nothing, and the next one would be a whole interval away.
const FIRST_TICK: f64 = 0.4;

/// Everything that can happen to the loop.
#[derive(Debug)]
enum Event {
    Tick,
    Deadline(u64),
    Stats(Result<Vec<GuestStats>, LibvirtError>),
    Guests(Result<Vec<GuestRef>, LibvirtError>),
    Knobs(GuestId, Result<BTreeMap<Knob, KnobValue>, LibvirtError>),
    Metadata(GuestId, Result<Option<String>, LibvirtError>),
    Job(GuestId, Result<bool, LibvirtError>),
    Libvirt(LibvirtEvent),
    Performed(Performed),
    ToRevert(Result<Decision, RequestError>, Reply<Vec<String>>),
    Request(Request),
    Hangup,
    Stop,
}

/// The clocks: monotonic for control, wall for humans.
#[derive(Debug)]
struct Clock {
    origin: Instant,
}

impl Clock {
    fn now(&self) -> MonoNs {
        MonoNs(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
    fn wall() -> UnixMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Reads the configuration again, or says what is wrong with it.
pub type ReloadFn = Box<dyn Fn() -> Result<Config, String> + Send>;

/// What the loop runs on.
pub struct Parts<H> {
    /// libvirt.
    pub hypervisor: Arc<H>,
    /// Reads every knob back, also those that libvirt does not have.
    pub actuator: Actuator<H>,
    /// The journal.
    pub store: Arc<Store>,
    /// To the performer.
    pub batches: mpsc::UnboundedSender<Batch>,
    /// From the performer.
    pub reports: mpsc::UnboundedReceiver<Performed>,
    /// From the API.
    pub requests: mpsc::Receiver<Request>,
    /// Reads the configuration again.
    pub reload: ReloadFn,
    /// Time between two ticks.
    pub interval: Duration,
}

/// Runs until SIGTERM or SIGINT. `ready` is called once, after the first observation.
///
/// # Errors
/// Only when signals cannot be handled; everything else is survived and said.
pub async fn run<H: Hypervisor>(mut control: ControlLoop, mut parts: Parts<H>) -> std::io::Result<()> {
    let clock = Clock { origin: Instant::now() };
    let (answers, mut answered) = mpsc::unbounded_channel();
    let mut signals = Signals::new()?;
    control.begin(Clock::wall(), parts.store.health().to_string());
    let first = tokio::time::Instant::now() + parts.interval.mul_f64(FIRST_TICK);
    let mut ticks = tokio::time::interval_at(first, parts.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut ready = false;
    loop {
        let event = next(&mut ticks, &mut parts, &mut answered, &mut signals).await;
        let (now, wall) = (clock.now(), Clock::wall());
        let work = match event {
            Event::Tick => {
                // With the time in front of it: `cargo xtask bench loop` measures the rhythm from these lines.
                tracing::trace!(target: "trimtabd::tick", tick = control.tick() + 1, "tick");
                let work = control.on_tick(now, wall, parts.store.health().to_string());
                arm_deadline(control.tick(), parts.interval, &answers);
                work
            }
            Event::Deadline(tick) => control.on_deadline(tick),
            Event::Stats(answer) => control.on_stats(now, answer),
            Event::Guests(answer) => {
                if control.tick() == 0 && answer.is_ok() {
                    ticks.reset_immediately();
                }
                control.on_guests(answer)
            }
            Event::Knobs(id, answer) => control.on_knobs(id, answer),
            Event::Metadata(id, answer) => control.on_metadata(id, answer),
            Event::Job(id, answer) => control.on_job(id, &answer),
            Event::Libvirt(event) => control.on_libvirt(event),
            Event::Performed(done) => control.on_performed(now, wall, &done),
            Event::ToRevert(decision, reply) => control.on_revert(now, wall, decision, reply),
            Event::Request(request) => control.on_request(now, wall, request),
            Event::Hangup => vec![Work::Reload(tokio::sync::oneshot::channel().0)],
            Event::Stop => return stop(control, parts, &clock).await,
        };
        for item in work {
            if let Work::Reload(reply) = item {
                reload(&mut control, &parts, &clock, reply);
                continue;
            }
            if matches!(item, Work::Alive) {
                tracing::trace!(target: "trimtabd::tick", tick = control.tick(), guests = control.guest_count(), "observed");
                ready |= tell_alive(ready);
            }
            start(item, &parts, &answers);
        }
    }
}

async fn next<H: Hypervisor>(
    ticks: &mut Interval,
    parts: &mut Parts<H>,
    answered: &mut mpsc::UnboundedReceiver<Event>,
    signals: &mut Signals,
) -> Event {
    tokio::select! {
        biased;
        _ = ticks.tick() => Event::Tick,
        _ = signals.terminate.recv() => Event::Stop,
        _ = signals.interrupt.recv() => Event::Stop,
        _ = signals.hangup.recv() => Event::Hangup,
        Some(event) = answered.recv() => event,
        Some(done) = parts.reports.recv() => Event::Performed(done),
        Some(request) = parts.requests.recv() => Event::Request(request),
        event = parts.hypervisor.next_event() => Event::Libvirt(event),
    }
}

#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

fn arm_deadline(tick: u64, interval: Duration, answers: &mpsc::UnboundedSender<Event>) {
    let answers = answers.clone();
    tokio::spawn(async move {
        tokio::time::sleep(interval.mul_f64(DEADLINE)).await;
        // The loop is gone only at the end of the process.
        let _ = answers.send(Event::Deadline(tick));
    });
}

/// Something that will be an event once it is known.
type Answer = Pin<Box<dyn Future<Output = Event> + Send>>;

/// Starts what may wait; its answer comes back as an event.
fn start<H: Hypervisor>(work: Work, parts: &Parts<H>, answers: &mpsc::UnboundedSender<Event>) {
    let h = parts.hypervisor.clone();
    let ask = |question: Answer| {
        let answers = answers.clone();
        tokio::spawn(async move { drop(answers.send(question.await)) });
    };
    match work {
        Work::ListGuests => ask(Box::pin(async move { Event::Guests(h.guests().await) })),
        Work::BulkStats => ask(Box::pin(async move { Event::Stats(h.bulk_stats().await) })),
        Work::AskGuest(id, name, Ask::Knobs) => {
            let actuator = parts.actuator.clone();
            ask(Box::pin(async move { Event::Knobs(id, actuator.knobs(id, &name).await) }));
        }
        Work::AskGuest(id, _, Ask::Metadata) => {
            ask(Box::pin(async move { Event::Metadata(id, h.metadata(id).await) }));
        }
        Work::AskGuest(id, _, Ask::Job) => {
            ask(Box::pin(async move { Event::Job(id, h.job_active(id).await) }));
        }
        Work::Perform(batch) => {
            if parts.batches.send(batch).is_err() {
                tracing::error!("the performer is gone: nothing more is turned");
            }
        }
        Work::AskJournal(question) => ask_journal(&parts.store, question, answers.clone()),
        // Handled by the loop itself, where its state is at hand.
        Work::Alive | Work::Reload(_) => {}
    }
}

/// Tells the service manager that a sample went through the engine; the first one makes the service ready.
fn tell_alive(ready: bool) -> bool {
    let mut states = vec![sd_notify::NotifyState::Watchdog];
    if !ready {
        states.push(sd_notify::NotifyState::Ready);
    }
    if let Err(error) = sd_notify::notify(&states) {
        tracing::debug!(%error, "service manager not told");
    }
    true
}

fn ask_journal(store: &Store, question: Question, answers: mpsc::UnboundedSender<Event>) {
    match question {
        Question::Decisions { guest, limit, at_hand, reply } => {
            let guest = guest.map(|g| g.to_string());
            let filter = DecisionFilter { guest, limit, ..DecisionFilter::default() };
            let done = move |rows: Result<Vec<DecisionRow>, StoreError>| {
                let answer = match rows {
                    Ok(rows) => rows.iter().map(read_row).collect(),
                    // What the daemon does now must be seen most of all when its journal is away; the status says why.
                    Err(error) => {
                        tracing::debug!(%error, "the newest decisions only");
                        Ok(at_hand)
                    }
                };
                drop(reply.send(answer));
            };
            store.read(move |reader| reader.decisions(&filter), done);
        }
        Question::Decision(id, reply) => ask_decision(store, id, move |decision| drop(reply.send(decision))),
        Question::Notes { guest, limit, reply } => {
            let guest = guest.map(|g| g.to_string());
            let note = |row: NoteRow| Note { time: UnixMs(row.time_ms), guest: row.guest, text: row.text };
            let done = move |rows: Result<Vec<NoteRow>, StoreError>| {
                let answer = rows.map(|rows| rows.into_iter().map(note).collect());
                drop(reply.send(answer.map_err(|error| RequestError::Failed(error.to_string()))));
            };
            store.read(move |reader| reader.notes(guest.as_deref(), limit), done);
        }
        Question::ToRevert(id, reply) => ask_decision(store, id, move |decision| {
            drop(answers.send(Event::ToRevert(decision, reply)));
        }),
    }
}

fn ask_decision(
    store: &Store,
    id: DecisionId,
    done: impl FnOnce(Result<Decision, RequestError>) + Send + 'static,
) {
    let answer = move |row: Result<Option<DecisionRow>, StoreError>| {
        let row = row.map_err(|error| RequestError::Failed(error.to_string()));
        let missing = || RequestError::NotFound(format!("there is no decision {id}"));
        done(row.and_then(|row| row.ok_or_else(missing)).and_then(|row| read_row(&row)));
    };
    store.read(move |reader| reader.decision(id), answer);
}

fn read_row(row: &DecisionRow) -> Result<Decision, RequestError> {
    journal::decision(row).map_err(|error| RequestError::Failed(error.to_string()))
}

/// Reads the configuration again. A bad one is refused and said, the old one stays.
fn reload<H>(control: &mut ControlLoop, parts: &Parts<H>, clock: &Clock, reply: Reply<()>) {
    let answer = match (parts.reload)() {
        Ok(config) => {
            tracing::info!("configuration read again");
            let toml = config.to_toml();
            send(control.reconfigure(clock.now(), Clock::wall(), config.policy, toml), parts);
            Ok(())
        }
        Err(error) => {
            tracing::error!(error, "configuration not taken over, the old one stays");
            Err(RequestError::InvalidArgs(error))
        }
    };
    drop(reply.send(answer));
}

/// A clean stop: guests run on as they are, only a change whose trial is not over is undone.
async fn stop<H>(mut control: ControlLoop, mut parts: Parts<H>, clock: &Clock) -> std::io::Result<()> {
    tracing::info!("stopping");
    drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
    send(control.on_stop(clock.now(), Clock::wall()), &parts);
    let undone = async {
        while control.is_busy() {
            let Some(done) = parts.reports.recv().await else { break };
            send(control.on_performed(clock.now(), Clock::wall(), &done), &parts);
        }
    };
    if tokio::time::timeout(STOP_PATIENCE, undone).await.is_err() {
        tracing::warn!("the running trial could not be undone in time; the next start closes it");
    }
    // Hanging up lets the performer write what it still holds.
    drop(parts.batches);
    while parts.reports.recv().await.is_some() {}
    Ok(())
}

/// Only the batches: whatever else the loop may want, it will not live to see the answer.
fn send<H>(work: Vec<Work>, parts: &Parts<H>) {
    for item in work {
        if let Work::Perform(batch) = item {
            drop(parts.batches.send(batch));
        }
    }
}
