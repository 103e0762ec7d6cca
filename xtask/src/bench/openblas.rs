//! Which kernels OpenBLAS picks on this CPU, and better ones where it does not know the CPU.
//!
//! A distribution's OpenBLAS is older than many CPUs: one that it does not know gets kernels of 2004 (SSE3, a fifth of the
//! speed). A comparison with those would flatter us, so the bench names the newest family that the CPU's features allow.
//! May not: run a benchmark.

use crate::cmd;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Families before AVX2, in OpenBLAS's own names: what an unknown CPU falls back to, and what an old one really is.
const BEFORE_AVX2: [&str; 12] = [
    "generic",
    "Katmai",
    "Coppermine",
    "Northwood",
    "Prescott",
    "Banias",
    "Core2",
    "Penryn",
    "Dunnington",
    "Nehalem",
    "Atom",
    "Sandybridge",
];

/// Families by the features that their kernels use, best first.
const FAMILIES: [(&str, &[&str]); 3] = [
    ("Cooperlake", &["avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_bf16"]),
    ("SkylakeX", &["avx512f", "avx512dq", "avx512bw", "avx512vl"]),
    ("Haswell", &["avx2", "fma"]),
];

/// The value for `OPENBLAS_CORETYPE` that is fair to the original, with the sentence that says so; `None`: it knows the CPU,
/// or its choice cannot be told.
pub(super) fn better_core() -> Result<Option<(&'static str, String)>> {
    let Some(picked) = picked_core()? else { return Ok(None) };
    let info = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    Ok(better(&picked, &info).map(|core| {
        let why = format!(
            "OpenBLAS takes this CPU for a {picked}; it runs with OPENBLAS_CORETYPE={core}, by the CPU's features"
        );
        (core, why)
    }))
}

/// What OpenBLAS says on being loaded. Debian's picks its kernels at run time and tells when asked.
fn picked_core() -> Result<Option<String>> {
    let Some(library) = library() else { return Ok(None) };
    let mut command = Command::new("true");
    command.env("LD_PRELOAD", library).env("OPENBLAS_VERBOSE", "2").env_remove("OPENBLAS_CORETYPE");
    let said = cmd::capture(&mut command)?;
    let lines = said.err.lines().chain(said.out.lines());
    Ok(lines.filter_map(|line| line.strip_prefix("Core: ")).map(|core| core.trim().to_owned()).next())
}

/// The shared library that the distribution's hpcc loads.
fn library() -> Option<PathBuf> {
    let dirs = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        dirs.map(|dir| dir.join("libopenblas.so.0")).filter(|p| Path::exists(p)).collect();
    found.sort();
    found.pop()
}

fn better(picked: &str, cpuinfo: &str) -> Option<&'static str> {
    if !BEFORE_AVX2.iter().any(|old| old.eq_ignore_ascii_case(picked)) {
        return None;
    }
    let flags: Vec<&str> =
        cpuinfo.lines().find(|line| line.starts_with("flags"))?.split_whitespace().collect();
    FAMILIES.iter().find(|(_, needs)| needs.iter().all(|flag| flags.contains(flag))).map(|(core, _)| *core)
}

#[cfg(test)]
mod tests {
    use super::better;

    #[test]
    fn only_a_cpu_that_is_better_than_its_family_gets_another() {
        let avx512 = "flags\t\t: fpu fma avx2 avx512f avx512dq avx512bw avx512vl\n";
        assert_eq!(better("Prescott", avx512), Some("SkylakeX"));
        assert_eq!(better("Prescott", &avx512.replace("vl", "vl avx512_bf16")), Some("Cooperlake"));
        assert_eq!(better("Zen", avx512), None);
        assert_eq!(better("Nehalem", "flags : fpu sse4_2\n"), None);
        assert_eq!(better("Core2", "flags : fpu avx2 fma\n"), Some("Haswell"));
    }
}
