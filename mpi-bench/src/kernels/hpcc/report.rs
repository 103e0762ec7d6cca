//! The text of `hpccoutf.txt`: one section a kernel and the summary that users' tools parse.
//!
//! Values are fixed decimals (parsers in the field misread exponents); a figure that was not measured or did not verify has no
//! line, and the latter sets `Success=0`. Keys that describe the original's build are not written.

use std::fmt::Write as _;

use serde_json::Value;

use super::EPS;
use crate::kernel::{Family, Variant};
use crate::result::{Outcome, Row};

/// (key, kernel, variant, metric): figures that come straight from a row, times a factor.
const FIGURES: &[(&str, &str, Variant, &str, f64)] = &[
    ("HPL_Tflops", "hpl", Variant::Mpi, "gflops", 1e-3),
    ("HPL_time", "hpl", Variant::Mpi, "time", 1.0),
    ("StarDGEMM_Gflops", "dgemm", Variant::Star, "gflops", 1.0),
    ("SingleDGEMM_Gflops", "dgemm", Variant::Single, "gflops", 1.0),
    ("PTRANS_GBs", "ptrans", Variant::Mpi, "bandwidth", 1.0),
    ("MPIRandomAccess_LCG_GUPs", "random-access-lcg", Variant::Mpi, "gups", 1.0),
    ("MPIRandomAccess_GUPs", "random-access", Variant::Mpi, "gups", 1.0),
    ("StarRandomAccess_LCG_GUPs", "random-access-lcg", Variant::Star, "gups", 1.0),
    ("SingleRandomAccess_LCG_GUPs", "random-access-lcg", Variant::Single, "gups", 1.0),
    ("StarRandomAccess_GUPs", "random-access", Variant::Star, "gups", 1.0),
    ("SingleRandomAccess_GUPs", "random-access", Variant::Single, "gups", 1.0),
    ("StarSTREAM_Copy", "stream", Variant::Star, "copy", 1.0),
    ("StarSTREAM_Scale", "stream", Variant::Star, "scale", 1.0),
    ("StarSTREAM_Add", "stream", Variant::Star, "add", 1.0),
    ("StarSTREAM_Triad", "stream", Variant::Star, "triad", 1.0),
    ("SingleSTREAM_Copy", "stream", Variant::Single, "copy", 1.0),
    ("SingleSTREAM_Scale", "stream", Variant::Single, "scale", 1.0),
    ("SingleSTREAM_Add", "stream", Variant::Single, "add", 1.0),
    ("SingleSTREAM_Triad", "stream", Variant::Single, "triad", 1.0),
    ("StarFFT_Gflops", "fft", Variant::Star, "gflops", 1.0),
    ("SingleFFT_Gflops", "fft", Variant::Single, "gflops", 1.0),
    ("MPIFFT_Gflops", "fft", Variant::Mpi, "gflops", 1.0),
    ("MaxPingPongLatency_usec", "b-eff", Variant::Mpi, "ping_pong_latency_max", 1.0),
    ("RandomlyOrderedRingLatency_usec", "b-eff", Variant::Mpi, "random_ring_latency", 1.0),
    ("MinPingPongBandwidth_GBytes", "b-eff", Variant::Mpi, "ping_pong_bandwidth_min", 1.0),
    ("NaturallyOrderedRingBandwidth_GBytes", "b-eff", Variant::Mpi, "natural_ring_bandwidth", 1.0),
    ("RandomlyOrderedRingBandwidth_GBytes", "b-eff", Variant::Mpi, "random_ring_bandwidth", 1.0),
    ("MinPingPongLatency_usec", "b-eff", Variant::Mpi, "ping_pong_latency_min", 1.0),
    ("AvgPingPongLatency_usec", "b-eff", Variant::Mpi, "ping_pong_latency_avg", 1.0),
    ("MaxPingPongBandwidth_GBytes", "b-eff", Variant::Mpi, "ping_pong_bandwidth_max", 1.0),
    ("AvgPingPongBandwidth_GBytes", "b-eff", Variant::Mpi, "ping_pong_bandwidth_avg", 1.0),
    ("NaturallyOrderedRingLatency_usec", "b-eff", Variant::Mpi, "natural_ring_latency", 1.0),
];

