//! `cargo xtask bench hpcc`: the distribution's HPC Challenge and trimtab-bench in alternation, ratio per metric.
//!
//! Both read the same hpccinf.txt, run under the same launcher with the same ranks and binding, and write the same summary
//! section, so that one reader serves both. Which one goes first changes from pair to pair, because a machine drifts; a
//! ratio is taken within a pair, and its median counts. A figure that trimtab-bench could not verify is absent from its
//! summary and fails its row. May not: take a figure of the original from anywhere but the run beside it.

use super::openblas;
use super::rows::{Better, Row, Sample, alternate, figure};
use crate::{cmd, mpi, workspace};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Ranks that the numbers were promised for.
const RANKS: u32 = 2;
/// The best of these counts, for each of both.
const NBS: [u32; 3] = [128, 192, 256];

/// Metric of the summary section, whether more is better, and the least ratio promised (absent: only reported).
const METRICS: [(&str, Better, Option<f64>); 19] = [
    ("HPL_Tflops", Better::More, Some(1.05)),
    ("SingleDGEMM_Gflops", Better::More, Some(1.05)),
    ("StarDGEMM_Gflops", Better::More, Some(1.05)),
    ("SingleSTREAM_Triad", Better::More, Some(0.98)),
    ("StarSTREAM_Triad", Better::More, Some(0.98)),
    ("SingleSTREAM_tuned_Triad", Better::More, Some(1.25)),
    ("StarSTREAM_tuned_Triad", Better::More, Some(1.25)),
    ("PTRANS_GBs", Better::More, Some(1.5)),
    ("SingleRandomAccess_GUPs", Better::More, Some(1.3)),
    ("StarRandomAccess_GUPs", Better::More, None),
    ("MPIRandomAccess_GUPs", Better::More, Some(2.0)),
    ("SingleFFT_Gflops", Better::More, Some(2.5)),
    ("StarFFT_Gflops", Better::More, None),
    ("MPIFFT_Gflops", Better::More, Some(1.3)),
    // At most 1.05 times the original's latency.
    ("AvgPingPongLatency_usec", Better::Less, Some(1.0 / 1.05)),
    ("NaturallyOrderedRingLatency_usec", Better::Less, Some(1.0 / 1.05)),
    ("RandomlyOrderedRingLatency_usec", Better::Less, Some(1.0 / 1.05)),
    ("AvgPingPongBandwidth_GBytes", Better::More, Some(0.97)),
    ("RandomlyOrderedRingBandwidth_GBytes", Better::More, Some(0.97)),
];

/// Sizes of the summary section: a ratio of figures for different ones says nothing. HPL's NB is not among them, because the best
/// of each counts.
const SIZES: [&str; 8] = [
    "HPL_N",
    "DGEMM_N",
    "STREAM_VectorSize",
    "PTRANS_n",
    "RandomAccess_N",
    "MPIRandomAccess_N",
    "FFT_N",
    "MPIFFT_N",
];

/// What the user chooses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// Pairs of runs.
    pub(super) pairs: u32,
    /// Order of HPL's matrix, from which all other sizes follow.
    pub(super) n: u32,
}

/// What both programs are started with.
struct Setting<'a> {
    library: &'a mpi::Library,
    ours: PathBuf,
    core: Option<&'static str>,
}

/// Run the pairs and print the table. The rows as JSON values, and whether every bound is met.
pub(super) fn run(Scale { pairs, n }: Scale) -> Result<(Vec<Value>, bool)> {
    let library = &mpi::LIBRARIES[0];
    let ours = build(library)?;
    let better = openblas::better_core()?;
    if let Some((_, why)) = &better {
        println!("{why}");
    }
    let setting = Setting { library, ours, core: better.map(|(core, _)| core) };
    let dir = workspace::target_dir().join("bench-hpcc");
    let mut samples: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    for pair in 0..pairs {
        println!("Pair {} of {pairs}: N={n}, NB={NBS:?}, {RANKS} ranks bound to cores", pair + 1);
        let theirs_dir = fresh(&dir.join(format!("original-{pair}")), n)?;
        let ours_dir = fresh(&dir.join(format!("trimtab-{pair}")), n)?;
        let (original, ours) =
            alternate(pair, || setting.original(&theirs_dir), || setting.trimtab(&ours_dir));
        let (original, ours) = (original?, ours?);
        same_sizes(&original, &ours)?;
        let (original, ours) = (Ok(original), Ok(ours));
        for (name, _, _) in METRICS {
            let base = name.replace("_tuned", "");
            let sample = Sample { original: figure(&original, &base), ours: figure(&ours, name) };
            samples.entry(name).or_default().push(sample);
        }
    }
    let rows: Vec<Row> = METRICS
        .iter()
        .map(|(name, better, bound)| {
            Row::new(name, *better, *bound, samples.get(name).map_or(&[], Vec::as_slice))
        })
        .collect();
    Ok(Row::table(&rows))
}

