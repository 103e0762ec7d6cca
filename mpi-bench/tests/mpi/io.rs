//! File I/O on real file systems: IOR's options, table and JSON, iozone's tables, and what happens when the file system is
//! full, read-only, missing or without direct I/O, when a rank is killed and when the user gives up.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::launch::{in_namespace, mpirun, run_json, text};

fn ior(ranks: u32, dir: &Path, args: &[&str]) -> Output {
    let mut command = mpirun(ranks);
    command.args(["ior", "--timeout", "100", "-o"]).arg(dir.join("data")).args(args);
    command.output().expect("the launcher starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).expect("directory").map(|e| e.expect("entry").path()).collect()
}

/// Sets of options that must write, read and compare the right bytes.
const PATTERNS: &[&str] = &[
    "",
    "-F",
    "-F -u -C",
    "-s 5 -b 64k -t 64k -C",
    "-C -Q 2",
    "-C -Q 18446744073709551615 -T 18446744073709551615",
    "-Z -X 3",
    "-ZZ -X -3 -i 2",
    "-z",
    "-F -z --random-offset-seed=9",
    "-F -z -z",
    "-e -Y -g",
    "-i 3 -m",
    "-a POSIX -B",
    "-a POSIX -x",
    "-a MMAP -e -C",
    "-a URING --uring.depth=4 -e -C",
    "-a URING -B -z -t 4k",
    "-a MPIIO -e -C",
    "-a MPIIO -c -s 3",
    "-a MPIIO -V -s 3 -C",
    "-a MPIIO -c -V -s 3",
    "-a MPIIO -F -z",
    "-O transferSize=16k,segmentCount=2 -O reorderTasksConstant=1",
    "--cache advise",
];

#[test]
fn every_pattern_verifies_on_any_number_of_ranks_and_leaves_nothing() {
    for (at, pattern) in (0u32..).zip(PATTERNS) {
        let dir = tempfile::tempdir().expect("tempdir");
        // All rank counts over the patterns, each pattern on two of them.
        for ranks in [1 + at % 4, 1 + (at + 2) % 4] {
            let mut args = vec!["-b", "512k", "-t", "64k", "-w", "-r", "-W", "-R"];
            args.extend(pattern.split_whitespace());
            let output = ior(ranks, dir.path(), &args);
            assert_eq!(output.status.code(), Some(0), "{pattern} on {ranks}: {}", text(&output));
            let lines: Vec<String> = stdout(&output).lines().map(str::to_owned).collect();
            assert!(
                lines.iter().any(|l| l.starts_with("write ")) && lines.iter().any(|l| l.starts_with("read "))
            );
            assert_eq!(files_in(dir.path()), Vec::<PathBuf>::new(), "{pattern}");
        }
    }
}

#[test]
fn the_json_summary_has_the_keys_of_ior() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("summary.json");
    let directive = format!("summaryFile={},summaryFormat=JSON", file.display());
    let output =
        ior(2, dir.path(), &["-t", "64k", "-b", "256k", "-s", "2", "-i", "3", "-e", "-C", "-O", &directive]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let json: Value = serde_json::from_str(&std::fs::read_to_string(&file).expect("written")).expect("JSON");
    let test = &json["tests"][0];
    assert_eq!(test["Parameters"]["blockSize"], 256 << 10);
    assert_eq!(test["Parameters"]["reorderTasks"], 1);
    assert_eq!(test["Options"]["tasks"], 2);
    assert_eq!(test["Options"]["xfersize"], "64 KiB");
    let results = test["Results"].as_array().expect("results");
    assert_eq!(results.len(), 6);
    for result in results {
        for key in ["bwMiB", "iops", "latency", "openTime", "wrRdTime", "closeTime", "totalTime"] {
            assert!(result[key].as_f64().is_some_and(|v| v.is_finite() && v >= 0.0), "{key}: {result}");
        }
        // Bandwidth is bytes by total time: 2 ranks, 2 segments.
        let (rate, seconds) = (result["bwMiB"].as_f64(), result["totalTime"].as_f64());
        let mib = rate.expect("rate") * seconds.expect("seconds");
        assert!((mib - 1.0).abs() < 1e-6, "{mib} MiB");
    }
    let summary = json["summary"].as_array().expect("summary");
    assert_eq!(summary.len(), 2);
    assert!(summary[0]["bwMaxMIB"].as_f64() >= summary[0]["bwMinMIB"].as_f64());
    assert_eq!(summary[1]["operation"], "read");
}

#[test]
fn wrong_data_show_no_figure() {
    let dir = tempfile::tempdir().expect("tempdir");
    let sizes = ["-b", "256k", "-t", "64k"];
    let written = ior(2, dir.path(), &[&sizes[..], &["-w", "-k", "-G", "5"]].concat());
    assert_eq!(written.status.code(), Some(0), "{}", text(&written));
    let good = ior(2, dir.path(), &[&sizes[..], &["-r", "-R", "-C", "-k", "-G", "5"]].concat());
    assert_eq!(good.status.code(), Some(0), "{}", text(&good));
    let summary = dir.path().join("s.json");
    let directive = format!("summaryFile={},summaryFormat=JSON", summary.display());
    let bad = ior(2, dir.path(), &[&sizes[..], &["-r", "-R", "-G", "6", "-O", &directive]].concat());
    assert_eq!(bad.status.code(), Some(1), "{}", text(&bad));
    assert!(
        stdout(&bad).contains("invalid") && stdout(&bad).contains("figures withheld"),
        "{}",
        stdout(&bad)
    );
    let json: Value =
        serde_json::from_str(&std::fs::read_to_string(summary).expect("written")).expect("JSON");
    assert!(json["tests"][0]["Results"][0]["bwMiB"].is_null());
    assert_eq!(json["summary"].as_array().map(Vec::len), Some(0));
    assert!(dir.path().join("data").exists(), "a file that was only read stays");
}

#[test]
fn a_stonewall_ends_early_and_wears_out_evenly() {
    let dir = tempfile::tempdir().expect("tempdir");
    let status = dir.path().join("status");
    let file = format!("stoneWallingStatusFile={}", status.display());
    let sizes = ["-b", "64g", "-t", "16k", "-F", "-G", "1", "-k"];
    let wear = ["-D", "0.2", "-O", "stoneWallingWearOut=1", "-O", &file];
    let output = ior(2, dir.path(), &[&sizes[..], &["-w"], &wear].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let transfers: u64 = std::fs::read_to_string(&status).expect("noted").parse().expect("a number");
    for rank in 0..2 {
        let there = std::fs::metadata(dir.path().join(format!("data.{rank:08}"))).expect("file").len();
        assert_eq!(there, transfers * 16384, "both ranks did as much as the faster");
    }
    let read = ior(2, dir.path(), &[&sizes[..], &["-r", "-R", "-C", "-O", &file]].concat());
    assert_eq!(read.status.code(), Some(0), "{}", text(&read));
    let plain = tempfile::tempdir().expect("tempdir");
    let output = ior(2, plain.path(), &["-b", "64g", "-t", "16k", "-F", "-C", "-w", "-r", "-D", "0.2"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

/// Arguments of `ior`, exit code, what the one message must name.
const WRONG: &[(&[&str], i32, &str)] = &[
    (&["-y"], 2, "'-y'"),
    (&["-a", "HDF5"], 2, "-a HDF5"),
    (&["-t", "12x"], 2, "12x"),
    (&["-t", "3k", "-b", "8k"], 2, "-b 8192"),
    (&["-s", "0"], 2, "-s 0"),
    (&["-O", "noSuchThing=1"], 2, "noSuchThing"),
    (&["-O", "fsync=9x"], 2, "fsync=9x"),
    (&["-c"], 2, "-c: not with -a POSIX"),
    (&["-R", "-r"], 2, "-G"),
    (&["-C", "-Z"], 2, "-C"),
    (&["-z", "-C"], 2, "-z"),
    (&["-u"], 2, "-u 1"),
    (&["-a", "DUMMY", "-w", "-W"], 2, "-a DUMMY"),
    (&["-N", "9"], 2, "-N 9"),
    (&["-O", "stoneWallingWearOut=1"], 2, "stoneWallingWearOut"),
    (&["-o", "/nonexistent/data"], 3, "/nonexistent/data"),
    (&["-r", "-o", "/tmp/trimtab-no-such-file"], 3, "trimtab-no-such-file"),
    (&["-o", "/proc/version"], 3, "/proc/version"),
];

#[test]
fn wrong_options_are_named_once() {
    let dir = tempfile::tempdir().expect("tempdir");
    for (args, code, names) in WRONG {
        let output = ior(3, dir.path(), args);
        assert_eq!(output.status.code(), Some(*code), "{args:?}: {}", text(&output));
        let message = stderr(&output);
        let ours = message.lines().filter(|l| l.starts_with("trimtab-bench: ") || l.starts_with("error: "));
        let ours: Vec<&str> = ours.collect();
        assert_eq!(ours.len(), 1, "{args:?}: {message}");
        assert!(ours[0].contains(names), "{args:?}: {message}");
    }
}

/// Only one rank notes and reads it; the others must not wait for that rank when it cannot.
#[test]
fn a_status_file_out_of_reach_ends_every_rank_at_once() {
    let dir = tempfile::tempdir().expect("tempdir");
    let sizes = ["-b", "128k", "-t", "64k", "-k", "-D", "1", "-O"];
    let wear_out = |file: &str| format!("stoneWallingWearOut=1,stoneWallingStatusFile={file}");
    let begin = Instant::now();
    for (act, file, code, names) in [
        ("-w", "/nonexistent/x", 3, "cannot write /nonexistent/x"),
        ("-r", "/nonexistent/x", 3, "cannot read /nonexistent/x"),
        ("-r", "/proc/version", 2, "/proc/version:1: expected a number"),
    ] {
        let output = ior(2, dir.path(), &[&sizes[..], &[&wear_out(file), act]].concat());
        assert_eq!(output.status.code(), Some(code), "{act} {file}: {}", text(&output));
        assert_eq!(stderr(&output).matches(names).count(), 1, "{act} {file}: {}", text(&output));
    }
    assert!(begin.elapsed() < Duration::from_secs(60), "some rank waited for --timeout");
    let noted = dir.path().join("status").display().to_string();
    for act in ["-w", "-r"] {
        let output = ior(2, dir.path(), &[&sizes[..], &[&wear_out(&noted), act]].concat());
        assert_eq!(output.status.code(), Some(0), "{act}: {}", text(&output));
    }
}

#[test]
fn a_part_of_the_ranks_and_the_dummy() {
    let dir = tempfile::tempdir().expect("tempdir");
    let output = ior(3, dir.path(), &["-N", "2", "-b", "128k", "-t", "64k"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(stdout(&output).contains("tasks               : 2"), "{}", stdout(&output));
    let output = ior(2, dir.path(), &["-a", "DUMMY", "-b", "64m", "-t", "1m"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

fn iozone(ranks: u32, dir: &Path, args: &[&str]) -> Output {
    let mut command = mpirun(ranks);
    command.args(["iozone", "--timeout", "100", "-f"]).arg(dir.join("file")).args(args);
    command.output().expect("the launcher starts")
}

#[test]
fn iozone_prints_its_table_and_its_throughput_lines() {
    let dir = tempfile::tempdir().expect("tempdir");
    let output =
        iozone(1, dir.path(), &["-s", "1m", "-r", "64", "-e", "-c", "-o", "-i", "0", "-i", "1", "-i", "12"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let shown = stdout(&output);
    let head: Vec<&str> =
        shown.lines().find(|l| l.contains("reclen")).expect("head").split_whitespace().collect();
    assert_eq!(head, ["kB", "reclen", "write", "rewrite", "read", "reread", "preadv", "repreadv"]);
    let row = shown.lines().find(|l| l.trim_start().starts_with("1024      64")).expect("row");
    assert!(
        row.split_whitespace().skip(2).all(|figure| figure.parse::<f64>().is_ok_and(|f| f > 0.0)),
        "{row}"
    );
    let output = iozone(3, dir.path(), &["-t", "3", "-s", "256k", "-I"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(
        stdout(&output).contains("Children see throughput for  3 initial writers"),
        "{}",
        stdout(&output)
    );
    assert_eq!(stdout(&output).matches("Min throughput per process").count(), 22);
    let output = iozone(2, dir.path(), &["-t", "3", "-s", "256k"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert_eq!(stderr(&output).matches("-t 3").count(), 1, "{}", stderr(&output));
    let output = iozone(1, dir.path(), &["-i", "6", "-i", "7"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("freread"), "what does not begin a file makes it if it is not there");
    let output = iozone(2, dir.path(), &["-i", "1"]);
    assert_eq!((output.status.code(), stderr(&output).matches("tests=1").count()), (Some(2), 1));
    assert_eq!(files_in(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn iozone_sweeps_and_draws_a_surface() {
    let dir = tempfile::tempdir().expect("tempdir");
    let svg = dir.path().join("svg");
    std::fs::create_dir(&svg).expect("directory");
    let svg_name = svg.display().to_string();
    let args = ["-a", "-R", "-n", "64k", "-g", "256k", "-i", "0", "-i", "1", "--svg", &svg_name];
    let output = iozone(1, dir.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let shown = stdout(&output);
    assert!(shown.contains("\"Writer report\"") && shown.contains("\"Re-Reader report\""), "{shown}");
    // 64 KiB with 5 record sizes, 128 with 6, 256 with 7.
    let rows = shown.lines().filter(|l| {
        let words: Vec<&str> = l.split_whitespace().collect();
        l.starts_with("   ") && words.len() == 6 && words.iter().all(|w| w.parse::<f64>().is_ok())
    });
    assert_eq!(rows.count(), 18, "{shown}");
    for name in ["write", "rewrite", "read", "reread"] {
        let picture = std::fs::read_to_string(svg.join(format!("iozone-{name}.svg"))).expect("picture");
        assert!(picture.contains("<polygon"), "{name}");
    }
}

#[test]
fn rows_say_what_the_page_cache_had_to_do_with_them() {
    let dir = tempfile::tempdir_in(std::env::current_dir().expect("directory")).expect("tempdir");
    let dir_name = dir.path().display().to_string();
    let label = |param: &str| {
        let args =
            ["run", "ior-posix", "--size", "1m", "--dir", &dir_name, "--param", param, "--timeout", "100"];
        let json = run_json(2, &args, dir.path(), 0);
        let rows = json["results"].as_array().expect("results").clone();
        let read = rows.into_iter().find(|row| row["metric"] == "read").expect("read");
        read["params"]["page_cache"].as_str().expect("label").to_owned()
    };
    assert_eq!(label("cache=keep"), "cached");
    let advised = label("cache=advise");
    assert!(
        advised == "cold" || advised == "cached",
        "{advised}: cached only where the file system is memory"
    );
}

/// A command for `ranks` ranks on a directory, with the arguments after the program.
fn on(ranks: u32, args: &[&str]) -> Command {
    let mut command = mpirun(ranks);
    command.args(args).args(["--timeout", "100"]);
    command
}

#[test]
fn a_full_file_system_is_an_error_once() {
    let dir = tempfile::tempdir().expect("tempdir");
    let at = dir.path().display().to_string();
    let mount = format!("mount -t tmpfs -o size=2m none {at}");
    let file = format!("{at}/data");
    // Hydra hands on the code of the first rank that ended, as everywhere.
    for args in [
        &["ior", "-b", "4m", "-t", "256k", "-o", &file][..],
        &["ior", "-a", "MMAP", "-b", "4m", "-t", "256k", "-o", &file],
        &["ior", "-a", "URING", "-b", "4m", "-t", "64k", "-o", &file],
        &["ior", "-a", "MPIIO", "-b", "4m", "-t", "256k", "-o", &file],
        &["ior", "-a", "MPIIO", "-c", "-b", "4m", "-t", "256k", "-o", &file],
        &["run", "ior-posix", "--size", "4m", "--dir", &at],
        &["run", "iozone", "--variant", "mpi", "--size", "4m", "--dir", &at],
    ] {
        let Some(output) = in_namespace("full", &mount, &on(2, args)) else { return };
        assert_eq!(output.status.code(), Some(3), "{args:?}: {}", text(&output));
        let ours = stderr(&output).lines().filter(|l| l.starts_with("trimtab-bench: ")).count();
        assert_eq!(ours, 1, "{args:?}: {}", text(&output));
        assert!(stderr(&output).contains(&at), "{args:?}: {}", text(&output));
    }
}

#[test]
fn a_full_file_system_stops_mdtest() {
    let dir = tempfile::tempdir().expect("tempdir");
    let at = dir.path().display().to_string();
    let mount = format!("mount -t tmpfs -o size=2m,nr_inodes=50 none {at}");
    let args = ["run", "mdtest", "--param", "items=100", "--dir", &at];
    let Some(output) = in_namespace("full mdtest", &mount, &on(3, &args)) else { return };
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert_eq!(stderr(&output).matches("No space left").count(), 1, "{}", text(&output));
}

#[test]
fn a_read_only_file_system_is_an_error_once() {
    let dir = tempfile::tempdir().expect("tempdir");
    let at = dir.path().display().to_string();
    let mount = format!("mount -t tmpfs -o ro none {at}");
    let file = format!("{at}/data");
    for args in [
        &["ior", "-o", &file][..],
        &["ior", "-a", "MPIIO", "-o", &file],
        &["run", "ior-posix", "ior-mpiio", "--size", "1m", "--dir", &at],
        &["run", "mdtest", "--size", "1m", "--dir", &at],
    ] {
        let Some(output) = in_namespace("read-only", &mount, &on(2, args)) else { return };
        assert_eq!(output.status.code(), Some(3), "{args:?}: {}", text(&output));
        let kernels =
            args.iter().filter(|word| word.starts_with("ior-") || **word == "mdtest").count().max(1);
        let ours = stderr(&output).lines().filter(|l| l.starts_with("trimtab-bench: ")).count();
        assert_eq!(ours, kernels, "{args:?}: {}", text(&output));
    }
}

#[test]
fn a_file_system_without_direct_io_is_named() {
    let dir = tempfile::tempdir().expect("tempdir");
    let at = dir.path().display().to_string();
    let mount = format!("mount -t ramfs none {at}");
    let args = ["run", "ior-posix", "--param", "calls=direct", "--size", "1m", "--dir", &at];
    let Some(output) = in_namespace("no direct I/O", &mount, &on(2, &args)) else { return };
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert_eq!(stderr(&output).matches("O_DIRECT").count(), 1, "{}", text(&output));
}

#[test]
fn a_forbidden_io_uring_is_named() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("data").display().to_string();
    let mut command = on(2, &["ior", "-a", "URING", "-o", &file]);
    // SAFETY: the child only makes two system calls before it becomes the launcher.
    unsafe { command.pre_exec(forbid_io_uring) };
    let output = command.output().expect("the launcher starts");
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert_eq!(stderr(&output).matches("io_uring cannot be used: forbidden").count(), 1, "{}", text(&output));
    assert_eq!(files_in(dir.path()), Vec::<PathBuf>::new());
}

/// A seccomp filter as containers have it: io_uring_setup answers EPERM, everything else is allowed.
fn forbid_io_uring() -> std::io::Result<()> {
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let setup = u32::try_from(libc::SYS_io_uring_setup).unwrap_or(u32::MAX);
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, setup),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: numbers, and a program that lives until the call is over.
    let failed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
    };
    if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Starts a test that would take long, and waits until its file is there.
fn long_run(dir: &Path, args: &[&str]) -> Child {
    let mut command = mpirun(3);
    command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("the launcher starts");
    let begin = Instant::now();
    while files_in(dir).is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(60), "no file appears");
        std::thread::sleep(Duration::from_millis(20));
    }
    // All ranks are then past the start of MPI, which no signal handler of ours survives.
    std::thread::sleep(Duration::from_millis(300));
    child
}

fn waits_until_empty(dir: &Path, what: &str) {
    let begin = Instant::now();
    while !files_in(dir).is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what} leaves {:?}", files_in(dir));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Arguments of runs that take long, also where nothing is slow: Debian 13 has /tmp in memory. Each phase takes seconds there, or
/// `--timeout`, which counts from phase to phase, waits for a slow one; the file stays small because nobody waits for its end.
fn long_runs(dir: &Path) -> [Vec<String>; 3] {
    let file = dir.join("data").display().to_string();
    let at = dir.display().to_string();
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    [
        words(&format!("ior -F -u -b 1g -t 64 -Y -i 100000 -o {file}")),
        words(&format!("ior -a MPIIO -b 1g -t 64 -i 100000 -o {file}")),
        words(&format!(
            "run iozone --repeat 100000 --param file=256m --param record=4k --param sync=yes --dir {at}"
        )),
    ]
}

#[test]
fn ctrl_c_and_termination_leave_no_file() {
    for signal in ["-INT", "-TERM"] {
        let dir = tempfile::tempdir().expect("tempdir");
        for args in long_runs(dir.path()) {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let mut child = long_run(dir.path(), &args);
            let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
            assert!(killed.success());
            child.wait().expect("ends");
            waits_until_empty(dir.path(), &format!("{args:?} {signal}"));
        }
    }
}

#[test]
fn a_time_out_leaves_no_file() {
    let dir = tempfile::tempdir().expect("tempdir");
    for args in long_runs(dir.path()) {
        let begin = Instant::now();
        let output = mpirun(2).args(&args).args(["--timeout", "1"]).output().expect("the launcher starts");
        assert!(begin.elapsed() < Duration::from_secs(20), "{args:?} ended after {:?}", begin.elapsed());
        assert!(!output.status.success(), "{args:?}: {}", text(&output));
        assert_eq!(stderr(&output).matches("within --timeout").count(), 1, "{args:?}: {}", text(&output));
        waits_until_empty(dir.path(), &format!("{args:?}"));
    }
}

#[test]
fn a_killed_rank_ends_the_job_and_leaves_no_file() {
    for args in long_runs(Path::new("DIR")) {
        let dir = tempfile::tempdir().expect("tempdir");
        let at = dir.path().display().to_string();
        let args: Vec<String> = args.iter().map(|arg| arg.replace("DIR", &at)).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut child = long_run(dir.path(), &args);
        crate::launch::kill_one_rank(child.id());
        assert!(!child.wait().expect("ends").success(), "{args:?}");
        waits_until_empty(dir.path(), &format!("{args:?}"));
    }
}
