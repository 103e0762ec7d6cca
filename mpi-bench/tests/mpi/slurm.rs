//! The job scripts in docs/, with programs in place of Slurm's that write down how they were called.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// Calls of `tool` are a line each in the file of that name in `dir`.
fn script(dir: &Path, name: &str, args: &[&str], size: Option<&str>) -> Output {
    for tool in ["sbatch", "srun"] {
        let at = dir.join(format!("bin/{tool}"));
        fs::create_dir_all(dir.join("bin")).expect("directory");
        fs::write(&at, format!("#!/bin/sh\necho \"$@\" >> {}/{tool}\necho 7\n", dir.display()))
            .expect("written");
        fs::set_permissions(&at, fs::Permissions::from_mode(0o755)).expect("executable");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new("sh")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name))
        .args(args)
        .current_dir(dir)
        .env("PATH", format!("{}/bin:{path}", dir.display()))
        .env("TASKS", "4")
        .envs(size.map(|size| ("SIZE", size)))
        .output()
        .expect("sh starts")
}

#[test]
fn only_suite_hpcc_gets_the_size() {
    let dir = tempfile::tempdir().expect("tempdir");
    let output = script(dir.path(), "slurm-bench.sbatch", &["host", "hpcc", "osu"], Some("1GiB"));
    assert!(output.status.success(), "{output:?}");
    let calls = fs::read_to_string(dir.path().join("srun")).expect("called");
    let calls: Vec<&str> = calls.lines().collect();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(calls[0].contains("suite hpcc --size=1GiB --repeat 5"), "{calls:?}");
    assert!(calls[1].contains("suite osu --repeat 5"), "{calls:?}");
    assert!(calls.iter().all(|call| call.contains("--kill-on-bad-exit=1")), "{calls:?}");
}

#[test]
fn a_comparison_of_hpcc_insists_on_one_size() {
    let dir = tempfile::tempdir().expect("tempdir");
    let three = ["host", "vm1", "vm4"];
    let refused = script(dir.path(), "slurm-compare.sh", &three, None);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("SIZE") && !dir.path().join("sbatch").exists());
    for (args, size) in [(&["host", "vm1", "vm4"][..], Some("1GiB")), (&["host", "vm1", "vm4", "osu"], None)]
    {
        let output = script(dir.path(), "slurm-compare.sh", args, size);
        assert!(output.status.success(), "{output:?}");
    }
    fs::write(dir.path().join("hpccinf.txt"), "").expect("written");
    assert!(script(dir.path(), "slurm-compare.sh", &three, None).status.success());
    let jobs = fs::read_to_string(dir.path().join("sbatch")).expect("called");
    assert_eq!(jobs.lines().count(), 3 * 4, "three runs and their comparison, each time: {jobs}");
}
