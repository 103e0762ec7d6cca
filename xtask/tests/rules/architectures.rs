//! A fast path for x86-64 alone has a counterpart: whoever adds one says what aarch64 runs in its place. That the counterpart
//! compiles and computes the same, only a build for aarch64 can tell (docs/BENCH.md).

use crate::tree;

const X86: &str = "target_arch = \"x86_64\"";
const AARCH64: &str = "target_arch = \"aarch64\"";

/// Files with nothing for aarch64 in them, and what it runs instead.
const BASELINE_DOES: [(&str, &str); 3] = [
    ("mpi-bench/src/cpu.rs", "asks x86-64 CPUs only: the baseline of aarch64 has NEON"),
    ("mpi-bench/src/kernels/hpcc/fft/plan.rs", "the same source, compiled for NEON"),
    (
        "mpi-bench/src/kernels/npb/cg/sliced.rs",
        "the same source, dispatched: NEON loads no scattered elements",
    ),
];

/// Whether a text has code for x86-64 alone and none for aarch64. Comments do not count.
fn one_sided(text: &str) -> bool {
    let has =
        |what: &str| text.lines().any(|line| line.split("//").next().unwrap_or_default().contains(what));
    has(X86) && !has(AARCH64)
}

#[test]
fn code_for_x86_64_has_a_counterpart_for_aarch64() {
    let files = tree::files("mpi-bench", "rs");
    let one_sided: Vec<&str> =
        files.iter().filter(|(_, text)| one_sided(text)).map(|(path, _)| path.as_str()).collect();
    let explained = BASELINE_DOES.map(|(path, _)| path);
    let mut findings: Vec<String> = Vec::new();
    let missing = one_sided.iter().filter(|path| !explained.contains(path));
    findings.extend(missing.map(|path| format!("{path}: nothing for aarch64")));
    let stale = explained.iter().filter(|path| !one_sided.contains(path));
    findings.extend(stale.map(|path| format!("{path}: needs no explanation any more")));
    tree::none(&findings, "code for one architecture (xtask/tests/rules/architectures.rs)");
}

#[test]
fn a_missing_counterpart_is_found() {
    let (x86, aarch64) = (format!("#[cfg({X86})]\nmod x86;\n"), format!("#[cfg({AARCH64})]\nmod neon;\n"));
    assert!(one_sided(&x86));
    assert!(!one_sided(&format!("{x86}{aarch64}")) && !one_sided(&aarch64) && !one_sided("mod plain;\n"));
    assert!(one_sided(&format!("{x86}// {aarch64}")), "a comment is no code");
}
