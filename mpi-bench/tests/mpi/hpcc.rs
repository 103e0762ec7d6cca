//! Suite hpcc as users of the original run it: its input file, its output file, and what parsers in the field read there.

use std::fs;

use crate::launch::{mpirun, run, text};

const INPUT: &str = "HPLinpack benchmark input file
test
HPL.out output file name (if any)
8 device out
1 # of problems sizes (N)
96 Ns
2 # of NBs
16 24 NBs
0 PMAP process mapping
1 # of process grids (P x Q)
1 Ps
2 Qs
16.0 threshold
1 # of panel fact
2 PFACTs
1 # of recursive stopping criterium
4 NBMINs
1 # of panels in recursion
2 NDIVs
1 # of recursive panel fact.
1 RFACTs
1 # of broadcast
1 BCASTs
1 # of lookahead depth
1 DEPTHs
2 SWAP
64 swapping threshold
0 L1
0 U
1 Equilibration
8 memory alignment
##### separator #####
0 additional problem sizes for PTRANS
1200 values of N
0 additional block sizes for PTRANS
40 values of NB
";

/// The last summary's values by key.
fn summary(report: &str) -> Vec<(&str, &str)> {
    let begin = report.rfind("Begin of Summary section.").expect("a summary");
    let end = report.rfind("End of Summary section.").expect("its end");
    report[begin..end].lines().skip(1).map(|line| line.split_once('=').expect("Key=value")).collect()
}

/// What the regular expressions of workload parsers accept: digits, or digits, a point, digits.
fn is_plain(value: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    value.split_once('.').map_or(digits(value), |(whole, rest)| digits(whole) && digits(rest))
}

#[test]
fn the_output_file_grows_and_its_summary_can_be_parsed() {
    let dir = tempfile::tempdir().expect("tempdir");
    fs::write(dir.path().join("hpccinf.txt"), INPUT).expect("input");
    for run in 1..=2 {
        let output = mpirun(2)
            .current_dir(dir.path())
            .args(["suite", "hpcc", "--timeout", "120"])
            .output()
            .expect("the launcher starts");
        assert!(output.status.success(), "{}", text(&output));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(told.matches("not followed: PFACT 2, NBMIN 4, RFACT 1, SWAP 2").count(), 1, "{told}");
        let report = fs::read_to_string(dir.path().join("hpccoutf.txt")).expect("hpccoutf.txt");
        assert_eq!(report.matches("Begin of Summary section.").count(), run);
        let summary = summary(&report);
        for (key, value) in &summary {
            assert!(*key == "VersionRelease" || *key == "LANG" || is_plain(value), "{key}={value}");
        }
        let value = |name: &str| summary.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        assert_eq!(
            (value("Success"), value("HPL_N"), value("PTRANS_n")),
            (Some("1"), Some("96"), Some("48"))
        );
        for figure in [
            "HPL_Tflops",
            "StarDGEMM_Gflops",
            "SingleDGEMM_Gflops",
            "PTRANS_GBs",
            "MPIRandomAccess_GUPs",
            "StarRandomAccess_GUPs",
            "SingleRandomAccess_GUPs",
            "StarSTREAM_Triad",
            "SingleSTREAM_Triad",
            "StarFFT_Gflops",
            "SingleFFT_Gflops",
            "MPIFFT_Gflops",
            "MaxPingPongLatency_usec",
            "RandomlyOrderedRingLatency_usec",
            "MinPingPongBandwidth_GBytes",
            "NaturallyOrderedRingBandwidth_GBytes",
        ] {
            assert!(value(figure).is_some_and(|v| v.contains('.')), "{figure}: {:?}", value(figure));
        }
    }
}

#[test]
fn a_matrix_whose_bytes_are_no_number_of_64_bits_is_named() {
    // On one rank two of these are 2^64 bytes: none, if nobody looks.
    let output = run(1, &["run", "ptrans", "--param", "n=1073741824"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert_eq!(text(&output).matches("parameter n=1073741824").count(), 1, "{}", text(&output));
}
