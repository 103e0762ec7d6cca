//! The driver as users meet it: exit codes, one message however many ranks, no hang, the JSON contract.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::launch::{PROGRAM, bearable, is_mpich, kill_one_rank, mpirun, run, run_json, text};

const SMALL: [&str; 4] = ["--size", "64k", "--timeout", "60"];

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn works_without_a_launcher() {
    let output = Command::new(PROGRAM).args(["run", "dgemm"]).args(SMALL).output().expect("starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("verified"));
}

#[test]
fn list_needs_no_mpi_and_speaks_once() {
    let output = run(3, &["list"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout).matches("HPCC 1.5.0 DGEMM").count(), 1);
}

#[test]
fn json_has_the_contract_on_any_number_of_ranks() {
    for ranks in [1, 2, 3, 4, 8] {
        let dir = tempfile::tempdir().expect("tempdir");
        let args = [&["run", "dgemm", "--repeat", "3", "--seed", "5"][..], &SMALL].concat();
        let document = run_json(ranks, &args, dir.path(), 0);
        let meta = &document["meta"];
        for key in
            ["host", "kernel", "cpu", "mpi_library", "hypervisor", "version", "seed", "command", "counters"]
        {
            assert!(!meta[key].is_null(), "{key} missing");
        }
        assert_eq!(meta["ranks"].as_array().map(Vec::len), Some(ranks as usize));
        assert!(meta["ranks"][0]["affinity"].is_string());
        let rows = document["results"].as_array().expect("results");
        assert_eq!(rows.len(), 2, "single and star");
        for row in rows {
            assert_eq!(row["samples"].as_array().map(Vec::len), Some(3));
            let (low, high) = (row["ci95"][0].as_f64(), row["ci95"][1].as_f64());
            let value = row["value"].as_f64();
            assert!(low <= value && value <= high && low.is_some(), "{row}");
            assert!(row["residual"].as_f64().is_some_and(|r| r < 16.0));
            assert!(row["params"]["n"].as_u64().is_some());
        }
    }
}

#[test]
fn until_stops_at_the_limit() {
    let dir = tempfile::tempdir().expect("tempdir");
    let repeat = ["--repeat", "until", "--ci", "0.0001%", "--max-repeat", "4"];
    let args = [&["run", "dgemm", "--warmup", "--variant", "star"][..], &repeat, &SMALL].concat();
    let document = run_json(2, &args, dir.path(), 0);
    assert_eq!(document["results"][0]["samples"].as_array().map(Vec::len), Some(4));
    assert_eq!(document["meta"]["warmup_laps"], 1);
}

/// Arguments, exit code, and what the one message must name.
const WRONG: &[(&[&str], i32, &str)] = &[
    (&["run", "nosuch"], 2, "nosuch"),
    (&["run", "dgemm", "--param", "frob=1"], 2, "frob"),
    (&["run", "dgemm", "--param", "n=0"], 2, "parameter n=0"),
    (&["run", "dgemm", "--param", "n=many"], 2, "n=many"),
    (&["run", "dgemm", "--param", "dgemm.n=9000000"], 2, "n=9000000"),
    (&["run", "dgemm", "--param", "n=1", "--param", "n=2"], 2, "n is given twice"),
    (&["run", "hpl", "--param", "n=100", "--param", "p=2"], 2, "does not divide the number of ranks, 3"),
    (&["run", "hpl", "--param", "n=100", "--param", "q=0"], 2, "parameter q=0"),
    (&["run", "hpl", "--param", "p=2", "--param", "q=2"], 2, "P x Q = 2 x 2"),
    (&["run", "hpl", "--param", "n=100", "--param", "nb=101"], 2, "parameter nb=101"),
    (&["run", "hpl", "--param", "n=1000000000", "--param", "nb=1000000000"], 2, "parameter n=1000000000"),
    (&["run", "ptrans", "--param", "n=4294967296"], 2, "parameter n=4294967296"),
    (&["run", "mdtest", "--param", "bytes=18446744073709551615"], 2, "parameter bytes=18446744073709551615"),
    (&["run", "osu-allreduce", "--param", "iterations=100000000000000"], 2, "iterations=100000000000000"),
    (&["run", "noise-quantum", "--param", "quanta=100000000000000"], 2, "quanta=100000000000000"),
    (&["run", "dgemm", "--size", "D"], 2, "--size"),
    (&["run", "dgemm", "--variant", "mpi"], 2, "no such variant"),
    (&["run", "dgemm", "--dir", "/nonexistent"], 2, "/nonexistent"),
    (&["run", "dgemm", "--size", "64k", "--json", "/nonexistent/x.json"], 2, "/nonexistent"),
    (&["run", "dgemm", "--size", "64k", "--json", "/proc/x.json"], 3, "/proc/x.json"),
    (&["suite", "hpcc", "--size", "64k", "--output", "/proc/x.txt"], 3, "/proc/x.txt"),
    (&["ior", "-o", "/dev/shm/trimtab-never", "-O", "summaryFile=/proc/x"], 3, "/proc/x"),
    (&["suite", "osu", "--variant", "single"], 2, "no kernel of this suite has such a variant"),
    (&["run", "net-matrix", "--param", "bytes=2g"], 2, "parameter bytes=2147483648"),
];

#[test]
fn wrong_input_is_named_once_and_every_rank_ends() {
    for (args, code, names) in WRONG {
        let begin = Instant::now();
        let output = run(3, args);
        assert_eq!(output.status.code(), Some(*code), "{args:?}: {}", text(&output));
        assert_eq!(stderr(&output).matches(names).count(), 1, "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "before anything runs: {args:?}: {}", text(&output));
        assert!(begin.elapsed() < Duration::from_secs(60));
    }
}

/// Seven parts of two points and more cannot be cut from class S's cube in BT, SP and LU.
#[test]
fn a_suite_leaves_out_what_does_not_fit_the_ranks_and_a_run_keeps_what_is_finished() {
    if !bearable(7) {
        return;
    }
    let dir = tempfile::tempdir().expect("tempdir");
    let json = dir.path().join("out.json");
    let names = |expected: i32, args: &[&str]| -> (Vec<String>, String) {
        let output = mpirun(7).args(args).arg("--json").arg(&json).output().expect("the launcher starts");
        assert_eq!(output.status.code(), Some(expected), "{args:?}: {}", text(&output));
        let document: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&json).expect("JSON written")).expect("valid");
        assert!(document["meta"]["unfinished"].is_null() && document["meta"]["ranks"].is_array());
        let rows = document["results"].as_array().expect("results");
        let mut names: Vec<String> =
            rows.iter().filter_map(|r| r["name"].as_str()).map(str::to_owned).collect();
        names.dedup();
        (names, stderr(&output))
    };
    let (ran, told) = names(0, &["suite", "npb", "--size", "S", "--timeout", "120"]);
    assert_eq!(ran, ["npb-ep", "npb-cg", "npb-is", "npb-mg", "npb-ft"]);
    assert_eq!(told.matches("left out: npb-").count(), 3, "{told}");
    assert_eq!(told.matches("left out: npb-bt: parameter ranks=7").count(), 1, "{told}");
    let by_name = ["run", "npb-ep", "npb-bt", "npb-cg", "--size", "S", "--timeout", "120"];
    let (ran, told) = names(2, &by_name);
    assert_eq!(ran, ["npb-ep"], "{told}");
    assert!(told.contains("npb-bt: parameter ranks=7") && !told.contains("left out"), "{told}");
}

