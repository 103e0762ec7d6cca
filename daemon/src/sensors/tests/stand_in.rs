//! A stand-in for qemu: a child process with threads named as qemu names them, steered through its standard input.
//! It is this test binary again, running only the "test" `body`, which does nothing unless told so by the environment.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::Duration;

const SWITCH: &str = "TRIMTAB_TEST_STAND_IN";

/// Runs until dropped.
pub(super) struct StandIn {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl StandIn {
    pub(super) fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sensors::tests::stand_in::body", "--nocapture", "--test-threads=1"])
            .env(SWITCH, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut stand_in = Self { child, input, output: BufReader::new(output) };
        stand_in.wait_for("ready");
        stand_in
    }
    pub(super) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }
    /// `spin` lets CPU 0/KVM burn, `worker` starts a pool thread, `end` ends all of them. Returns once it is done.
    pub(super) fn tell(&mut self, what: &str) {
        writeln!(self.input, "{what}").unwrap();
        self.wait_for("ok");
    }
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
    fn wait_for(&mut self, word: &str) {
        let mut line = String::new();
        while !line.trim_end().ends_with(word) {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the stand-in ended early");
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn body() {
    static SPIN: AtomicBool = AtomicBool::new(false);
    static WORK: AtomicBool = AtomicBool::new(true);
    if std::env::var_os(SWITCH).is_none() {
        return;
    }
    let named = |name: &str, run: fn()| Builder::new().name(name.to_owned()).spawn(run).unwrap();
    named("CPU 0/KVM", || {
        loop {
            if SPIN.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            } else {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    });
    named("CPU 1/KVM", || std::thread::sleep(Duration::from_secs(3600)));
    named("IO iothread1", || std::thread::sleep(Duration::from_secs(3600)));
    named("odd ) (name", || std::thread::sleep(Duration::from_secs(3600)));
    // A thread names itself: give the names time to be there before the parent looks.
    std::thread::sleep(Duration::from_millis(50));
    println!("\nready");
    let mut workers = Vec::new();
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "spin" => SPIN.store(true, Ordering::Relaxed),
            "worker" => workers.push(named("worker", || {
                while WORK.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(2));
                }
            })),
            _ => {
                WORK.store(false, Ordering::Relaxed);
                workers.drain(..).for_each(|worker| worker.join().unwrap());
                WORK.store(true, Ordering::Relaxed);
            }
        }
        println!("\nok");
    }
}
