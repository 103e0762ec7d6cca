//! `compare A.json B.json`: ratio, confidence interval and verdict per metric, and bars relative to a baseline. Pure apart
//! from reading the files; nothing is measured here.

mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::kernel::Variant;
use crate::result::{Document, Row};
use crate::svg::{Bar, Chart, Plot};
use judge::{Key, PAGE_CACHE, higher_is_better, judge, keyed};

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
            (false, Some(r)) => {
                format!("x{:.3}{interval} {}{}", r.value, verdict.text(), caches(*row, rows[base]))
            }
            (false, None) => verdict.text().to_owned(),
        };
        let _ = writeln!(text, "  {label:<width$} {figure_text:>12}  {judged}");
        let _ = writeln!(text, "  {:<width$} {:>12}  |{bar}", "", "");
    }
}

/// Rows whose data came from elsewhere are compared, but not without a word on it.
fn caches(row: Option<&Row>, base: Option<&Row>) -> String {
    let label = |row: Option<&Row>| {
        row.and_then(|r| r.params.get(PAGE_CACHE))
            .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
    };
    match (label(row), label(base)) {
        (Some(mine), Some(theirs)) if mine != theirs => format!(" (page cache: {mine}; baseline: {theirs})"),
        _ => String::new(),
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

    use super::judge::tests::row;
    use super::{Run, compare};
    use crate::result::Document;

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