/// (key, kernel, variant, name): sizes and facts of the outcome that the figure of that kernel comes from.
const FACTS: &[(&str, &str, Variant, &str)] = &[
    ("HPL_RnormI", "hpl", Variant::Mpi, "rnorm_inf"),
    ("HPL_Anorm1", "hpl", Variant::Mpi, "anorm_1"),
    ("HPL_AnormI", "hpl", Variant::Mpi, "anorm_inf"),
    ("HPL_Xnorm1", "hpl", Variant::Mpi, "xnorm_1"),
    ("HPL_XnormI", "hpl", Variant::Mpi, "xnorm_inf"),
    ("HPL_BnormI", "hpl", Variant::Mpi, "bnorm_inf"),
    ("HPL_N", "hpl", Variant::Mpi, "n"),
    ("HPL_NB", "hpl", Variant::Mpi, "nb"),
    ("HPL_nprow", "hpl", Variant::Mpi, "p"),
    ("HPL_npcol", "hpl", Variant::Mpi, "q"),
    ("HPL_depth", "hpl", Variant::Mpi, "depth"),
    ("DGEMM_N", "dgemm", Variant::Star, "n"),
    ("PTRANS_time", "ptrans", Variant::Mpi, "time"),
    ("PTRANS_residual", "ptrans", Variant::Mpi, "residual"),
    ("PTRANS_n", "ptrans", Variant::Mpi, "n"),
    ("PTRANS_nb", "ptrans", Variant::Mpi, "nb"),
    ("PTRANS_nprow", "ptrans", Variant::Mpi, "p"),
    ("PTRANS_npcol", "ptrans", Variant::Mpi, "q"),
    ("MPIRandomAccess_LCG_N", "random-access-lcg", Variant::Mpi, "table_words"),
    ("MPIRandomAccess_LCG_time", "random-access-lcg", Variant::Mpi, "time"),
    ("MPIRandomAccess_LCG_CheckTime", "random-access-lcg", Variant::Mpi, "check_time"),
    ("MPIRandomAccess_LCG_Errors", "random-access-lcg", Variant::Mpi, "errors"),
    ("MPIRandomAccess_LCG_ErrorsFraction", "random-access-lcg", Variant::Mpi, "errors_fraction"),
    ("MPIRandomAccess_LCG_ExeUpdates", "random-access-lcg", Variant::Mpi, "updates"),
    ("MPIRandomAccess_LCG_TimeBound", "random-access-lcg", Variant::Mpi, "time_bound_s"),
    ("MPIRandomAccess_N", "random-access", Variant::Mpi, "table_words"),
    ("MPIRandomAccess_time", "random-access", Variant::Mpi, "time"),
    ("MPIRandomAccess_CheckTime", "random-access", Variant::Mpi, "check_time"),
    ("MPIRandomAccess_Errors", "random-access", Variant::Mpi, "errors"),
    ("MPIRandomAccess_ErrorsFraction", "random-access", Variant::Mpi, "errors_fraction"),
    ("MPIRandomAccess_ExeUpdates", "random-access", Variant::Mpi, "updates"),
    ("MPIRandomAccess_TimeBound", "random-access", Variant::Mpi, "time_bound_s"),
    ("RandomAccess_LCG_N", "random-access-lcg", Variant::Star, "table_words"),
    ("RandomAccess_N", "random-access", Variant::Star, "table_words"),
    ("STREAM_VectorSize", "stream", Variant::Star, "n"),
    ("FFT_N", "fft", Variant::Star, "n"),
    ("MPIFFT_N", "fft", Variant::Mpi, "n"),
    ("MPIFFT_maxErr", "fft", Variant::Mpi, "max_error"),
    ("MPIFFT_Procs", "fft", Variant::Mpi, "ranks"),
];

/// The whole text of one run, to be appended to the file.
#[must_use]
pub fn text(outcomes: &[Outcome], ranks: i32, host: &str, now: &str) -> String {
    const RULE: &str = "########################################################################\n";
    let mut text = format!(
        "{RULE}HPC Challenge kernels of trimtab-bench {}, after version 1.5.0 of the benchmark\n\
         Current time is {now}\n\nHostname: '{host}'\n{RULE}",
        env!("CARGO_PKG_VERSION")
    );
    for outcome in outcomes.iter().filter(|o| o.spec.family == Family::Hpcc) {
        let name = section(outcome);
        text +=
            &format!("Begin of {name} section.\n{}End of {name} section.\n", crate::print::outcome(outcome));
    }
    text += &summary(outcomes, ranks, mpi::time_resolution());
    text + RULE + "End of HPC Challenge tests.\n" + &format!("Current time is {now}\n\n") + RULE
}

/// The original's name of a section: `StarDGEMM`, `MPIRandomAccess_LCG`.
fn section(outcome: &Outcome) -> String {
    let prefix = match outcome.variant {
        Variant::Single => "Single",
        Variant::Star => "Star",
        Variant::Mpi => "MPI",
    };
    match outcome.spec.name {
        "hpl" => "HPL".to_owned(),
        "ptrans" => "PTRANS".to_owned(),
        "b-eff" => "LatencyBandwidth".to_owned(),
        "dgemm" => format!("{prefix}DGEMM"),
        "stream" => format!("{prefix}STREAM"),
        "stream-tuned" => format!("{prefix}STREAM_tuned"),
        "random-access" => format!("{prefix}RandomAccess"),
        "random-access-lcg" => format!("{prefix}RandomAccess_LCG"),
        "fft" => format!("{prefix}FFT"),
        other => format!("{prefix}{other}"),
    }
}

