//! `cargo xtask bench npb --npb DIR`: the user's NPB programs of class A and trimtab-bench in alternation, ratio per kernel
//! and number of ranks.
//!
//! NPB is not in any distribution, so the programs are the user's: `cg.A.x` for any number of ranks (NPB 3.4), or `cg.A.1` and
//! `cg.A.2` (NPB 3.3). A kernel without a program gets no row. Both sides count operations by the same formula, so the
//! ratio of Mop/s is that of the times, of which NPB prints too few digits. A run that fails costs its row, not the bench.
//! May not: count a run that NPB or trimtab-bench did not verify.

use super::hpcc::{build, finish, launcher};
use super::rows::{Better, Figure, Row, Sample, alternate, outcome};
use crate::{mpi, workspace};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const KERNELS: [&str; 8] = ["ep", "cg", "is", "mg", "ft", "bt", "sp", "lu"];
const RANKS: [u32; 2] = [1, 2];

/// Ours must not be slower.
const BOUND: f64 = 1.0;

/// What is compared in one row.
struct Case {
    kernel: &'static str,
    ranks: u32,
    original: PathBuf,
    samples: Vec<Sample>,
}

/// Runs `pairs` pairs of each case and prints the table. The rows as JSON values, and whether every bound is met.
pub(super) fn run(dir: &Path, pairs: u32) -> Result<(Vec<Value>, bool)> {
    let dir = dir.canonicalize().with_context(|| format!("cannot open {}", dir.display()))?;
    let mut cases = cases(&dir, Path::is_file);
    if cases.is_empty() {
        bail!("{} has no NPB program of class A, such as cg.A.x or cg.A.1", dir.display());
    }
    let library = &mpi::LIBRARIES[0];
    let ours = build(library)?;
    let work = workspace::target_dir().join("bench-npb");
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    for pair in 0..pairs {
        println!("NPB class A, pair {} of {pairs}", pair + 1);
        for case in &mut cases {
            let (original, ours) =
                alternate(pair, || case.original(library, &work), || case.ours(library, &work, &ours));
            case.samples.push(Sample { original, ours });
        }
    }
    let rows: Vec<Row> = cases.iter().map(Case::row).collect();
    Ok(Row::table(&rows))
}

impl Case {
    fn original(&self, library: &mpi::Library, work: &Path) -> Figure {
        let mut command = launcher(library, work, self.ranks);
        // Kernels for square numbers of ranks leave some idle instead of refusing the others (NPB 3.4).
        command.env("NPB_NPROCS_STRICT", "0").arg(&self.original);
        let said = outcome(finish(self.kernel, &mut command))?;
        original_mops(&said).ok_or_else(|| "not verified".to_owned())
    }

    fn ours(&self, library: &mpi::Library, work: &Path, program: &Path) -> Figure {
        let file = work.join("results.json");
        let name = format!("npb-{}", self.kernel);
        let mut command = launcher(library, work, self.ranks);
        command.arg(program).args(["run", &name, "--size", "A", "--json"]).arg(&file);
        let document = outcome(finish(&name, &mut command).and_then(|_| super::read_json(&file)))?;
        our_mops(&document).ok_or_else(|| "not verified".to_owned())
    }

    fn row(&self) -> Row {
        let ranks = if self.ranks == 1 { "1 rank".to_owned() } else { format!("{} ranks", self.ranks) };
        let name = format!("npb-{} class A Mop/s, {ranks}", self.kernel);
        Row::new(&name, Better::More, Some(BOUND), &self.samples)
    }
}

/// Every kernel and number of ranks that the directory has a program for.
fn cases(dir: &Path, is_file: impl Fn(&Path) -> bool) -> Vec<Case> {
    let all = KERNELS.iter().flat_map(|kernel| RANKS.map(|ranks| (*kernel, ranks)));
    all.filter_map(|(kernel, ranks)| {
        let names = [format!("{kernel}.A.x"), format!("{kernel}.A.{ranks}")];
        let original = names.iter().map(|name| dir.join(name)).find(|file| is_file(file))?;
        Some(Case { kernel, ranks, original, samples: Vec::new() })
    })
    .collect()
}

/// Mop/s of an NPB program's output, if it verified its result.
fn original_mops(text: &str) -> Option<f64> {
    // Only `key = value`: some kernels also say `Verification being performed for class A`.
    let value = |key: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim())
    };
    value("Verification").filter(|verdict| *verdict == "SUCCESSFUL")?;
    value("Mop/s total")?.parse().ok()
}

/// Mop/s of our document, if verified.
fn our_mops(document: &Value) -> Option<f64> {
    let rows = document["results"].as_array()?;
    let row = rows.iter().find(|row| row["metric"] == "mops" && row["verified"] == true)?;
    row["value"].as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_verified_run_counts() {
        let text = " Verification being performed for class A\n accuracy setting for epsilon =  0.1E-07\n \
                    Time in seconds =                     0.62\n Mop/s total     =                  2405.53\n \
                    Mop/s/process   =                  2405.53\n Verification    =               SUCCESSFUL\n";
        assert_eq!(original_mops(text), Some(2405.53));
        assert_eq!(original_mops(&text.replace("SUCCESSFUL", "UNSUCCESSFUL")), None);
        let document = |verified: bool| serde_json::json!({"results": [{"metric": "mops", "value": 3.5, "verified": verified}]});
        assert_eq!(our_mops(&document(true)), Some(3.5));
        assert_eq!(our_mops(&document(false)), None);
    }

    #[test]
    fn programs_are_found_by_either_name() {
        let is_file = |file: &Path| ["cg.A.x", "mg.A.2", "ft.B.x"].iter().any(|name| file.ends_with(name));
        let found = cases(Path::new("/npb"), is_file);
        let found: Vec<_> = found.iter().map(|case| (case.kernel, case.ranks)).collect();
        assert_eq!(found, [("cg", 1), ("cg", 2), ("mg", 2)]);
    }
}
