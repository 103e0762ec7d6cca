//! Rows of a bench that compares two programs: ratios within pairs, median, least and greatest, bound.
//!
//! A ratio above 1 means that ours is faster, whatever the unit. May not: run anything.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// Which direction is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    /// A rate.
    More,
    /// A time.
    Less,
}

/// What a run came to: a figure, or in one line why there is none.
pub(super) type Figure = Result<f64, String>;

/// What a run came to that has several figures.
pub(super) type Figures = Result<BTreeMap<String, f64>, String>;

/// One of them.
pub(super) fn figure(of: &Figures, name: &str) -> Figure {
    match of {
        Ok(all) => all.get(name).copied().ok_or_else(|| "no valid figure".to_owned()),
        Err(why) => Err(why.clone()),
    }
}

/// The outcome of a run whose failure must not end the bench: all of the error is printed now, its first line stays.
pub(super) fn outcome<T>(ran: anyhow::Result<T>) -> Result<T, String> {
    ran.map_err(|error| {
        let text = format!("{error:#}");
        println!("  {text}");
        text.lines().next().unwrap_or_default().trim_end_matches(':').to_owned()
    })
}

/// Both runs of a pair, the original's first. Which one runs first changes from pair to pair, because a machine drifts.
pub(super) fn alternate<T>(pair: u32, original: impl FnOnce() -> T, ours: impl FnOnce() -> T) -> (T, T) {
    if pair.is_multiple_of(2) {
        let original = original();
        (original, ours())
    } else {
        let ours = ours();
        (original(), ours)
    }
}

/// One pair of runs.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// The original's figure.
    pub(super) original: Figure,
    /// Ours.
    pub(super) ours: Figure,
}

impl Sample {
    /// One of the figures of both.
    pub(super) fn of(name: &str, original: &Figures, ours: &Figures) -> Sample {
        Sample { original: figure(original, name), ours: figure(ours, name) }
    }

    /// Both figures, or whose is missing and why.
    fn both(&self) -> Result<(f64, f64), String> {
        let original = self.original.as_ref().map_err(|why| format!("original: {why}"))?;
        let ours = self.ours.as_ref().map_err(|why| format!("ours: {why}"))?;
        Ok((*original, *ours))
    }
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
    /// Why there are no ratios.
    why: Option<String>,
}

impl Row {
    /// From the samples of all pairs.
    pub(super) fn new(name: &str, better: Better, bound: Option<f64>, samples: &[Sample]) -> Row {
        let pairs: Result<Vec<(f64, f64)>, String> = samples.iter().map(Sample::both).collect();
        let why = pairs.as_ref().err().cloned();
        let pairs = pairs.ok().filter(|pairs| !pairs.is_empty());
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
        Row { name: name.to_owned(), ratios, figures, bound, pass, why }
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
            "{:<46}{:>12}{:>12}{:>9}{:>8}{:>8}{:>9}",
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
            "why": self.why,
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
            "{:<46}{:>12}{:>12}{:>9}{:>8}{:>8}{:>9}  {}",
            self.name,
            cell(self.figures.map(|figures| figures[0]), 4),
            cell(self.figures.map(|figures| figures[1]), 4),
            cell(self.ratios.map(|ratios| ratios[1]), 3),
            cell(self.ratios.map(|ratios| ratios[0]), 3),
            cell(self.ratios.map(|ratios| ratios[2]), 3),
            self.bound.map_or_else(|| "-".to_owned(), |bound| format!(">= {bound:.2}")),
            if self.pass { "ok" } else { "MISSED" }
        )?;
        match &self.why {
            Some(why) => write!(f, " ({why})"),
            None => Ok(()),
        }
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
        pairs.iter().map(|(original, ours)| Sample { original: Ok(*original), ours: Ok(*ours) }).collect()
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
    fn a_missing_figure_fails_the_row_and_says_why() {
        let mut all = samples(&[(1.0, 2.0)]);
        let failed = outcome::<f64>(Err(anyhow::anyhow!("mpirun ep.A.x failed:\nlong\ntext")));
        all.push(Sample { original: Ok(1.0), ours: failed });
        let row = Row::new("a", Better::More, None, &all);
        assert!(!row.pass);
        assert_eq!(row.json()["value"], Value::Null);
        assert_eq!(row.json()["why"], "ours: mpirun ep.A.x failed");
        let line = row.to_string();
        assert!(line.contains("none") && line.ends_with("MISSED (ours: mpirun ep.A.x failed)"), "{line}");
    }

    #[test]
    fn the_first_of_a_pair_changes() {
        let order = |pair| {
            let ran = std::cell::RefCell::new(String::new());
            let run = |name: &str| {
                ran.borrow_mut().push_str(name);
                name.to_owned()
            };
            let both = alternate(pair, || run("a"), || run("b"));
            assert_eq!(both, ("a".to_owned(), "b".to_owned()));
            ran.into_inner()
        };
        assert_eq!((order(0), order(1)), ("ab".to_owned(), "ba".to_owned()));
    }

    #[test]
    fn one_figure_of_several() {
        let all = Ok(BTreeMap::from([("read".to_owned(), 3.0)]));
        let failed = Err("disk full".to_owned());
        assert_eq!(figure(&all, "read"), Ok(3.0));
        assert_eq!(figure(&all, "write"), Err("no valid figure".to_owned()));
        assert_eq!(Sample::of("read", &failed, &all).both(), Err("original: disk full".to_owned()));
    }
}
