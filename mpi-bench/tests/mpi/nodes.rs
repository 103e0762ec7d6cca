//! What differs between nodes and between moments: files that only some ranks see, and the free memory.

use std::fs;

use crate::launch::{in_namespace, mpirun, mpirun_each_in, text};

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

/// With so much memory said to be free, n of each row of DGEMM.
fn auto_sizes(available_kib: u64) -> Option<Vec<u64>> {
    let dir = tempfile::tempdir().expect("tempdir");
    let (meminfo, json) = (dir.path().join("meminfo"), dir.path().join("out.json"));
    fs::write(&meminfo, format!("MemTotal: 99999999 kB\nMemAvailable: {available_kib} kB\n"))
        .expect("written");
    let mount = format!("mount --bind {} /proc/meminfo", meminfo.display());
    let mut command = mpirun(2);
    command.args(["run", "dgemm", "--size", "auto", "--timeout", "60", "--json"]).arg(&json);
    let output = in_namespace("auto size", &mount, &command)?;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&json).expect("written")).expect("JSON");
    assert_eq!(json["meta"]["auto_bytes_per_rank"], 1 << 20);
    let rows = json["results"].as_array().expect("results").iter();
    Some(rows.filter_map(|row| row["params"]["n"].as_u64()).collect())
}

/// 0.6 of half of it is 1.0 to 1.3 MiB, so 1 MiB.
#[test]
fn auto_is_one_size_for_all_variants_and_for_the_next_run() {
    let (Some(first), Some(second)) = (auto_sizes(3600), auto_sizes(4500)) else { return };
    assert_eq!(first, [208, 208], "single and star");
    assert_eq!(first, second);
}
