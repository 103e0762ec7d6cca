//! `compare A.json B.json`: ratio, confidence interval and verdict per metric, and bars relative to a baseline. Pure apart
//! from reading the files; nothing is measured here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::kernel::Variant;
use crate::registry;
use crate::result::{Document, Row};
use crate::stats::{self, Summary};
use crate::svg::{Bar, Chart, Plot};

/// Parameters that describe how, not what: they may differ between two comparable rows.
const HOW: [&str; 2] = ["iterations", "loops"];

/// One file.
#[derive(Debug)]
pub struct Run {
    /// `meta.label`, else the file's name.
    pub label: String,
    document: Document,
}

/// Reads the files and gives each a name that is its own.
///
/// # Errors
/// A file that cannot be read or is not a result.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    for path in paths {
        let document = Document::read(path)?;
        let own = document.meta.get("label").and_then(Value::as_str).map(str::to_owned);
        let stem = || path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let mut label = own.unwrap_or_else(stem);
        if runs.iter().any(|r| r.label == label) {
            label = path.display().to_string();
        }
        runs.push(Run { label, document });
    }
    Ok(runs)
}

/// What a row is about: kernel, variant, metric and the parameters that tell it from its siblings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    name: String,
    variant: Variant,
    metric: String,
    which: String,
}

/// The judgement on one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The interval of the ratio lies on the good side of 1.
    Better,
    /// It lies on the bad side.
    Worse,
    /// It contains 1.
    NoDifferenceShown,
    /// One side has a single sample: run with `--repeat`.
    OneSample,
    /// Sizes differ.
    NotComparable,
    /// One side is missing or did not verify.
    NoFigure,
}

impl Verdict {
    fn text(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoDifferenceShown => "no difference shown",
            Self::OneSample => "one sample: no verdict",
            Self::NotComparable => "sizes differ: not comparable",
            Self::NoFigure => "no figure",
        }
    }
}

/// Table, bars, and a picture per kernel and variant.
#[derive(Debug)]
pub struct Comparison {
    /// For people.
    pub text: String,
    /// For `--svg`.
    pub charts: Vec<Chart>,
}

/// Compares every run with the baseline (a label; the first run by default).
///
/// # Errors
/// No run has the baseline's label, or there are fewer than two runs.
pub fn compare(runs: &[Run], baseline: Option<&str>) -> Result<Comparison> {
    let labels: Vec<&str> = runs.iter().map(|r| r.label.as_str()).collect();
    if runs.len() < 2 {
        return Err(Error::Usage("compare needs at least two result files".to_owned()));
    }
    let base = match baseline {
        None => 0,
        Some(label) => labels.iter().position(|l| *l == label).ok_or_else(|| {
            Error::Usage(format!("--baseline {label}: the files are called {}", labels.join(", ")))
        })?,
    };
    let tables: Vec<BTreeMap<Key, &Row>> = runs.iter().map(|r| keyed(&r.document.results)).collect();
    let mut keys: Vec<&Key> = Vec::new();
    let mut seen = BTreeSet::new();
    for key in tables.iter().flat_map(BTreeMap::keys) {
        if seen.insert(key) {
            keys.push(key);
        }
    }
    let mut text = format!("baseline: {}\n", labels[base]);
    for key in &keys {
        let rows: Vec<Option<&Row>> = tables.iter().map(|t| t.get(*key).copied()).collect();
        metric_text(&mut text, key, &labels, base, &rows);
    }
    Ok(Comparison { text, charts: charts(&keys, &tables, &labels, base) })
}

/// Rows by what they are about. Parameters that all rows of a metric share say how large it was, not which it is.
fn keyed(rows: &[Row]) -> BTreeMap<Key, &Row> {
    let mut groups: BTreeMap<(String, Variant, String), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        groups.entry((row.name.clone(), row.variant, row.metric.clone())).or_default().push(row);
    }
    let mut keyed = BTreeMap::new();
    for ((name, variant, metric), rows) in groups {
        let varies = |key: &String| rows.iter().any(|r| r.params.get(key) != rows[0].params.get(key));
        for row in &rows {
            let which: Vec<String> =
                row.params.iter().filter(|(k, _)| varies(k)).map(|(k, v)| format!("{k}={v}")).collect();
            let key = Key { name: name.clone(), variant, metric: metric.clone(), which: which.join(" ") };
            keyed.insert(key, *row);
        }
    }
    keyed
}