/// Builds trimtab-bench as users have it; its place.
pub(super) fn build(library: &mpi::Library) -> Result<PathBuf> {
    println!("Building trimtab-bench");
    let mut build = workspace::cargo();
    build.args(["build", "--release", "--locked", "-p", "trimtab-bench"]);
    library.apply(&mut build);
    cmd::shown_ok(&mut build)?;
    Ok(library.target_dir().join("release/trimtab-bench"))
}

fn fresh(dir: &Path, n: u32) -> Result<PathBuf> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot clear {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let file = dir.join("hpccinf.txt");
    fs::write(&file, input(n)).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(dir.to_path_buf())
}

/// The launcher in that directory, with so many ranks, each bound to a core.
pub(super) fn launcher(library: &mpi::Library, dir: &Path, ranks: u32) -> Command {
    launcher_bound(library, dir, ranks, "core")
}

/// As [`launcher`], each rank bound to such a thing, which may be `none`.
pub(super) fn launcher_bound(library: &mpi::Library, dir: &Path, ranks: u32, to: &str) -> Command {
    let mut command = Command::new(library.launcher());
    library.as_root(&mut command);
    command.current_dir(dir).args(["-n", &ranks.to_string(), "--bind-to", to]);
    command
}

impl Setting<'_> {
    fn launcher(&self, dir: &Path) -> Command {
        let mut command = launcher(self.library, dir, RANKS);
        // One thread a rank, as the original is meant to be run, with kernels that fit the CPU.
        command.env("OPENBLAS_NUM_THREADS", "1").env_remove("OPENBLAS_CORETYPE");
        if let Some(core) = self.core {
            command.env("OPENBLAS_CORETYPE", core);
        }
        command
    }

    fn original(&self, dir: &Path) -> Result<BTreeMap<String, f64>> {
        finish("hpcc", self.launcher(dir).arg("hpcc"))?;
        summary(&dir.join("hpccoutf.txt"))
    }

    fn trimtab(&self, dir: &Path) -> Result<BTreeMap<String, f64>> {
        let mut command = self.launcher(dir);
        command.arg(&self.ours).args(["suite", "hpcc", "--json", "results.json"]);
        finish("trimtab-bench", &mut command)?;
        let mut figures = summary(&dir.join("hpccoutf.txt"))?;
        figures.extend(tuned_stream(&dir.join("results.json"))?);
        Ok(figures)
    }
}

/// What the program prints.
///
/// # Errors
/// It fails.
pub(super) fn finish(name: &str, command: &mut Command) -> Result<String> {
    let line = cmd::line(command);
    let begin = Instant::now();
    let said = cmd::capture(command)?;
    println!("  {name}: {:.0} s", begin.elapsed().as_secs_f64());
    if !said.ok {
        bail!("{line} failed:\n{}{}", said.out, said.err);
    }
    Ok(said.out)
}

/// `Key=value` lines of the summary section.
fn summary(file: &Path) -> Result<BTreeMap<String, f64>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let figures = parse_summary(&text);
    if figures.get("Success") != Some(&1.0) {
        bail!("{} does not report success", file.display());
    }
    Ok(figures)
}

/// Fails unless both ran the same problems.
fn same_sizes(original: &BTreeMap<String, f64>, ours: &BTreeMap<String, f64>) -> Result<()> {
    let shown = |size: Option<&f64>| size.map_or_else(|| "not in its summary".to_owned(), f64::to_string);
    for name in SIZES {
        let sizes = (original.get(name), ours.get(name));
        if sizes.0.is_none() || sizes.0 != sizes.1 {
            bail!("{name} differs: original {}, ours {}", shown(sizes.0), shown(sizes.1));
        }
    }
    Ok(())
}

