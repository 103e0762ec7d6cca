//! Running other programs: captured (quiet until they fail), shown, or in place of this one.
//!
//! A program that is shown gets this program's signals, and this program outlives it: what has to be put back is put
//! back. May not: interpret what a program prints.

use anyhow::{Context, Result, bail};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// What a captured program said.
pub(crate) struct Captured {
    /// It exited with 0.
    pub(crate) ok: bool,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

/// The command line as a person would type it, for messages.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Run to the end with both streams captured and no standard input.
pub(crate) fn capture(command: &mut Command) -> Result<Captured> {
    let text = line(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().with_context(|| format!("cannot run {text}"))?;
    watch(child.id());
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {text}"));
    unwatch();
    let output = output?;
    Ok(Captured {
        ok: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Standard output of a program that has to succeed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let text = line(command);
    let captured = capture(command)?;
    if !captured.ok {
        bail!("{text} failed: {}", captured.err.trim());
    }
    Ok(captured.out)
}

/// Run to the end with the streams shared; a signal to us is passed on to it and does not end us before it.
pub(crate) fn shown(command: &mut Command) -> Result<ExitStatus> {
    let text = line(command);
    let _guard = SignalGuard::take();
    let mut child = command.spawn().with_context(|| format!("cannot run {text}"))?;
    watch(child.id());
    let status = child.wait().with_context(|| format!("cannot wait for {text}"));
    unwatch();
    status
}

/// As [`shown`], and an error unless it succeeds.
pub(crate) fn shown_ok(command: &mut Command) -> Result<()> {
    let status = shown(command)?;
    if !status.success() {
        bail!("{} failed ({status})", line(command));
    }
    Ok(())
}

/// Become that program: it has our pid, terminal and signals. Returns only when it cannot be started.
pub(crate) fn become_program(command: &mut Command) -> anyhow::Error {
    let text = line(command);
    anyhow::Error::new(command.exec()).context(format!("cannot run {text}"))
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

static CHILD: AtomicI32 = AtomicI32::new(0);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// A signal to pass on that came when there was no child yet.
static PENDING: AtomicI32 = AtomicI32::new(0);

/// While it lives, SIGINT, SIGTERM and SIGHUP are remembered and passed on instead of ending this program.
pub(crate) struct SignalGuard {
    before: Vec<(i32, libc::sigaction)>,
}

extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    INTERRUPTED.store(true, Ordering::SeqCst);
    let child = CHILD.load(Ordering::SeqCst);
    // A signal typed at the terminal reaches the child by itself (si_code > 0, from the kernel): twice would be a
    // second Ctrl-C. One sent with kill reaches only us.
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo_t.
    let sent = unsafe { (*info).si_code } <= 0;
    if child == 0 && sent {
        PENDING.store(signal, Ordering::SeqCst);
    } else if sent {
        // SAFETY: kill is async-signal-safe; CHILD is a child of ours that has not been waited for.
        unsafe { libc::kill(child, signal) };
    }
}

/// Pass signals on to this child from now on, while a [`SignalGuard`] lives.
fn watch(pid: u32) {
    let pid = i32::try_from(pid).unwrap_or(0);
    CHILD.store(pid, Ordering::SeqCst);
    let pending = PENDING.swap(0, Ordering::SeqCst);
    if pending != 0 && pid > 0 {
        // SAFETY: kill has no memory preconditions; `pid` is a child of ours that has not been waited for.
        unsafe { libc::kill(pid, pending) };
    }
}

fn unwatch() {
    CHILD.store(0, Ordering::SeqCst);
}

impl SignalGuard {
    /// Take the signals over until dropped.
    pub(crate) fn take() -> SignalGuard {
        let mut before = Vec::new();
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: both structures are plain data and fully initialised; the handler only does async-signal-safe work.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                let mut old: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction =
                    on_signal as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
                if libc::sigaction(signal, &raw const action, &raw mut old) == 0 {
                    before.push((signal, old));
                }
            }
        }
        SignalGuard { before }
    }

    /// An error once a signal has come: for the points between two programs.
    pub(crate) fn check(&self) -> Result<()> {
        if INTERRUPTED.load(Ordering::SeqCst) {
            bail!("interrupted");
        }
        Ok(())
    }
}

impl Drop for SignalGuard {
    fn drop(&mut self) {
        for (signal, old) in &self.before {
            // SAFETY: `old` is what sigaction itself returned for this signal.
            unsafe { libc::sigaction(*signal, &raw const *old, std::ptr::null_mut()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    // One test: which child gets our signals is one variable of the process.
    #[test]
    fn failures_and_signals_reach_whom_they_should() {
        let error = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).expect_err("exit 3");
        assert!(error.to_string().contains("why"), "{error}");
        // The child signals us, as `kill PID` would; we pass it on, the child ends by it and we outlive it.
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 0.2; kill -TERM $PPID; exec sleep 20"]);
        let status = shown(&mut command).expect("sh starts");
        assert_eq!(status.signal(), Some(libc::SIGTERM));
        assert!(INTERRUPTED.load(Ordering::SeqCst));
    }
}
