//! The libvirt client against a stand-in for libvirt-dbus on a real bus: calls that are never answered, and floods of
//! signals. What libvirt itself does is tested on the real one (tests/tests/live_libvirt.rs).

use crate::bus::PrivateBus;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use trimtab_policy::knob::Knob;
use trimtab_policy::units::GuestId;
use trimtabd::libvirt::{Hypervisor, LibvirtConfig, LibvirtDbus, LibvirtError, LibvirtEvent};
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, Variant, interface};

/// Longer than anything that is not blocked takes, also on a loaded machine.
const IN_TIME: Duration = Duration::from_secs(20);
const ROOT: &str = "/org/libvirt/QEMU";
/// `VIR_DOMAIN_STATS_BLOCK`.
const BLOCK: u32 = 32;

/// Calls at the service, and those among them that are not answered.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    present: AtomicUsize,
    peak: AtomicUsize,
    blocked: AtomicUsize,
    /// Guests below this number hang.
    hung: AtomicUsize,
    /// Nothing at all is answered.
    stopped: AtomicBool,
    /// Nudges and probes that came in and are not answered, and the most of them.
    versions: AtomicUsize,
    most_versions: AtomicUsize,
    /// Hung guests that some statistics wait for.
    held: Mutex<BTreeSet<u8>>,
    go_on: Notify,
}

impl Desk {
    /// A call comes in; it leaves when the value is dropped.
    fn enter(self: &Arc<Self>) -> Visit {
        let now = self.present.fetch_add(1, SeqCst) + 1;
        self.peak.fetch_max(now, SeqCst);
        Visit(self.clone())
    }

    /// A call is worked on: not while everything stands still.
    async fn work(&self) {
        if self.stopped.load(SeqCst) {
            self.go_on.notified().await;
        }
    }

    /// Waits for ever if the guest hangs, or until that is mended.
    async fn monitor(&self, number: u8) {
        if usize::from(number) < self.hung.load(SeqCst) {
            self.blocked.fetch_add(1, SeqCst);
            self.go_on.notified().await;
            self.blocked.fetch_sub(1, SeqCst);
        }
    }

    /// Statistics of one guest as libvirt gives them with NOWAIT: whoever asks a hung guest first waits for it, and from then
    /// on the others pass it over.
    async fn stats(&self, number: u8, groups: u32) -> HashMap<String, OwnedVariant> {
        let mut stats = vec![("state.state", Variant::from(1))];
        if groups & BLOCK != 0 {
            stats.extend([("block.count", Variant::from(1)), ("block.0.name", Variant::from("vda"))]);
            if self.held.lock().unwrap().insert(number) {
                self.monitor(number).await;
                self.held.lock().unwrap().remove(&number);
                stats.push(("block.0.wr.reqs", Variant::from(5_u64)));
            }
        }
        stats.into_iter().map(|(key, value)| (key.to_owned(), value.try_into().unwrap())).collect()
    }

    /// Nobody hangs any more.
    fn mend(&self) {
        self.hung.store(0, SeqCst);
        self.stopped.store(false, SeqCst);
        self.go_on.notify_waiters();
    }
}

struct Visit(Arc<Desk>);

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.present.fetch_sub(1, SeqCst);
    }
}

struct Connect(Arc<Desk>);

#[interface(name = "org.libvirt.Connect")]
impl Connect {
    async fn list_domains(&self, _flags: u32) -> Vec<OwnedObjectPath> {
        let _visit = self.0.enter();
        self.0.work().await;
        (0..GUESTS).map(|n| path(n).try_into().unwrap()).collect()
    }
    async fn domain_lookup_by_name(&self, name: &str) -> OwnedObjectPath {
        let number = name.strip_prefix('g').unwrap().parse().unwrap();
        path(number).try_into().unwrap()
    }
    async fn get_all_domain_stats(
        &self,
        groups: u32,
        _flags: u32,
    ) -> Vec<(String, HashMap<String, OwnedVariant>)> {
        let _visit = self.0.enter();
        self.0.work().await;
        let mut all = Vec::new();
        for number in 0..GUESTS {
            all.push((format!("g{number}"), self.0.stats(number, groups).await));
        }
        all
    }
    #[zbus(property, name = "LibVersion")]
    async fn lib_version(&self) -> u64 {
        let _visit = self.0.enter();
        let out = self.0.versions.fetch_add(1, SeqCst) + 1;
        self.0.most_versions.fetch_max(out, SeqCst);
        self.0.work().await;
        self.0.versions.fetch_sub(1, SeqCst);
        9_000_000
    }
    #[zbus(signal)]
    async fn domain_event(
        emitter: &SignalEmitter<'_>,
        domain: OwnedObjectPath,
        event: i32,
        detail: i32,
    ) -> zbus::Result<()>;
}