fn parse_summary(text: &str) -> BTreeMap<String, f64> {
    let begin = text.rfind("Begin of Summary section.").unwrap_or(text.len());
    let lines = text[begin..].lines().take_while(|line| !line.starts_with("End of Summary"));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.filter_map(|(key, value)| Some((key.trim().to_owned(), value.trim().parse().ok()?))).collect()
}

/// The tuned STREAM has no key in the original's summary; its triads come from the JSON.
fn tuned_stream(file: &Path) -> Result<BTreeMap<String, f64>> {
    Ok(parse_tuned(&super::read_json(file)?))
}

fn parse_tuned(document: &Value) -> BTreeMap<String, f64> {
    let rows = document["results"].as_array().map_or(&[][..], Vec::as_slice);
    let triads = rows.iter().filter(|row| row["name"] == "stream-tuned" && row["metric"] == "triad");
    let key = |row: &Value| match row["variant"].as_str() {
        Some("single") => Some("SingleSTREAM_tuned_Triad"),
        Some("star") => Some("StarSTREAM_tuned_Triad"),
        _ => None,
    };
    let verified = triads.filter(|row| row["verified"] == true);
    verified.filter_map(|row| Some((key(row)?.to_owned(), row["value"].as_f64()?))).collect()
}

/// The original's input file: every line is read by its place.
fn input(n: u32) -> String {
    let nbs = NBS.map(|nb| nb.to_string()).join(" ");
    format!(
        "HPLinpack benchmark input file\nwritten by cargo xtask bench hpcc\nHPL.out output file name (if any)\n\
         8 device out\n1 # of problems sizes (N)\n{n} Ns\n{} # of NBs\n{nbs} NBs\n0 PMAP process mapping (row-major)\n\
         1 # of process grids (P x Q)\n1 Ps\n{RANKS} Qs\n16.0 threshold\n1 # of panel fact\n2 PFACTs (right)\n\
         1 # of recursive stopping criterium\n4 NBMINs\n1 # of panels in recursion\n2 NDIVs\n\
         1 # of recursive panel fact.\n1 RFACTs (Crout)\n1 # of broadcast\n1 BCASTs (1rM)\n1 # of lookahead depth\n\
         1 DEPTHs\n2 SWAP (mix)\n64 swapping threshold\n0 L1 in transposed form\n0 U in transposed form\n\
         1 Equilibration\n8 memory alignment in double\n##### separator #####\n\
         0 Number of additional problem sizes for PTRANS\n1200 values of N\n\
         0 number of additional blocking sizes for PTRANS\n40 values of NB\n",
        NBS.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_summary_of_an_appended_file_counts() {
        let text = "Begin of Summary section.\nHPL_Tflops=0.1\nSuccess=1\nEnd of Summary section.\nN=3\n\
                    Begin of Summary section.\nLANG=C\nHPL_Tflops=0.2\nSuccess=1\nEnd of Summary section.\nM=4\n";
        let figures = parse_summary(text);
        assert_eq!(figures.get("HPL_Tflops"), Some(&0.2));
        assert_eq!(figures.len(), 2);
    }

    #[test]
    fn a_pair_of_different_sizes_is_none() {
        let sizes = |n: f64| SIZES.map(|name| (name.to_owned(), n));
        let original = BTreeMap::from(sizes(8000.0));
        assert!(same_sizes(&original, &original).is_ok());
        for name in SIZES {
            let mut ours = original.clone();
            ours.insert(name.to_owned(), 7999.0);
            let why = same_sizes(&original, &ours).expect_err("different").to_string();
            assert_eq!(why, format!("{name} differs: original 8000, ours 7999"));
            ours.remove(name);
            assert!(same_sizes(&original, &ours).is_err() && same_sizes(&ours, &ours).is_err(), "{name}");
        }
    }

    #[test]
    fn only_a_verified_tuned_stream_counts() {
        let row = |variant: &str, verified: bool| serde_json::json!({"name": "stream-tuned", "variant": variant, "metric": "triad", "value": 50.0, "verified": verified});
        let document = serde_json::json!({"results": [row("star", true), row("single", false)]});
        assert_eq!(parse_tuned(&document).keys().collect::<Vec<_>>(), ["StarSTREAM_tuned_Triad"]);
    }

    #[test]
    fn the_input_has_its_values_in_their_places() {
        let text = input(8000);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 36);
        assert!(
            lines[5].starts_with("8000 ")
                && lines[7].starts_with("128 192 256 ")
                && lines[11].starts_with("2 ")
        );
        assert!(lines[31].starts_with('#'));
    }
}
