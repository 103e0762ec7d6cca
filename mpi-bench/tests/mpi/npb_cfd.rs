//! BT, SP and LU: the official values on any number of ranks, and numbers that the cube cannot be cut for.

use crate::launch::{bearable, run, run_json, text};

const KERNELS: [&str; 3] = ["npb-bt", "npb-sp", "npb-lu"];

#[test]
fn class_s_has_the_official_values_on_any_number_of_ranks() {
    for kernel in KERNELS {
        let cuts = [(1, [1, 1]), (2, [2, 1]), (3, [3, 1]), (4, [4, 1]), (8, [4, 2])];
        for (ranks, cut) in cuts.into_iter().filter(|&(ranks, _)| bearable(ranks)) {
            let dir = tempfile::tempdir().expect("tempdir");
            let document =
                run_json(ranks, &["run", kernel, "--size", "S", "--timeout", "120"], dir.path(), 0);
            let rows = document["results"].as_array().expect("results");
            assert_eq!(rows.len(), 2, "rate and time");
            for row in rows {
                assert_eq!(row["verified"], true, "{kernel} on {ranks}: {row}");
                assert!(row["residual"].as_f64().is_some_and(|deviation| deviation < 1e-8), "{row}");
                assert_eq!(row["params"]["class"], "S");
                assert_eq!([&row["params"]["ranks_y"], &row["params"]["ranks_z"]], [cut[0], cut[1]]);
            }
        }
    }
}

#[test]
fn a_number_of_ranks_that_does_not_fit_is_an_error_of_usage() {
    for kernel in KERNELS {
        let output = run(7, &["run", kernel, "--size", "S"]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(errors.matches("parameter ranks=7").count(), 1, "{errors}");
    }
}
