//! What the tests, the demo and the benches stand on: a testbed of real libvirt hosts in namespaces.
//!
//! Live tests are in tests/live_*.rs and begin with [`live!`]: without root or a needed package they say why and pass,
//! unless `TRIMTAB_REQUIRE_LIVE=1` makes that a failure. May not: touch the machine's own libvirt, bus or guests.

pub mod testbed;

pub use testbed::{
    Accel, Daemon, Disk, Error, Guest, GuestRates, GuestSpec, GuestStats, Host, HostSpec, Init, Missing,
    Options, Place, Process, Result, Testbed,
};

/// A testbed for a live test, or `None` after saying on stderr why live tests cannot run here.
///
/// # Panics
/// When live tests cannot run and `TRIMTAB_REQUIRE_LIVE=1`; when they could run but the testbed does not start.
pub fn live(options: Options) -> Option<Testbed> {
    if let Err(missing) = Testbed::available() {
        let test = std::thread::current().name().unwrap_or("a live test").to_owned();
        assert!(
            std::env::var_os("TRIMTAB_REQUIRE_LIVE").is_none_or(|v| v != "1"),
            "{test} cannot run and TRIMTAB_REQUIRE_LIVE=1: {missing}"
        );
        // Not eprintln!: the harness would swallow it.
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {missing}");
        return None;
    }
    match Testbed::new(options) {
        Ok(testbed) => Some(testbed),
        Err(error) => panic!("the testbed did not start: {error}"),
    }
}

/// `let Some(tb) = live!(options) else { return };` at the start of every live test. See [`live()`]. With no argument: one
/// plain host.
#[macro_export]
macro_rules! live {
    () => {
        $crate::live($crate::Options::plain(1))
    };
    ($options:expr) => {
        $crate::live($options)
    };
}

/// Like [`live!`], but all tests of one binary share one testbed: `let Some(tb) = shared!(Options::plain(1)) else { return };`
/// gives `&'static Testbed`. It is taken down when the test binary ends. Each use in the source is a testbed of its own,
/// so put it into one function of the test file.
#[macro_export]
macro_rules! shared {
    ($options:expr) => {{
        static SHARED: std::sync::OnceLock<Option<$crate::Testbed>> = std::sync::OnceLock::new();
        SHARED.get_or_init(|| $crate::live($options)).as_ref()
    }};
}
