//! The password prompt of polkit on a terminal without a desktop: polkit's own `pkttyagent`, as systemctl does it.
//!
//! May not: see the password; pkttyagent talks to the terminal and to polkit itself.

use std::io::{IsTerminal, Read, stdin};
use std::process::{Child, Command, Stdio};
use trimtabd::dbus::proxy::Bus;

/// Runs `pkttyagent` for this process until dropped.
pub(crate) struct PasswordAgent(Option<Child>);

impl PasswordAgent {
    /// Starts it where it can be of use: on the system bus, at a terminal, for anybody but root. Without pkttyagent the
    /// daemon answers that there is nobody to ask for a password, which says enough.
    pub(crate) fn start(bus: &Bus) -> Self {
        let useful = *bus == Bus::System && stdin().is_terminal() && !nix::unistd::Uid::effective().is_root();
        Self(if useful { spawn() } else { None })
    }
}

/// Not with `--fallback`: polkit passes such an agent over where the caller has no logind session (ssh without PAM, cron).
/// Returns once the agent is registered: it closes the descriptor of `--notify-fd`, here its standard output, then.
fn spawn() -> Option<Child> {
    let mut child = Command::new("pkttyagent")
        .args(["--notify-fd", "1", "--process", &std::process::id().to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    if let Some(mut stdout) = child.stdout.take() {
        // What it says there does not matter, nor how it ends.
        let _ = stdout.read_to_end(&mut Vec::new());
    }
    Some(child)
}

impl Drop for PasswordAgent {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // Not SIGKILL: it would leave the terminal without echo. If this fails it has ended by itself.
            let _ = rustix::process::kill_process(
                rustix::process::Pid::from_child(child),
                rustix::process::Signal::TERM,
            );
            let _ = child.wait();
        }
    }
}
