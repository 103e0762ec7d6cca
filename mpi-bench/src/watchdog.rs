//! No rank hangs: deadlines per phase, signals, panics. What files a rank leaves behind is the janitor's.
//!
//! Two sleeping threads: one waits for signals, one for the deadline of the current phase. Both end the process without
//! MPI_Finalize (a hung rank could not take part in it); the launcher then ends the others, whose own watchdogs fire too.

use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Exit, Result};
use crate::mpi_raw;

/// What is running, and until when.
#[derive(Debug)]
struct Phase {
    what: String,
    deadline: Option<Instant>,
}

struct Shared {
    phase: Mutex<Phase>,
    changed: Condvar,
    /// Set once everything is said: a signal after that (launchers send them when the first rank ends) is not news.
    finished: Mutex<Option<Exit>>,
}

static SHARED: OnceLock<Shared> = OnceLock::new();

fn shared() -> &'static Shared {
    SHARED.get_or_init(|| Shared {
        phase: Mutex::new(Phase { what: "starting".to_owned(), deadline: None }),
        changed: Condvar::new(),
        finished: Mutex::new(None),
    })
}

/// Usable after a panic elsewhere: what these guard is only ever replaced as a whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts both threads and the panic hook. Call once, before MPI starts its own threads, so that those inherit the mask.
///
/// # Errors
/// The system refuses a thread.
pub fn start(rank: i32) -> Result<()> {
    let signals = block_signals();
    let refused = |e| Error::Environment(format!("cannot start the watchdog: {e}"));
    let thread = || std::thread::Builder::new().stack_size(128 << 10);
    thread().name("signals".to_owned()).spawn(move || wait_for_signal(rank, &signals)).map_err(refused)?;
    thread().name("watchdog".to_owned()).spawn(move || wait_for_deadline(rank)).map_err(refused)?;
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        mpi_raw::abort_job(Exit::Environment as u8);
    }));
    Ok(())
}

/// Names the phase that begins and gives it `limit` of time from now (`None`: no limit).
pub fn phase(what: &str, limit: Option<Duration>) {
    let s = shared();
    *lock(&s.phase) = Phase { what: what.to_owned(), deadline: limit.map(|l| Instant::now() + l) };
    s.changed.notify_one();
}

/// Everything is printed and written: from now on a signal or the end of a deadline ends the process with `exit`, silently.
pub fn finished(exit: Exit, limit: Option<Duration>) {
    *lock(&shared().finished) = Some(exit);
    phase("the end of MPI", limit);
}

fn wait_for_deadline(rank: i32) {
    let s = shared();
    let mut phase = lock(&s.phase);
    loop {
        let Some(deadline) = phase.deadline else {
            phase = s.changed.wait(phase).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            end(rank, &format!("no end of {} within --timeout; every rank is stopped", phase.what));
        }
        phase = s.changed.wait_timeout(phase, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn block_signals() -> libc::sigset_t {
    // SAFETY: sigset_t is plain data that sigemptyset initialises; the calls only read and write it and the thread's mask.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        set
    }
}

fn wait_for_signal(rank: i32, set: &libc::sigset_t) {
    let mut signal = 0;
    // SAFETY: set is initialised, signal is a valid place for the answer.
    let failed = unsafe { libc::sigwait(set, &raw mut signal) };
    if failed == 0 {
        let what = lock(&shared().phase).what.clone();
        end(rank, &format!("stopped by signal {signal} during {what}"));
    }
}

/// Says why on rank 0, ends the process.
fn end(rank: i32, why: &str) -> ! {
    if let Some(exit) = *lock(&shared().finished) {
        // SAFETY: as below.
        unsafe { libc::_exit(exit as i32) }
    }
    if rank == 0 {
        eprintln!("trimtab-bench: {why}");
    } else {
        // Launchers kill the job when the first rank ends: leave rank 0 the time to speak.
        std::thread::sleep(Duration::from_millis(300));
    }
    // SAFETY: ends the process without destructors, which is the point: the main thread may be stuck inside MPI.
    unsafe { libc::_exit(Exit::Environment as i32) }
}
