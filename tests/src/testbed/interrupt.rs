//! Ctrl-C and friends for programs (not tests): take every testbed down first, say so, then end as the signal would have.
//!
//! The keeper would do the same in the background; this waits for it, so that the shell's prompt comes when all is gone.

use super::keeper::Keeper;
use super::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A keeper that either its testbed or a signal takes down.
pub(crate) type Shared = Arc<Mutex<Option<Keeper>>>;

static ACTIVE: Mutex<Vec<Shared>> = Mutex::new(Vec::new());
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Registers the keeper of a new testbed.
pub(crate) fn register(keeper: Keeper) -> Shared {
    let shared = Arc::new(Mutex::new(Some(keeper)));
    let mut active = ACTIVE.lock().unwrap_or_else(PoisonError::into_inner);
    active.retain(|k| k.lock().unwrap_or_else(PoisonError::into_inner).is_some());
    active.push(shared.clone());
    shared
}

/// Takes the keeper's testbed down, once.
pub(crate) fn finish(keeper: &Shared) -> Result<()> {
    // The lock is held meanwhile: whoever else wants the testbed gone waits until it is.
    let mut keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
    keeper.take().map_or(Ok(()), Keeper::finish)
}

/// From now on SIGINT, SIGTERM and SIGHUP take all testbeds of this process down before they end it.
pub fn take_down_on_signals() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(Error::io("watch for signals"))?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            eprintln!("\ninterrupted: taking the host down");
            let active = std::mem::take(&mut *ACTIVE.lock().unwrap_or_else(PoisonError::into_inner));
            for keeper in active {
                if let Err(error) = finish(&keeper) {
                    eprintln!("{error}");
                }
            }
            // Ends the process; if even that fails, returning from main will.
            let _ = emulate_default_handler(signal);
        }
    });
    Ok(())
}

/// To be called before main returns: a scenario fails when its host is taken away, and that failure is not worth a message.
pub fn wait_if_interrupted() {
    if INTERRUPTED.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_secs(60));
    }
}