fn higher_is_better(key: &Key) -> bool {
    let spec = registry::find(&key.name).map(|e| e.spec);
    spec.and_then(|s| s.metrics.iter().find(|m| m.name == key.metric)).is_none_or(|m| m.higher_is_better)
}

fn same_size(a: &Row, b: &Row) -> bool {
    let sizes = |row: &Row| -> BTreeMap<String, Value> {
        row.params
            .iter()
            .filter(|(k, _)| !HOW.contains(&k.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    };
    sizes(a) == sizes(b)
}

/// Ratio to the baseline as a gain (above 1 is better), its interval, and the verdict.
fn judge(key: &Key, row: Option<&Row>, base: Option<&Row>) -> (Option<stats::Ratio>, Verdict) {
    let (Some(row), Some(base)) = (row, base) else { return (None, Verdict::NoFigure) };
    let summary = |r: &Row| -> Option<Summary> { stats::summary(&r.samples).filter(|_| r.verified) };
    let (Some(mine), Some(theirs)) = (summary(row), summary(base)) else { return (None, Verdict::NoFigure) };
    let (above, below) = if higher_is_better(key) { (mine, theirs) } else { (theirs, mine) };
    let Some(ratio) = stats::ratio(&above, &below) else { return (None, Verdict::NoFigure) };
    let verdict = match ratio.ci95 {
        _ if !same_size(row, base) => Verdict::NotComparable,
        None => Verdict::OneSample,
        Some([low, _]) if low > 1.0 => Verdict::Better,
        Some([_, high]) if high < 1.0 => Verdict::Worse,
        Some(_) => Verdict::NoDifferenceShown,
    };
    (Some(ratio), verdict)
}

fn metric_text(text: &mut String, key: &Key, labels: &[&str], base: usize, rows: &[Option<&Row>]) {
    let unit = rows.iter().flatten().next().map_or("", |r| r.unit.as_str());
    let direction = if higher_is_better(key) { "higher is better" } else { "lower is better" };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\n{} {} {} {} [{unit}, {direction}]",
        key.name,
        key.variant.name(),
        key.metric,
        key.which
    );
    let width = labels.iter().map(|l| l.len()).max().unwrap_or(0);
    for (at, (label, row)) in labels.iter().zip(rows).enumerate() {
        let figure = row.and_then(|r| r.value.filter(|_| r.verified));
        let figure_text = figure.map_or_else(|| "-".to_owned(), crate::print::significant);
        let (ratio, verdict) = judge(key, *row, rows[base]);
        let gain = ratio.map_or(0.0, |r| r.value);
        let bar = "#".repeat((gain * 20.0).round().clamp(0.0, 60.0) as usize);
        let interval =
            ratio.and_then(|r| r.ci95).map_or_else(String::new, |[l, h]| format!(" [{l:.3} .. {h:.3}]"));
        let judged = match (at == base, ratio) {
            (true, _) => "baseline".to_owned(),
            (false, Some(r)) => format!("x{:.3}{interval} {}", r.value, verdict.text()),
            (false, None) => verdict.text().to_owned(),
        };
        let _ = writeln!(text, "  {label:<width$} {figure_text:>12}  {judged}");
        let _ = writeln!(text, "  {:<width$} {:>12}  |{bar}", "", "");
    }
}

/// One picture per kernel and variant: a group of bars per metric, relative to the baseline.
fn charts(keys: &[&Key], tables: &[BTreeMap<Key, &Row>], labels: &[&str], base: usize) -> Vec<Chart> {
    let mut pictures: BTreeMap<(String, Variant), Vec<&Key>> = BTreeMap::new();
    for key in keys {
        pictures.entry((key.name.clone(), key.variant)).or_default().push(key);
    }
    let bar = |key: &Key, table: &BTreeMap<Key, &Row>| {
        let (ratio, _) = judge(key, table.get(key).copied(), tables[base].get(key).copied());
        ratio.map(|r| Bar { value: r.value, ci95: r.ci95 })
    };
    let picture = |((name, variant), keys): ((String, Variant), Vec<&Key>)| Chart {
        name: format!("compare-{name}-{}", variant.name()),
        title: format!("{name} ({}): gain over {}", variant.name(), labels[base]),
        unit: "1 = baseline, more is better".to_owned(),
        plot: Plot::Bars {
            series: labels.iter().map(|&l| l.to_owned()).collect(),
            groups: keys
                .into_iter()
                .map(|key| {
                    let bars = tables.iter().map(|table| bar(key, table)).collect();
                    (format!("{} {}", key.metric, key.which), bars)
                })
                .collect(),
        },
    };
    pictures.into_iter().map(picture).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Run, Verdict, compare, judge, keyed};
    use crate::kernel::Variant;
    use crate::result::{Document, Row};

    fn row(metric: &str, n: u64, samples: &[f64]) -> Row {
        Row {
            name: "hpl".to_owned(),
            variant: Variant::Mpi,
            params: BTreeMap::from([("n".to_owned(), n.into())]),
            metric: metric.to_owned(),
            unit: "GF/s".to_owned(),
            value: samples.first().copied(),
            ci95: None,
            samples: samples.to_vec(),
            verified: true,
            residual: None,
        }
    }

    fn verdict(metric: &str, a: Row, b: Row) -> Verdict {
        let (a, b) = ([a], [b]);
        let (a, b) = (keyed(&a), keyed(&b));
        let key = a.keys().next().expect("one row").clone();
        assert_eq!(key.metric, metric);
        judge(&key, a.get(&key).copied(), b.get(&key).copied()).1
    }

    #[test]
    fn verdicts_know_the_direction_and_the_noise() {
        let (fast, slow) = ([2.0, 2.01, 1.99], [1.0, 1.01, 0.99]);
        let of = |metric, a: &[f64], b: &[f64]| verdict(metric, row(metric, 8, a), row(metric, 8, b));
        assert_eq!(of("gflops", &fast, &slow), Verdict::Better);
        assert_eq!(of("gflops", &slow, &fast), Verdict::Worse);
        assert_eq!(of("time", &slow, &fast), Verdict::Better, "less time is better");
        assert_eq!(of("gflops", &[1.0, 1.5, 0.7], &[1.1, 0.8, 1.3]), Verdict::NoDifferenceShown);
        assert_eq!(of("gflops", &[2.0], &slow), Verdict::OneSample);
        assert_eq!(
            verdict("gflops", row("gflops", 8, &fast), row("gflops", 9, &slow)),
            Verdict::NotComparable
        );
        let unverified = Row { verified: false, ..row("gflops", 8, &fast) };
        assert_eq!(verdict("gflops", unverified, row("gflops", 8, &slow)), Verdict::NoFigure);
    }

    #[test]
    fn rows_of_one_metric_are_told_apart_by_what_varies() {
        let rows = [row("gflops", 8, &[1.0]), row("gflops", 16, &[2.0])];
        let keys: Vec<String> = keyed(&rows).into_keys().map(|k| k.which).collect();
        assert_eq!(keys, ["n=16", "n=8"]);
    }

    #[test]
    fn the_baseline_is_chosen_by_label() {
        let run = |label: &str, samples: &[f64]| Run {
            label: label.to_owned(),
            document: Document { meta: BTreeMap::new(), results: vec![row("gflops", 8, samples)] },
        };
        let runs = [run("kvm-4", &[0.9, 0.91]), run("host", &[1.0, 1.01])];
        let comparison = compare(&runs, Some("host")).expect("two runs");
        assert!(
            comparison.text.contains("x0.900") && comparison.text.contains("worse"),
            "{}",
            comparison.text
        );
        assert_eq!(comparison.charts.len(), 1);
        assert!(compare(&runs, Some("nosuch")).is_err() && compare(&runs[..1], None).is_err());
    }
}
