//! NPB: EP, CG, IS, MG and FT give their official values on any number of ranks, those included that the originals refuse; the
//! whole family starts every lap afresh.

use crate::launch::{bearable, run, run_json, text};
use trimtab_bench::kernel::Family;
use trimtab_bench::registry;

#[test]
fn class_s_has_the_official_values_on_any_number_of_ranks() {
    for kernel in ["npb-ep", "npb-cg", "npb-is", "npb-mg", "npb-ft"] {
        for ranks in [1, 2, 3, 4, 8].into_iter().filter(|&ranks| bearable(ranks)) {
            let dir = tempfile::tempdir().expect("tempdir");
            let args = ["run", kernel, "--size", "S", "--timeout", "120"];
            let document = run_json(ranks, &args, dir.path(), 0);
            let rows = document["results"].as_array().expect("results");
            assert_eq!(rows.len(), 2, "Mop/s and time");
            for row in rows {
                assert_eq!(row["verified"], true, "{row}");
                assert_eq!(row["params"]["class"], "S");
                assert!(row["value"].as_f64().is_some_and(|value| value > 0.0), "{row}");
            }
        }
    }
}

#[test]
fn class_w_has_the_official_values() {
    // Not CG, whose class W took three times as long as that of the slowest of these.
    let kernels = ["npb-ep", "npb-is", "npb-mg", "npb-ft"];
    let dir = tempfile::tempdir().expect("tempdir");
    let args = [&["run"][..], &kernels, &["--size", "W", "--timeout", "60"]].concat();
    let document = run_json(2, &args, dir.path(), 0);
    let rows = document["results"].as_array().expect("results");
    assert_eq!(rows.len(), 2 * kernels.len());
    for row in rows {
        assert!(row["verified"] == true && row["params"]["class"] == "W", "{row}");
    }
}

#[test]
fn a_second_lap_starts_from_the_same_input() {
    for entry in registry::family(Family::Npb) {
        let dir = tempfile::tempdir().expect("tempdir");
        let args = ["run", entry.spec.name, "--size", "S", "--repeat", "2", "--timeout", "120"];
        let document = run_json(2, &args, dir.path(), 0);
        assert_eq!(
            document["results"][0]["samples"].as_array().map(Vec::len),
            Some(2),
            "{}",
            entry.spec.name
        );
    }
}

#[test]
fn ranks_that_a_class_is_too_small_for_are_refused_once() {
    let output = run(20, &["run", "npb-mg", "--size", "S", "--timeout", "60"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr.matches("at most 16 ranks; these are 20").count(), 1, "{stderr}");
}
