//! Rows of a bench that compares two programs: ratios within pairs, median, least and greatest, bound.
//!
//! A ratio above 1 means that ours is faster, whatever the unit. May not: run anything.

use serde_json::{Value, json};
use std::fmt;

/// Which direction is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    /// A rate.
    More,
    /// A time.
    Less,
}

/// One pair of runs; absent when a run had no valid figure.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// The original's figure.
    pub(super) original: Option<f64>,
    /// Ours.
    pub(super) ours: Option<f64>,
}

/// One metric over all pairs.
#[derive(Clone, Debug)]
pub(super) struct Row {
    name: String,
    /// Least, median and greatest ratio; absent when any pair lacks a figure.
    ratios: Option<[f64; 3]>,
    /// Medians of the figures themselves, original and ours.
    figures: Option<[f64; 2]>,
    bound: Option<f64>,
    /// Whether the median meets the bound; without a bound, whether there is one.
    pass: bool,
}

impl Row {
    /// From the samples of all pairs.
    pub(super) fn new(name: &str, better: Better, bound: Option<f64>, samples: &[Sample]) -> Row {
        let pairs: Option<Vec<(f64, f64)>> =
            samples.iter().map(|sample| sample.original.zip(sample.ours)).collect();
        let pairs = pairs.filter(|pairs| !pairs.is_empty());
        let ratio = |(original, ours): &(f64, f64)| match better {
            Better::More => ours / original,
            Better::Less => original / ours,
        };
        let ratios = pairs.as_ref().map(|pairs| {
            let all = sorted(pairs.iter().map(ratio));
            [all[0], median(&all), all[all.len() - 1]]
        });
        let figures = pairs.as_ref().map(|pairs| {
            [
                median(&sorted(pairs.iter().map(|pair| pair.0))),
                median(&sorted(pairs.iter().map(|pair| pair.1))),
            ]
        });
        let pass = ratios.is_some_and(|[_, median, _]| bound.is_none_or(|bound| median >= bound));
        Row { name: name.to_owned(), ratios, figures, bound, pass }
    }

    /// Prints the rows; gives them as JSON, and whether every bound is met.
    pub(super) fn table(rows: &[Row]) -> (Vec<Value>, bool) {
        println!("{}", Row::heading());
        rows.iter().for_each(|row| println!("{row}"));
        (rows.iter().map(Row::json).collect(), rows.iter().all(|row| row.pass))
    }

    /// Line above the rows.
    fn heading() -> String {
        format!(
            "{:<38}{:>12}{:>12}{:>9}{:>8}{:>8}{:>9}",
            "metric (ratio > 1: trimtab-bench is faster)",
            "original",
            "ours",
            "median",
            "min",
            "max",
            "bound"
        )
    }

    /// As the bench's JSON has it.
    fn json(&self) -> Value {
        json!({
            "name": format!("{} ratio", self.name),
            "value": self.ratios.map(|[_, median, _]| median),
            "bound": self.bound.map(|bound| format!(">= {bound:.3}")),
            "unit": "1",
            "pass": self.pass,
            "min": self.ratios.map(|[least, _, _]| least),
            "max": self.ratios.map(|[_, _, greatest]| greatest),
            "original": self.figures.map(|[original, _]| original),
            "ours": self.figures.map(|[_, ours]| ours),
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "none".to_owned(), |value| format!("{value:.digits$}"))
        };
        write!(
            f,
            "{:<43}{:>12}{:>12}{:>9}{:>8}{:>8}{:>9}  {}",
            self.name,
            cell(self.figures.map(|figures| figures[0]), 4),
            cell(self.figures.map(|figures| figures[1]), 4),
            cell(self.ratios.map(|ratios| ratios[1]), 3),
            cell(self.ratios.map(|ratios| ratios[0]), 3),
            cell(self.ratios.map(|ratios| ratios[2]), 3),
            self.bound.map_or_else(|| "-".to_owned(), |bound| format!(">= {bound:.2}")),
            if self.pass { "ok" } else { "MISSED" }
        )
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    all
}

/// Of a sorted, non-empty list.
fn median(all: &[f64]) -> f64 {
    let middle = all.len() / 2;
    if all.len() % 2 == 1 { all[middle] } else { f64::midpoint(all[middle - 1], all[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(pairs: &[(f64, f64)]) -> Vec<Sample> {
        pairs.iter().map(|(original, ours)| Sample { original: Some(*original), ours: Some(*ours) }).collect()
    }

    #[test]
    fn a_ratio_is_taken_within_its_pair() {
        let row = Row::new("a", Better::More, Some(1.5), &samples(&[(1.0, 2.0), (10.0, 10.0), (4.0, 6.0)]));
        assert_eq!(row.ratios, Some([1.0, 1.5, 2.0]));
        assert!(row.pass);
        let row = Row::new("a", Better::Less, Some(1.0), &samples(&[(1.0, 2.0), (1.0, 2.0)]));
        assert_eq!(row.ratios, Some([0.5, 0.5, 0.5]));
        assert!(!row.pass);
    }

    #[test]
    fn a_missing_figure_fails_the_row() {
        let mut all = samples(&[(1.0, 2.0)]);
        all.push(Sample { original: Some(1.0), ours: None });
        let row = Row::new("a", Better::More, None, &all);
        assert!(!row.pass);
        assert_eq!(row.json()["value"], Value::Null);
        assert!(row.to_string().contains("none"));
    }
}