/// What a limit that gives no notice leaves of a run.
#[test]
fn a_killed_run_leaves_what_was_finished() {
    let dir = tempfile::tempdir().expect("tempdir");
    let json = dir.path().join("out.json");
    let args = ["run", "dgemm", "noise-detour", "--size", "64k", "--param", "seconds=600", "--json"];
    let mut child = mpirun(2).args(args).arg(&json).spawn().expect("starts");
    let begin = Instant::now();
    let rows = || {
        let document: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json).ok()?).ok()?;
        assert_eq!(document["meta"]["unfinished"], true);
        document["results"].as_array().map(Vec::len)
    };
    while rows() != Some(2) {
        assert!(begin.elapsed() < Duration::from_secs(60), "DGEMM's rows do not appear");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_one_rank(child.id());
    assert!(!child.wait().expect("ends").success());
    assert_eq!(rows(), Some(2));
}

/// util-linux's `script` gives the launcher a terminal; the launchers give the ranks pipes.
#[test]
fn the_bar_is_drawn_on_the_launcher_s_terminal_and_nowhere_else() {
    let shown = |redirect: &str| {
        let launcher = mpirun(2);
        let words = std::iter::once(launcher.get_program()).chain(launcher.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        let line = format!("{} run dgemm --size 64k --timeout 60 {redirect}", words.join(" "));
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).stdin(std::process::Stdio::null());
        script.envs(launcher.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let output = script.output().expect("script starts");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let on_terminal = shown("");
    assert!(on_terminal.contains("[--------------------] 0/2 dgemm single"), "{on_terminal}");
    assert!(on_terminal.contains("[##########----------] 1/2 dgemm star"), "{on_terminal}");
    assert!(on_terminal.contains("dgemm star: verified"), "{on_terminal}");
    let elsewhere = shown("2> /dev/null");
    assert!(!elsewhere.contains("0/2") && elsewhere.contains("dgemm star: verified"), "{elsewhere}");
}

#[test]
fn ranks_that_do_not_know_of_one_another_are_refused() {
    // As a launcher leaves them whose protocol the library does not speak; the variable is the other library's, which is ignored
    // by this one.
    let foreign =
        |prefix: &str| if is_mpich() { format!("OMPI_COMM_WORLD_{prefix}") } else { format!("PMI_{prefix}") };
    for (rank, words) in [("0", 1), ("1", 0)] {
        let mut alone = Command::new(PROGRAM);
        alone.args(["run", "dgemm", "--param", "n=16"]).env(foreign("SIZE"), "2").env(foreign("RANK"), rank);
        let output = alone.output().expect("starts");
        assert_eq!(output.status.code(), Some(3), "{}", text(&output));
        assert_eq!(stderr(&output).matches("started 2 processes, but each is alone").count(), words);
        assert!(!text(&output).contains("verified"), "{}", text(&output));
    }
}

#[test]
fn a_phase_that_takes_too_long_ends_every_rank() {
    let begin = Instant::now();
    let output = run(3, &["run", "dgemm", "--param", "n=4000", "--timeout", "1.5"]);
    if is_mpich() {
        // Hydra kills the other ranks at the first that ends, and may hand on their signal instead of its code.
        assert!(!output.status.success(), "{}", text(&output));
    } else {
        assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    }
    assert_eq!(stderr(&output).matches("within --timeout").count(), 1, "{}", stderr(&output));
    assert!(begin.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_signal_and_a_killed_rank_end_the_job() {
    for signal in ["-INT", "-TERM"] {
        let mut child = mpirun(2).args(["run", "dgemm", "--param", "n=6000"]).spawn().expect("starts");
        std::thread::sleep(Duration::from_secs(2));
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
        assert!(killed.success());
        let begin = Instant::now();
        let status = child.wait().expect("ends");
        // Hydra may end with 0 when it was itself told to stop, whatever the codes of the ranks are.
        assert!(!status.success() || is_mpich(), "{signal}");
        assert!(begin.elapsed() < Duration::from_secs(20), "{signal}");
    }
    let mut child = mpirun(2).args(["run", "dgemm", "--param", "n=6000"]).spawn().expect("starts");
    std::thread::sleep(Duration::from_secs(2));
    kill_one_rank(child.id());
    let begin = Instant::now();
    assert!(!child.wait().expect("ends").success());
    assert!(begin.elapsed() < Duration::from_secs(20));
}