struct Domain {
    desk: Arc<Desk>,
    number: u8,
}

impl Domain {
    async fn answer(&self) -> Visit {
        let visit = self.desk.enter();
        self.desk.work().await;
        self.desk.monitor(self.number).await;
        visit
    }
}

#[interface(name = "org.libvirt.Domain")]
impl Domain {
    #[zbus(property)]
    fn name(&self) -> String {
        format!("g{}", self.number)
    }
    async fn get_stats(&self, groups: u32, _flags: u32) -> HashMap<String, OwnedVariant> {
        let _visit = self.desk.enter();
        self.desk.work().await;
        self.desk.stats(self.number, groups).await
    }
    async fn get_job_info(&self) -> (i32, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64) {
        let _visit = self.answer().await;
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    }
    async fn get_vcpu_pin_info(&self, _flags: u32) -> Vec<Vec<bool>> {
        let _visit = self.answer().await;
        vec![vec![true, true]]
    }
    async fn get_emulator_pin_info(&self, _flags: u32) -> Vec<bool> {
        let _visit = self.answer().await;
        vec![true, false]
    }
    #[zbus(name = "GetIOThreadInfo")]
    async fn get_iothread_info(&self, _flags: u32) -> Vec<(u32, Vec<bool>)> {
        let _visit = self.answer().await;
        Vec::new()
    }
    async fn get_metadata(&self, _kind: i32, _uri: &str, _flags: u32) -> String {
        let _visit = self.answer().await;
        String::new()
    }
    async fn get_scheduler_parameters(&self, _flags: u32) -> HashMap<String, OwnedVariant> {
        let _visit = self.answer().await;
        HashMap::from([("cpu_shares".to_owned(), OwnedVariant::try_from(Variant::from(1024_u64)).unwrap())])
    }
    #[zbus(signal)]
    async fn tunable(
        emitter: &SignalEmitter<'_>,
        parameters: HashMap<String, OwnedVariant>,
    ) -> zbus::Result<()>;
}

/// Guests of the stand-in.
pub(crate) const GUESTS: u8 = 6;

fn path(number: u8) -> String {
    format!("{ROOT}/domain/_{}", id(number).to_string().replace('-', "_"))
}

fn id(number: u8) -> GuestId {
    GuestId([number + 1; 16])
}

/// libvirt-dbus, more or less, with the guests up to this number hung.
pub(crate) async fn stand_in(bus: &PrivateBus, hung: u8) -> (Connection, Arc<Desk>) {
    let desk = Arc::new(Desk { hung: usize::from(hung).into(), ..Desk::default() });
    let mut builder = bus.bus().builder().serve_at(ROOT, Connect(desk.clone()));
    for number in 0..GUESTS {
        let domain = Domain { desk: desk.clone(), number };
        builder = builder.serve_at(path(number), domain);
    }
    (builder.name("org.libvirt").build().await.unwrap(), desk)
}

async fn client(bus: &PrivateBus, max_in_flight: usize) -> Arc<LibvirtDbus> {
    let config = LibvirtConfig {
        bus: bus.bus(),
        read_timeout: Duration::from_secs(1),
        max_in_flight,
        ..LibvirtConfig::default()
    };
    let libvirt = Arc::new(LibvirtDbus::start(config));
    let connected = async { while libvirt.next_event().await != LibvirtEvent::Connected {} };
    tokio::time::timeout(IN_TIME, connected).await.expect("connected in time");
    libvirt
}

