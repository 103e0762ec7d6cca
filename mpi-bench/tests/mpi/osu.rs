//! The OSU kernels as users of the original meet them: its text, its sizes, any number of ranks, wrong parameters.

use crate::launch::{bearable, run, run_json, text};

/// Every message size once, almost.
const BRIEF: [&str; 6] = ["--param", "iterations=2", "--param", "skip=0", "--timeout", "100"];

#[test]
fn text_has_the_lines_that_parsers_of_osu_read() {
    for (kernel, title, columns) in [
        ("osu-latency", "# OSU MPI Latency Test", "# Size          Latency (us)"),
        ("osu-bw", "# OSU MPI Bandwidth Test", "# Size      Bandwidth (MB/s)"),
        ("osu-mbw-mr", "# OSU MPI Multiple Bandwidth", "# Size                  MB/s        Messages/s"),
        ("osu-allreduce", "# OSU MPI Allreduce", "# Size       Avg Latency(us)   Min Latency(us)"),
        ("osu-get-latency", "# Window creation: MPI_Win_allocate", "# Synchronization: MPI_Win_flush"),
    ] {
        let args = [&["run", kernel, "--param", "max_bytes=64"][..], &BRIEF].concat();
        let output = run(2, &args);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && shown.contains(title) && shown.contains(columns),
            "{}",
            text(&output)
        );
        let sizes: Vec<u64> = shown
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().next().and_then(|s| s.parse().ok()).expect("a size"))
            .collect();
        let first = if kernel == "osu-allreduce" { 2 } else { 0 };
        assert_eq!(sizes, [1, 2, 4, 8, 16, 32, 64][first..], "{shown}");
    }
}

#[test]
fn the_suite_runs_on_any_number_of_ranks() {
    for ranks in [3, 4, 8].into_iter().filter(|&ranks| bearable(ranks)) {
        let dir = tempfile::tempdir().expect("tempdir");
        let args = [&["suite", "osu", "--param", "max_bytes=4"][..], &BRIEF].concat();
        let document = run_json(ranks, &args, dir.path(), 0);
        let rows = document["results"].as_array().expect("results");
        assert!(rows.iter().all(|row| row["verified"] == true), "{ranks} ranks");
        let pairs = rows.iter().find(|row| row["name"] == "osu-mbw-mr").expect("its row");
        assert_eq!(pairs["params"]["pairs"], ranks / 2);
        let mean = |metric: &str| {
            let row = rows.iter().find(|row| row["name"] == "osu-bcast" && row["metric"] == metric);
            row.and_then(|row| row["value"].as_f64()).expect("a figure")
        };
        assert!(mean("min") <= mean("avg") && mean("avg") <= mean("max"), "{ranks} ranks");
    }
}

#[test]
fn wrong_parameters_and_too_few_ranks_are_named() {
    for (args, names) in [
        (&["run", "osu-bw", "--param", "window=0"][..], "window=0"),
        (&["run", "osu-latency", "--param", "iterations=0"][..], "iterations=0"),
        (&["run", "osu-latency", "--param", "min_bytes=8", "--param", "max_bytes=4"][..], "max_bytes=4"),
        (&["run", "osu-reduce", "--param", "min_bytes=6"][..], "min_bytes=6"),
        (&["run", "osu-alltoall", "--param", "max_bytes=1g"][..], "max_bytes="),
        (&["run", "osu-barrier", "--param", "max_bytes=1"][..], "max_bytes"),
    ] {
        let output = run(2, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output));
        assert_eq!(String::from_utf8_lossy(&output.stderr).matches(names).count(), 1, "{}", text(&output));
    }
    let output = run(1, &["suite", "osu"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("needs 2 ranks"), "{}", text(&output));
}
