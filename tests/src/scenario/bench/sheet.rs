//! What the bench promises to print: every row with its bound from the start, its value once that is measured.
//!
//! A row that is never filled has no value and has missed its bound. May not: measure.

use serde::Serialize;

/// One number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What it is.
    pub name: String,
    /// Its value, absent when it could not be measured.
    pub value: Option<f64>,
    /// Its bound with the comparison, absent for a number that is only reported.
    pub bound: Option<String>,
    /// Unit, `1` for a ratio.
    pub unit: &'static str,
    /// Whether the bound is met.
    pub pass: bool,
}

/// Comparison with a bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
    Reported,
}

impl Row {
    fn new(name: &str, value: Option<f64>, bound: Bound, unit: &'static str) -> Self {
        let value = value.filter(|v| v.is_finite());
        let (text, pass) = match bound {
            Bound::AtLeast(least) => (Some(format!(">= {least}")), value.is_some_and(|v| v >= least)),
            Bound::AtMost(most) => (Some(format!("<= {most}")), value.is_some_and(|v| v <= most)),
            Bound::Reported => (None, value.is_some()),
        };
        Self { name: name.to_owned(), value, bound: text, unit, pass }
    }

    /// For humans.
    pub(crate) fn line(&self) -> String {
        format!(
            "{:<68}{:>10} {:<6}{:>10}  {}",
            self.name,
            self.value.map_or_else(|| "none".to_owned(), |v| format!("{v:.3}")),
            self.unit,
            self.bound.as_deref().unwrap_or("-"),
            if self.pass { "ok" } else { "MISSED" }
        )
    }
}

/// The rows of one step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sheet(Vec<Promise>);

#[derive(Clone, Debug)]
struct Promise {
    name: String,
    bound: Bound,
    unit: &'static str,
    value: Option<f64>,
}

impl Sheet {
    /// A further row, without a value.
    #[must_use]
    pub(crate) fn with(mut self, name: impl Into<String>, bound: Bound, unit: &'static str) -> Self {
        self.0.push(Promise { name: name.into(), bound, unit, value: None });
        self
    }

    /// The value of a promised row; nothing if it could not be measured.
    ///
    /// # Panics
    /// No such row was promised.
    pub(crate) fn fill(&mut self, name: &str, value: Option<f64>) {
        match self.0.iter_mut().find(|promise| promise.name == name) {
            Some(promise) => promise.value = value,
            None => panic!("no row is called {name}"),
        }
    }

    /// The rows as they are now.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        self.0.iter().map(|p| Row::new(&p.name, p.value, p.bound, p.unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        assert!(Row::new("a", Some(1.6), Bound::AtLeast(1.6), "1").pass);
        assert!(!Row::new("a", Some(1.59), Bound::AtLeast(1.6), "1").pass);
        assert!(Row::new("a", Some(2.0), Bound::AtMost(2.0), "%").pass);
        assert!(!Row::new("a", Some(f64::NAN), Bound::AtMost(2.0), "%").pass);
        assert!(!Row::new("a", None, Bound::Reported, "1").pass);
        let row = serde_json::to_value(Row::new("a", Some(1.0), Bound::AtMost(2.0), "%")).unwrap();
        assert_eq!(row["bound"], "<= 2");
    }

    #[test]
    fn what_was_promised_and_not_measured_is_a_row_that_missed() {
        let mut sheet = Sheet::default().with("a", Bound::AtLeast(1.0), "1").with("b", Bound::Reported, "s");
        sheet.fill("a", Some(2.0));
        let rows: Vec<Row> = sheet.rows().collect();
        assert!(rows[0].pass && !rows[1].pass);
        let row = serde_json::to_value(&rows[1]).unwrap();
        assert!(row["value"].is_null() && row["name"] == "b" && row["pass"] == false);
    }
}
