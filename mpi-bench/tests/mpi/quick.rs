//! Suite quick as the README starts it: everything, on two ranks, verified.

use std::collections::BTreeSet;

use crate::launch::{is_mpich, run_json};
use trimtab_bench::registry;

#[test]
fn suite_quick_runs_every_kernel_and_verifies_all() {
    // One library is enough: the other one runs the same kernels in the other tests.
    if is_mpich() {
        return;
    }
    let dir = tempfile::tempdir().expect("tempdir");
    let at = dir.path().display().to_string();
    let document = run_json(2, &["suite", "quick", "--dir", &at, "--timeout", "120"], dir.path(), 0);
    let rows = document["results"].as_array().expect("results");
    let ran: BTreeSet<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    let all: BTreeSet<&str> = registry::all().iter().map(|entry| entry.spec.name).collect();
    assert_eq!(ran, all);
    for row in rows {
        assert_eq!(row["verified"], true, "{row}");
    }
    // What a rank takes beside the arrays that it measures, the packed blocks of the matrix product included.
    for rank in document["meta"]["ranks"].as_array().expect("ranks") {
        assert!(rank["beyond_arrays_kib"].as_u64().is_some_and(|kib| kib <= 40 << 10), "{rank}");
    }
}
