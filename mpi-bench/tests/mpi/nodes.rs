//! What differs between nodes: files that only some ranks see.

use std::fs;

use crate::launch::{mpirun_each_in, text};

/// HPL's N = 32 in two blockings, on two ranks; HPL's own shorter form.
const INPUT: &str = "HPLinpack benchmark input file
test
HPL.out
8
1
32
2
8 16
0
1
1
2
16.0
1
2
1
4
1
2
1
1
1
1
1
1
2
64
0
0
1
8
";

#[test]
fn rank_0_s_input_file_counts_on_every_rank() {
    let dirs = tempfile::tempdir().expect("tempdir");
    for (rank, input) in [("0", INPUT), ("1", "of another run")] {
        fs::create_dir(dirs.path().join(rank)).expect("directory");
        fs::write(dirs.path().join(rank).join("hpccinf.txt"), input).expect("input");
    }
    let output = mpirun_each_in(2, dirs.path())
        .args(["suite", "hpcc", "--variant", "mpi", "--param", "b-eff.bandwidth_bytes=1000"])
        .args(["--json", "out.json", "--timeout", "60"])
        .output()
        .expect("the launcher starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let json = fs::read_to_string(dirs.path().join("0/out.json")).expect("written");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let rows = json["results"].as_array().expect("results").iter();
    let hpl: Vec<_> = rows.filter(|row| row["name"] == "hpl" && row["metric"] == "gflops").collect();
    let sizes: Vec<_> =
        hpl.iter().map(|row| (row["params"]["n"].as_u64(), row["params"]["nb"].as_u64())).collect();
    assert_eq!(sizes, [(Some(32), Some(8)), (Some(32), Some(16))]);
    assert!(!dirs.path().join("1/hpccoutf.txt").exists());
}
