//! What the tests, the demo and the benches stand on: a testbed of real libvirt hosts in namespaces.
//!
//! Live tests are in tests/live_*.rs and begin with [`live!`]: without root or a needed package they say why and pass,
//! unless `TRIMTAB_REQUIRE_LIVE=1` makes that a failure. May not: touch the machine's own libvirt, bus or guests.

pub mod scenario;
pub mod testbed;
pub mod trimtab;

pub use testbed::{
    Accel, Daemon, Disk, Error, Guest, GuestRates, GuestSpec, GuestStats, Host, HostSpec, Init, Missing,
    Options, Place, Process, Result, Testbed,
};

/// Whether live tests can run here; if not, says why on stderr. `place` is the path of a function inside the test, as
/// `std::any::type_name` gives it.
///
/// # Panics
/// When live tests cannot run and `TRIMTAB_REQUIRE_LIVE=1`.
pub fn can_run(place: &str) -> bool {
    let Err(missing) = Testbed::available() else { return true };
    // Threads have the test's name only when the harness runs several.
    let thread = std::thread::current().name().filter(|name| *name != "main").map(str::to_owned);
    let inner = place.rsplit("::").find(|part| !matches!(*part, "here" | "{{closure}}"));
    let test = thread.unwrap_or_else(|| inner.unwrap_or("a live test").to_owned());
    assert!(
        std::env::var_os("TRIMTAB_REQUIRE_LIVE").is_none_or(|v| v != "1"),
        "{test} cannot run and TRIMTAB_REQUIRE_LIVE=1: {missing}"
    );
    // Not eprintln!: the harness would swallow it.
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {missing}");
    false
}

/// A testbed for a live test, or `None` when live tests cannot run here. See [`can_run`].
///
/// # Panics
/// As [`can_run`]; and when live tests could run but the testbed does not start.
pub fn live(place: &str, options: Options) -> Option<Testbed> {
    can_run(place).then(|| match Testbed::new(options) {
        Ok(testbed) => testbed,
        Err(error) => panic!("the testbed did not start: {error}"),
    })
}

/// `let Some(tb) = live!(options) else { return };` at the start of every live test. See [`live()`]. With no argument: one
/// plain host.
#[macro_export]
macro_rules! live {
    () => {
        $crate::live!($crate::Options::plain(1))
    };
    ($options:expr) => {{
        fn here() {}
        $crate::live(std::any::type_name_of_val(&here), $options)
    }};
}

/// Like [`live!`], but all tests of one binary share one testbed: `let Some(tb) = shared!(Options::plain(1)) else { return };`
/// gives `&'static Testbed`. It is taken down when the test binary ends. Each use in the source is a testbed of its own,
/// so put it into one function of the test file.
#[macro_export]
macro_rules! shared {
    ($options:expr) => {{
        static SHARED: std::sync::OnceLock<Option<$crate::Testbed>> = std::sync::OnceLock::new();
        fn here() {}
        let place = std::any::type_name_of_val(&here);
        if $crate::can_run(place) {
            SHARED.get_or_init(|| $crate::live(place, $options)).as_ref()
        } else {
            None
        }
    }};
}
