//! Every registered kernel, in every variant: verified when left alone, and caught when its result is damaged on purpose.
//! (The fault is injected between run and verify; see the feature `fault-injection`.)

use std::collections::BTreeSet;

use crate::launch::{mpirun, run_json, text};
use trimtab_bench::registry;

/// Small enough for a debug build.
const SMALL: [&str; 6] = ["--size", "256k", "--seed", "3", "--timeout", "120"];

fn ranks_for(min_ranks: i32) -> u32 {
    u32::try_from(min_ranks.max(2)).expect("positive")
}

#[test]
fn left_alone_every_kernel_verifies() {
    for entry in registry::all() {
        let dir = tempfile::tempdir().expect("tempdir");
        let dir_name = dir.path().display().to_string();
        let args = [&["run", entry.spec.name, "--dir", &dir_name][..], &SMALL].concat();
        let document = run_json(ranks_for(entry.spec.min_ranks), &args, dir.path(), 0);
        let rows = document["results"].as_array().expect("results");
        let variants: BTreeSet<&str> = rows.iter().filter_map(|r| r["variant"].as_str()).collect();
        assert_eq!(variants, entry.spec.variants.iter().map(|v| v.name()).collect(), "{}", entry.spec.name);
        for row in rows {
            assert_eq!(row["verified"], true, "{row}");
            assert!(row["value"].as_f64().is_some_and(f64::is_finite), "{row}");
            let metric =
                entry.spec.metrics.iter().find(|m| row["metric"] == m.name).expect("metric in the spec");
            assert_eq!(row["unit"], metric.unit);
        }
    }
}

#[test]
fn damaged_every_kernel_is_caught_and_shows_no_figure() {
    for entry in registry::all() {
        for variant in entry.spec.variants {
            let dir = tempfile::tempdir().expect("tempdir");
            let json = dir.path().join("out.json");
            let output = mpirun(ranks_for(entry.spec.min_ranks))
                .args(["run", entry.spec.name, "--variant", variant.name()])
                .args(SMALL)
                .arg("--dir")
                .arg(dir.path())
                .arg("--json")
                .arg(&json)
                .env("TRIMTAB_BENCH_CORRUPT", "1")
                .output()
                .expect("the launcher starts");
            let name = format!("{} {}", entry.spec.name, variant.name());
            assert_eq!(output.status.code(), Some(1), "{name}: {}", text(&output));
            let document: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(&json).expect("JSON")).expect("valid");
            assert_eq!(document["meta"]["fault_injection"], true);
            for row in document["results"].as_array().expect("results") {
                assert_eq!(row["verified"], false, "{name}");
                assert!(
                    row["value"].is_null() && row["samples"].as_array().is_some_and(Vec::is_empty),
                    "{row}"
                );
            }
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            for metric in entry.spec.metrics {
                assert!(!printed.contains(metric.unit) || printed.contains("invalid"), "{name}: {printed}");
            }
        }
    }
}
