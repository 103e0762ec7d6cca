//! Who reads a clock in the daemon: the loop, and the exceptions below.

use crate::{paths, tree};

/// Calls that read a clock, by their last two segments.
const READS: [[&str; 2]; 6] = [
    ["Instant", "now"],
    ["SystemTime", "now"],
    ["Timestamp", "now"],
    ["Zoned", "now"],
    ["libc", "clock_gettime"],
    ["UNIX_EPOCH", "elapsed"],
];

/// The loop.
const READERS: [&str; 3] = ["daemon/src/run.rs", "daemon/src/control_loop.rs", "daemon/src/control_loop/"];

/// Beginnings of the paths that read it too, and why. An entry that is no longer needed is an error.
const EXCEPTIONS: [(&str, &str); 2] = [
    ("daemon/src/bin/trimtabctl/", "another program: it says how long ago something was"),
    (
        "daemon/src/libvirt/",
        "time-outs, back-offs and probes of its own calls, by tokio's clock, which tests can halt",
    ),
];

fn reads(text: &str) -> Vec<(usize, String)> {
    let found = paths::named(text, &[]).into_iter().filter(|named| {
        let [.., first, second] = named.path.as_slice() else { return false };
        READS.iter().any(|read| read == &[first.as_str(), second.as_str()])
    });
    found.map(|named| (named.line, named.path.join("::"))).collect()
}

#[test]
fn only_the_loop_reads_a_clock() {
    let mut findings = Vec::new();
    let mut unused: Vec<&str> = EXCEPTIONS.iter().map(|(start, _)| *start).collect();
    for (path, text) in tree::files("daemon/src", "rs") {
        let reads = reads(&text);
        if reads.is_empty() || tree::is_test(&path) || READERS.iter().any(|reader| path.starts_with(reader)) {
            continue;
        }
        if EXCEPTIONS.iter().any(|(start, _)| path.starts_with(start)) {
            unused.retain(|start| !path.starts_with(start));
            continue;
        }
        findings.extend(reads.iter().map(|(line, call)| format!("{path}:{line}: {call}")));
    }
    findings
        .extend(unused.iter().map(|start| format!("{start}: no longer reads a clock, drop the exception")));
    tree::none(&findings, "only run.rs and control_loop read a clock (xtask/tests/rules/clock.rs)");
}

#[test]
fn a_read_is_found() {
    assert_eq!(reads("fn f() { let t = std::time::Instant::now(); }").len(), 1);
    assert_eq!(reads("use tokio::time::Instant;\nfn f() { g(Instant::now) }").len(), 1);
    assert_eq!(reads("fn f(now: Instant) -> Duration { now - self.start }").len(), 0);
}
