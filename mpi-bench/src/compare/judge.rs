//! Which row of one run belongs to which of another, and the verdict on the two. Pure; the text is the module's above.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kernel::Variant;
use crate::registry;
use crate::result::Row;
use crate::stats::{self, Summary};

/// Where read data came from; luck, mostly, but worth a word.
pub(super) const PAGE_CACHE: &str = "page_cache";

/// Parameters that say how a figure came about, not what it is: they follow from measured time, from luck or from where the
/// ranks were placed. They tell no rows apart, and rows that differ in them are comparable.
const HOW: &[&str] = &[
    "iterations",
    "loops",
    "updates",
    "latency_pairs",
    "bandwidth_pairs",
    "from_host",
    "to_host",
    "cpu",
    "excel",
    PAGE_CACHE,
];

/// What a row is about: kernel, variant, metric and the parameters that tell it from its siblings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) variant: Variant,
    pub(super) metric: String,
    pub(super) which: String,
}

/// The judgement on one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
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
    /// There is no ratio to 0, but the intervals tell the two apart, for the better.
    BetterThanRatio,
    /// The same, for the worse.
    WorseThanRatio,
}

impl Verdict {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoDifferenceShown => "no difference shown",
            Self::OneSample => "one sample: no verdict",
            Self::NotComparable => "sizes differ: not comparable",
            Self::NoFigure => "no figure",
            Self::BetterThanRatio => "better (no ratio: one of the two is 0)",
            Self::WorseThanRatio => "worse (no ratio: one of the two is 0)",
        }
    }
}

/// Rows by what they are about. Parameters that all rows of a metric share say how large it was, not which it is.
pub(super) fn keyed(rows: &[Row]) -> BTreeMap<Key, &Row> {
    let mut groups: BTreeMap<(String, Variant, String), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        groups.entry((row.name.clone(), row.variant, row.metric.clone())).or_default().push(row);
    }
    let mut keyed = BTreeMap::new();
    for ((name, variant, metric), rows) in groups {
        let varies = |key: &String| {
            !HOW.contains(&key.as_str()) && rows.iter().any(|r| r.params.get(key) != rows[0].params.get(key))
        };
        for row in &rows {
            let which: Vec<String> =
                row.params.iter().filter(|(k, _)| varies(k)).map(|(k, v)| format!("{k}={v}")).collect();
            let key = Key { name: name.clone(), variant, metric: metric.clone(), which: which.join(" ") };
            keyed.insert(key, *row);
        }
    }
    keyed
}

pub(super) fn higher_is_better(key: &Key) -> bool {
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
pub(super) fn judge(key: &Key, row: Option<&Row>, base: Option<&Row>) -> (Option<stats::Ratio>, Verdict) {
    let (Some(row), Some(base)) = (row, base) else { return (None, Verdict::NoFigure) };
    let summary = |r: &Row| -> Option<Summary> { stats::summary(&r.samples).filter(|_| r.verified) };
    let (Some(mine), Some(theirs)) = (summary(row), summary(base)) else { return (None, Verdict::NoFigure) };
    let (above, below) = if higher_is_better(key) { (mine, theirs) } else { (theirs, mine) };
    if !same_size(row, base) {
        return (stats::ratio(&above, &below), Verdict::NotComparable);
    }
    let Some(ratio) = stats::ratio(&above, &below) else { return (None, without_ratio(&above, &below)) };
    let verdict = match ratio.ci95 {
        None => Verdict::OneSample,
        Some([low, _]) if low > 1.0 => Verdict::Better,
        Some([_, high]) if high < 1.0 => Verdict::Worse,
        Some(_) => Verdict::NoDifferenceShown,
    };
    (Some(ratio), verdict)
}

/// Where one of the two is 0 the intervals themselves must lie apart.
fn without_ratio(above: &Summary, below: &Summary) -> Verdict {
    match (above.ci95(), below.ci95()) {
        (Some([low, _]), Some([_, high])) if low > high => Verdict::BetterThanRatio,
        (Some([_, high]), Some([low, _])) if high < low => Verdict::WorseThanRatio,
        (Some(_), Some(_)) => Verdict::NoDifferenceShown,
        _ => Verdict::OneSample,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::{HOW, Verdict, judge, keyed};
    use crate::kernel::Variant;
    use crate::result::Row;

    pub(in super::super) fn row(metric: &str, n: u64, samples: &[f64]) -> Row {
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
    fn a_zero_has_no_ratio_but_a_verdict() {
        let of = |a: &[f64], b: &[f64]| verdict("time", row("time", 8, a), row("time", 8, b));
        assert_eq!(of(&[0.0, 0.0], &[1.0, 1.01]), Verdict::BetterThanRatio, "less time is better");
        assert_eq!(of(&[1.0, 1.01], &[0.0, 0.0]), Verdict::WorseThanRatio);
        assert_eq!(of(&[0.0, 0.0], &[0.0, 0.0]), Verdict::NoDifferenceShown);
        assert_eq!(of(&[0.0, 3.0], &[0.0, 0.0]), Verdict::NoDifferenceShown);
        assert_eq!(of(&[0.0], &[1.0, 1.01]), Verdict::OneSample);
        assert_eq!(
            verdict("time", row("time", 8, &[0.0, 0.0]), row("time", 9, &[0.0, 0.0])),
            Verdict::NotComparable
        );
    }

    #[test]
    fn how_it_came_about_neither_tells_rows_apart_nor_makes_them_incomparable() {
        for how in HOW {
            let with = |n: u64, value: &str| {
                let mut row = row("gflops", n, &[1.0, 1.0]);
                row.params.insert((*how).to_owned(), value.into());
                row
            };
            let (mine, base) = ([with(8, "a"), with(16, "b")], [with(8, "c"), with(16, "d")]);
            let (mine, base) = (keyed(&mine), keyed(&base));
            let keys: Vec<&str> = mine.keys().map(|k| k.which.as_str()).collect();
            assert_eq!(keys, ["n=16", "n=8"], "{how}");
            for key in mine.keys() {
                let (_, verdict) = judge(key, mine.get(key).copied(), base.get(key).copied());
                assert_eq!(verdict, Verdict::NoDifferenceShown, "{how}");
            }
        }
    }

    #[test]
    fn rows_of_one_metric_are_told_apart_by_what_varies() {
        let rows = [row("gflops", 8, &[1.0]), row("gflops", 16, &[2.0])];
        let keys: Vec<String> = keyed(&rows).into_keys().map(|k| k.which).collect();
        assert_eq!(keys, ["n=16", "n=8"]);
    }
}
