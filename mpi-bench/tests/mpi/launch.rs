//! Starts the built program as 1..n ranks with the launcher of the MPI library it was linked with. Test helper only.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_trimtab-bench");

/// The launcher that goes with the library, by the name that build.rs found.
const OWN: &str = env!("TRIMTAB_MPIRUN");

/// Whether the library is MPICH.
pub(crate) fn is_mpich() -> bool {
    OWN.contains("mpich")
}

/// Whether so many ranks come to an end in reasonable time here; says so if not, straight to standard error, which libtest does not
/// hold back. MPICH's spin without yielding while they wait, so with more than two on a core each message costs several time slices;
/// Open MPI's yield. `driver` runs eight of either in any case.
pub(crate) fn bearable(ranks: u32) -> bool {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let bearable = !is_mpich() || ranks as usize <= 2 * cores;
    if !bearable {
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        // Not a skip: the test itself runs, on fewer ranks. If it cannot be said, nothing is lost but the word.
        let _ = writeln!(std::io::stderr(), "note: {test}: {ranks} ranks of MPICH left out on {cores} cores");
    }
    bearable
}

/// A launcher command for `ranks` ranks of the program.
pub(crate) fn mpirun(ranks: u32) -> Command {
    let mut command = launcher(ranks);
    command.arg(PROGRAM);
    command
}

/// A launcher command for `ranks` ranks, each in the directory of `dirs` that is named by its number.
pub(crate) fn mpirun_each_in(ranks: u32, dirs: &Path) -> Command {
    let mut command = launcher(ranks);
    let script = r#"cd "$DIRS/${OMPI_COMM_WORLD_RANK-$PMI_RANK}" && exec "$0" "$@""#;
    command.args(["sh", "-c", script, PROGRAM]).env("DIRS", dirs);
    command
}

/// A launcher command for `ranks` ranks, oversubscribed and as root where that needs saying.
fn launcher(ranks: u32) -> Command {
    let mut command = Command::new(if needs_pmix() { "mpirun.openmpi" } else { OWN });
    command.args(["-n", &ranks.to_string()]);
    if !is_mpich() || needs_pmix() {
        command.arg("--oversubscribe");
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        // More ranks than cores: yield while waiting, or every message costs a scheduler tick.
        command.env("OMPI_MCA_mpi_yield_when_idle", "1");
    }
    command
}

/// Whether MPICH's own launcher cannot serve its library, but one that speaks PMIx can: Ubuntu 24.04 built it so
/// (<https://bugs.launchpad.net/bugs/2072338>). The program says it.
fn needs_pmix() -> bool {
    static NEEDS: OnceLock<bool> = OnceLock::new();
    *NEEDS.get_or_init(|| {
        if !is_mpich() {
            return false;
        }
        let probe = Command::new(OWN).args(["-n", "2", PROGRAM, "run", "osu-barrier"]).output();
        let alone = text(&probe.expect("the launcher starts")).contains("each is alone to MPI");
        if alone {
            // As above: if it cannot be said, nothing is lost but the word.
            let _ = writeln!(std::io::stderr(), "note: {OWN} cannot start this MPICH, mpirun.openmpi does");
        }
        alone
    })
}

/// Runs the program as `ranks` ranks.
pub(crate) fn run(ranks: u32, args: &[&str]) -> Output {
    mpirun(ranks).args(args).output().expect("the launcher starts")
}

/// Runs it with `--json` into `dir`, expects the exit code, and returns the document.
pub(crate) fn run_json(ranks: u32, args: &[&str], dir: &Path, code: i32) -> Value {
    let json = dir.join("out.json");
    let output = mpirun(ranks).args(args).arg("--json").arg(&json).output().expect("the launcher starts");
    assert_eq!(output.status.code(), Some(code), "{args:?} on {ranks} ranks: {}", text(&output));
    serde_json::from_str(&std::fs::read_to_string(&json).expect("JSON written")).expect("valid JSON")
}

/// Both streams, for messages.
pub(crate) fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Kills one process of the program under `launcher`, with SIGKILL.
pub(crate) fn kill_one_rank(launcher: u32) {
    let mut pending = vec![launcher];
    while let Some(pid) = pending.pop() {
        let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        if exe == Path::new(PROGRAM) {
            let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill");
            assert!(killed.success());
            return;
        }
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        pending.extend(children.split_whitespace().filter_map(|p| p.parse::<u32>().ok()));
    }
    panic!("no rank found under {launcher}");
}

/// Runs a command in a mount namespace of its own after `mounts` (shell). `None`, with a word on it, without the rights.
pub(crate) fn in_namespace(name: &str, mounts: &str, command: &Command) -> Option<Output> {
    // SAFETY: takes nothing, returns a number.
    if unsafe { libc::geteuid() } != 0 {
        assert!(std::env::var_os("TRIMTAB_REQUIRE_LIVE").is_none(), "{name} needs root");
        eprintln!("SKIPPED {name}: mounting needs root");
        return None;
    }
    let mut wrapped = Command::new("unshare");
    wrapped.args(["-m", "sh", "-c", &format!("{mounts} && exec \"$@\""), "sh"]);
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    Some(wrapped.output().expect("unshare starts"))
}
