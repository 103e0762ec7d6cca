//! `compare` as users call it, on the files of two runs: text, pictures and exit codes. No MPI, so no launcher.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::launch::{PROGRAM, text};

/// A result file. Each row: kernel, metric, parameters, samples.
fn write(path: &Path, rows: &[(&str, &str, Value, &[f64])]) {
    let row = |(name, metric, params, samples): &(&str, &str, Value, &[f64])| {
        json!({"name": name, "variant": "mpi", "params": params, "metric": metric, "unit": "u", "value": samples.first(),
               "ci95": null, "samples": samples, "verified": true, "residual": null})
    };
    let document = json!({"meta": {}, "results": rows.iter().map(row).collect::<Vec<_>>()});
    fs::write(path, document.to_string()).expect("written");
}

fn compare(dir: &Path, args: &[&str]) -> Output {
    Command::new(PROGRAM).arg("compare").args(args).current_dir(dir).output().expect("starts")
}

/// The line of `label` in the paragraph that begins with `head`.
fn line<'a>(shown: &'a str, head: &str, label: &str) -> &'a str {
    let paragraph =
        shown.split("\n\n").find(|p| p.starts_with(head)).unwrap_or_else(|| panic!("{head}: {shown}"));
    paragraph.lines().find(|l| l.trim_start().starts_with(label)).expect("a line for each run")
}

/// Two runs on different hosts: everything that hosts and time decide differs, the sizes do not (but for HPL's).
fn two_runs(dir: &Path) {
    let pair = |host: &str, to: u64| json!({"bytes": 8, "from": 0, "to": to, "from_host": host, "to_host": format!("{host}{to}")});
    write(
        &dir.join("host.json"),
        &[
            ("net-matrix", "pair", pair("n", 1), &[2.0, 2.01]),
            ("net-matrix", "pair", pair("n", 2), &[2.0, 2.01]),
            ("random-access", "gups", json!({"table_words": 32, "updates": 128}), &[1.0, 1.01]),
            (
                "b-eff",
                "natural_ring_latency",
                json!({"latency_pairs": 4, "bandwidth_pairs": 4}),
                &[1.0, 1.01],
            ),
            ("ior-posix", "read", json!({"block": 8, "page_cache": "cold"}), &[1.0, 1.01]),
            ("noise-quantum", "interruptions", json!({"rank": 0, "cpu": 0}), &[0.0, 0.0]),
            ("hpl", "gflops", json!({"n": 8}), &[1.0, 1.01]),
        ],
    );
    write(
        &dir.join("vm.json"),
        &[
            ("net-matrix", "pair", pair("v", 1), &[1.0, 1.005]),
            ("net-matrix", "pair", pair("v", 2), &[2.0, 2.01]),
            ("random-access", "gups", json!({"table_words": 32, "updates": 90}), &[0.5, 0.505]),
            (
                "b-eff",
                "natural_ring_latency",
                json!({"latency_pairs": 3, "bandwidth_pairs": 2}),
                &[2.0, 2.02],
            ),
            ("ior-posix", "read", json!({"block": 8, "page_cache": "cached"}), &[9.0, 9.01]),
            ("noise-quantum", "interruptions", json!({"rank": 0, "cpu": 3}), &[7.0, 7.1]),
            ("hpl", "gflops", json!({"n": 9}), &[1.0, 1.01]),
        ],
    );
}

#[test]
fn two_runs_are_matched_row_by_row() {
    let dir = tempfile::tempdir().expect("tempdir");
    two_runs(dir.path());
    let output = compare(dir.path(), &["vm.json", "host.json", "--baseline", "host", "--svg", "."]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.starts_with("baseline: host\n"), "{shown}");
    for (head, expected) in [
        ("net-matrix mpi pair to=1 ", "x0.500"),
        ("net-matrix mpi pair to=2 ", "no difference shown"),
        ("random-access mpi gups ", "x0.500"),
        ("b-eff mpi natural_ring_latency ", "x0.500"),
        ("ior-posix mpi read ", "better (page cache: cached; baseline: cold)"),
        ("noise-quantum mpi interruptions ", "worse (no ratio: one of the two is 0)"),
        ("hpl mpi gflops ", "sizes differ: not comparable"),
    ] {
        assert!(line(&shown, head, "vm").contains(expected), "{head}: {shown}");
        assert!(line(&shown, head, "host").ends_with("baseline"), "{head}: {shown}");
    }
    assert!(!shown.contains("no figure"), "{shown}");
    for kernel in ["net-matrix", "random-access", "b-eff", "ior-posix", "noise-quantum", "hpl"] {
        let picture = fs::read_to_string(dir.path().join(format!("compare-{kernel}-mpi.svg"))).expect(kernel);
        assert!(picture.contains("gain over host"), "{kernel}");
    }
}

#[test]
fn what_cannot_be_compared_is_an_error_with_its_exit_code() {
    let dir = tempfile::tempdir().expect("tempdir");
    two_runs(dir.path());
    fs::write(dir.path().join("rubbish.json"), "{\n]").expect("written");
    for (args, code, names) in [
        (&["host.json"][..], 2, "FILES"),
        (&["host.json", "vm.json", "--baseline", "xen"], 2, "--baseline xen"),
        (&["host.json", "rubbish.json"], 2, "rubbish.json:2"),
        (&["host.json", "none.json"], 3, "none.json"),
        (&["host.json", "vm.json", "--svg", "none"], 3, "none"),
    ] {
        let output = compare(dir.path(), args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output));
        assert!(String::from_utf8_lossy(&output.stderr).contains(names), "{args:?}: {}", text(&output));
    }
}