#[tokio::test]
async fn four_blocked_calls_do_not_stop_the_fifth() {
    let bus = PrivateBus::start();
    let (_service, desk) = stand_in(&bus, 4).await;
    let libvirt = client(&bus, 6).await;
    let blocked: Vec<_> = (0..4)
        .map(|number| {
            let libvirt = libvirt.clone();
            tokio::spawn(async move { libvirt.job_active(id(number)).await })
        })
        .collect();
    let four = async {
        while desk.blocked.load(SeqCst) < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(IN_TIME, four).await.expect("four calls out");
    // The fifth is answered while the four are out, and again once they have been given up.
    assert!(!libvirt.job_active(id(4)).await.unwrap());
    assert_eq!(desk.blocked.load(SeqCst), 4);
    for call in blocked {
        let given_up = tokio::time::timeout(IN_TIME, call).await.expect("no call without a limit").unwrap();
        assert!(matches!(given_up, Err(LibvirtError::Timeout { .. })), "{given_up:?}");
    }
    let knobs = libvirt.knobs(id(5)).await.unwrap();
    assert!(knobs.contains_key(&Knob::CpuShares) && knobs.contains_key(&Knob::VcpuAffinity(0)), "{knobs:?}");
    assert_eq!(desk.blocked.load(SeqCst), 4, "given up, but still out");
    // Who hangs is not even asked again.
    let refused = libvirt.job_active(id(0)).await;
    assert!(matches!(refused, Err(LibvirtError::BackedOff { .. })), "{refused:?}");
    desk.mend();
    let answers = async {
        while libvirt.job_active(id(0)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(IN_TIME, answers).await.expect("asked again once it has answered");
}

/// A tick of the loop: statistics of all, then two questions about each guest, two at once. Who answered both.
async fn tick(libvirt: &Arc<LibvirtDbus>) -> Vec<u8> {
    let stats = tokio::time::timeout(IN_TIME, libvirt.bulk_stats()).await.expect("no call without a limit");
    let stats = stats.expect("statistics whoever hangs");
    assert_eq!(stats.len(), usize::from(GUESTS));
    let mut answered = Vec::new();
    for number in 0..GUESTS {
        let both = async { tokio::join!(libvirt.job_active(id(number)), libvirt.metadata(id(number))) };
        let (job, metadata) = tokio::time::timeout(IN_TIME, both).await.expect("no call without a limit");
        if job.is_ok() && metadata.is_ok() {
            answered.push(number);
        }
    }
    answered
}

#[tokio::test]
async fn three_hung_guests_leave_the_others_their_calls() {
    let bus = PrivateBus::start();
    let (_service, desk) = stand_in(&bus, 0).await;
    let libvirt = client(&bus, 3).await;
    assert_eq!(tick(&libvirt).await, [0, 1, 2, 3, 4, 5]);
    // All at once: nobody can tell them from the others.
    desk.hung.store(3, SeqCst);
    let found = async { while tick(&libvirt).await != [3, 4, 5] {} };
    tokio::time::timeout(IN_TIME, found).await.expect("who answers is told from who hangs");
    for _ in 0..4 {
        assert_eq!(tick(&libvirt).await, [3, 4, 5]);
        assert!(libvirt.knobs(id(4)).await.unwrap().contains_key(&Knob::CpuShares));
    }
    assert!(desk.blocked.load(SeqCst) <= 3, "one call for each that hangs, not more");
    assert!(desk.peak.load(SeqCst) <= 5, "three, the reserve and a nudge");
    assert_eq!(desk.most_versions.load(SeqCst), 1, "a stuck call is followed by nudges, one at a time");
    desk.mend();
    let all = async { while tick(&libvirt).await.len() < usize::from(GUESTS) {} };
    tokio::time::timeout(IN_TIME, all).await.expect("asked again once they answer");
    let stats = libvirt.bulk_stats().await.unwrap();
    assert!(stats.iter().all(|guest| guest.blocks.is_some()), "{stats:?}");
}

#[tokio::test]
async fn never_more_calls_than_allowed_are_out() {
    let bus = PrivateBus::start();
    let (_service, desk) = stand_in(&bus, 0).await;
    let libvirt = client(&bus, 3).await;
    let calls: Vec<_> = (0..60)
        .map(|n| {
            let libvirt = libvirt.clone();
            tokio::spawn(async move { libvirt.job_active(id(n % GUESTS)).await })
        })
        .collect();
    for call in calls {
        assert!(!tokio::time::timeout(IN_TIME, call).await.unwrap().unwrap().unwrap());
    }
    let (peak, versions) = (desk.peak.load(SeqCst), desk.most_versions.load(SeqCst));
    assert!((1..=3 + versions).contains(&peak) && versions <= 1, "{peak} calls at once, {versions} nudges");
}

#[tokio::test]
async fn a_libvirt_that_stands_still_is_said_to_and_is_well_again_afterwards() {
    let bus = PrivateBus::start();
    let (_service, desk) = stand_in(&bus, 0).await;
    let libvirt = client(&bus, 3).await;
    assert_eq!(tick(&libvirt).await.len(), usize::from(GUESTS));
    desk.stopped.store(true, SeqCst);
    let asking = tokio::spawn({
        let libvirt = libvirt.clone();
        async move {
            // As the loop does: statistics every second, and questions about guests.
            for number in (0..GUESTS).cycle() {
                let _ = tokio::join!(libvirt.bulk_stats(), libvirt.job_active(id(number)));
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    });
    let event = tokio::time::timeout(IN_TIME, libvirt.next_event()).await.expect("said so");
    let LibvirtEvent::Disconnected(why) = event else { panic!("{event:?}") };
    assert_eq!(why, "libvirt does not answer: none of 4 calls has been answered");
    let (peak, versions) = (desk.peak.load(SeqCst), desk.most_versions.load(SeqCst));
    assert!(peak <= 5 && versions <= 2, "{peak} calls at once, {versions} of them nudges and probes");
    desk.mend();
    let again = async { while libvirt.next_event().await != LibvirtEvent::Connected {} };
    tokio::time::timeout(IN_TIME, again).await.expect("found again");
    asking.abort();
    let well = async { while tick(&libvirt).await.len() < usize::from(GUESTS) {} };
    tokio::time::timeout(IN_TIME, well).await.expect("every slot is there again");
}

#[tokio::test]
async fn a_flood_of_signals_blocks_nothing_and_is_one_event_each() {
    let bus = PrivateBus::start();
    let (service, _desk) = stand_in(&bus, 0).await;
    let libvirt = client(&bus, 3).await;
    // Nobody takes events off: far more than any queue holds.
    let flood = tokio::spawn({
        let service = service.clone();
        async move {
            for n in 0..20_000_u32 {
                let number = u8::try_from(n % 3).unwrap();
                let emitter = SignalEmitter::new(&service, path(number)).unwrap();
                Domain::tunable(&emitter, HashMap::new()).await.unwrap();
                let emitter = SignalEmitter::new(&service, ROOT).unwrap();
                Connect::domain_event(&emitter, path(number).try_into().unwrap(), 4, 0).await.unwrap();
            }
        }
    });
    let mut answered = 0;
    while !flood.is_finished() {
        let call = tokio::time::timeout(IN_TIME, libvirt.job_active(id(5)));
        assert!(!call.await.expect("a call is not held up").unwrap());
        answered += 1;
    }
    flood.await.unwrap();
    assert!(answered > 0);
    // A last one of another guest tells that all before it have arrived.
    let emitter = SignalEmitter::new(&service, path(4)).unwrap();
    Domain::tunable(&emitter, HashMap::new()).await.unwrap();
    let mut seen = Vec::new();
    let all = async {
        while !seen.contains(&LibvirtEvent::Tunable(id(4))) {
            seen.push(libvirt.next_event().await);
        }
    };
    tokio::time::timeout(IN_TIME, all).await.expect("the last event");
    assert!(seen.contains(&LibvirtEvent::Tunable(id(2))) && seen.contains(&LibvirtEvent::Lifecycle(id(0))));
    // Taken in one go after the flood: each guest and kind once, or twice if some came while the first were being taken.
    assert!(seen.len() <= 16, "{} events", seen.len());
    assert!(!libvirt.job_active(id(0)).await.unwrap());
}