/// `tick_s`: resolution of MPI's clock, an argument because only a started MPI library may be asked for it.
fn summary(outcomes: &[Outcome], ranks: i32, tick_s: f64) -> String {
    let mut text = String::from("Begin of Summary section.\n");
    let success = outcomes.iter().all(|o| o.verified);
    let head = [
        ("VersionMajor", "1".to_owned()),
        ("VersionMinor", "5".to_owned()),
        ("VersionMicro", "0".to_owned()),
        ("VersionRelease", "f".to_owned()),
        ("LANG", "Rust".to_owned()),
        ("Success", u8::from(success).to_string()),
        ("CommWorldProcs", ranks.to_string()),
        ("MPI_Wtick", fixed(tick_s)),
        ("HPL_eps", fixed(EPS)),
    ];
    for (key, value) in head {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key}={value}");
    }
    for &(key, kernel, variant, metric, factor) in FIGURES {
        if let Some(row) = best(outcomes, kernel, variant).and_then(|o| figure(o, metric)) {
            let _ = writeln!(text, "{key}={}", fixed(row * factor));
        }
        for &(key, kernel, variant, name) in FACTS.iter().filter(|f| key == last_figure(f.1, f.2)) {
            if let Some(value) = best(outcomes, kernel, variant).and_then(|o| fact(o, name)) {
                let _ = writeln!(text, "{key}={value}");
            }
        }
    }
    text + "End of Summary section.\n"
}

/// The last figure of a kernel and variant: its facts follow there, close to the original's order.
fn last_figure(kernel: &str, variant: Variant) -> &'static str {
    FIGURES.iter().rfind(|f| f.1 == kernel && f.2 == variant).map_or("", |f| f.0)
}

/// The verified outcome with the best first figure: HPL and PTRANS may have been run in several configurations.
fn best<'a>(outcomes: &'a [Outcome], kernel: &str, variant: Variant) -> Option<&'a Outcome> {
    let first = |o: &Outcome| o.rows.first().and_then(|r: &Row| r.value).unwrap_or(f64::NEG_INFINITY);
    let ours = outcomes.iter().filter(|o| o.verified && o.spec.name == kernel && o.variant == variant);
    ours.max_by(|a, b| first(a).total_cmp(&first(b)))
}

fn figure(outcome: &Outcome, metric: &str) -> Option<f64> {
    outcome.rows.iter().find(|r| r.metric == metric)?.value
}

fn fact(outcome: &Outcome, name: &str) -> Option<String> {
    let value = outcome.facts.get(name).or_else(|| outcome.rows.first()?.params.get(name))?;
    match value {
        Value::Number(n) if n.is_u64() || n.is_i64() => Some(n.to_string()),
        other => other.as_f64().map(fixed),
    }
}

/// Six significant digits as a fixed decimal, at least six behind the point; never an exponent.
fn fixed(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0.000000".to_owned();
    }
    let decimals = (5 - value.abs().log10().floor() as i32).clamp(6, 40);
    format!("{value:.*}", usize::try_from(decimals).unwrap_or(6))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{fixed, summary};
    use crate::kernel::{Facts, Variant};
    use crate::registry;
    use crate::result::{Outcome, Row};

    fn outcome(value: Option<f64>) -> Outcome {
        let row = Row {
            name: "hpl".to_owned(),
            variant: Variant::Mpi,
            params: BTreeMap::from([("n".to_owned(), 8000.into())]),
            metric: "gflops".to_owned(),
            unit: "GF/s".to_owned(),
            value,
            ci95: None,
            samples: value.into_iter().collect(),
            verified: value.is_some(),
            residual: None,
        };
        Outcome {
            spec: registry::find("hpl").expect("registered").spec,
            variant: Variant::Mpi,
            rows: vec![row],
            facts: Facts::from([("rnorm_inf".to_owned(), 1.5e-11.into())]),
            detail: String::new(),
            verified: value.is_some(),
            rendered: None,
            charts: Vec::new(),
        }
    }

    #[test]
    fn decimals_are_fixed_whatever_the_size() {
        assert_eq!(fixed(0.101_215), "0.101215");
        assert_eq!(fixed(1.5e-11), "0.0000000000150000");
        assert_eq!(fixed(14_130.25), "14130.250000");
        assert!(!fixed(1e-30).contains('e'));
    }

    #[test]
    fn the_best_configuration_counts_and_a_failed_one_fails_the_run() {
        let good = summary(&[outcome(Some(90.0)), outcome(Some(101.0))], 2, 1e-9);
        assert!(good.contains("\nHPL_Tflops=0.101000\n") && good.contains("\nSuccess=1\n"), "{good}");
        assert!(good.contains("\nHPL_N=8000\n") && good.contains("\nHPL_RnormI=0.0000000000150000\n"));
        let bad = summary(&[outcome(None)], 2, 1e-9);
        assert!(!bad.contains("HPL_Tflops") && bad.contains("\nSuccess=0\n"), "{bad}");
    }
}
