//! Pictures as SVG files: bars with intervals, lines over sizes, heat maps, histograms, surfaces. Drawing only; what is in a
//! picture is decided by kernels, the driver and `compare`.

mod draw;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::result::{Outcome, Row};

/// A value with its 95 % interval, if there is one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// Height.
    pub value: f64,
    /// Interval drawn as a whisker.
    pub ci95: Option<[f64; 2]>,
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub enum Plot {
    /// Groups of bars: for each group its name and one bar per series (`None`: no figure).
    Bars {
        /// Names of the series.
        series: Vec<String>,
        /// Name and bars of each group.
        groups: Vec<(String, Vec<Option<Bar>>)>,
    },
    /// Lines over a logarithmic x axis (powers of two).
    Lines {
        /// Name of the x axis.
        x: String,
        /// Draw the y axis logarithmically too.
        log_y: bool,
        /// Name and (x, y) points of each line.
        lines: Vec<(String, Vec<(f64, f64)>)>,
    },
    /// A matrix of values, row by row.
    HeatMap {
        /// Names of the rows.
        rows: Vec<String>,
        /// Names of the columns.
        columns: Vec<String>,
        /// Values; `None`: not measured.
        values: Vec<Vec<Option<f64>>>,
    },
    /// Counts over bins, on a logarithmic count axis.
    Histogram {
        /// Name of the x axis.
        x: String,
        /// Lower edge of each bin and its count; the bins are equally wide.
        bins: Vec<(f64, u64)>,
    },
    /// Values over two logarithmic axes, as iozone plots file size x record size.
    Surface {
        /// Name and positions of the x axis.
        x: (String, Vec<f64>),
        /// Name and positions of the z axis.
        z: (String, Vec<f64>),
        /// Values, one row per z position; `None`: not measured.
        values: Vec<Vec<Option<f64>>>,
    },
}

/// A picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// File name without `.svg`; letters, digits, `-`.
    pub name: String,
    /// Heading.
    pub title: String,
    /// Unit of the values.
    pub unit: String,
    /// Content.
    pub plot: Plot,
}

impl Chart {
    /// Draws into `directory`, replacing a picture of the same name.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<PathBuf> {
        let path = directory.join(format!("{}.svg", self.name));
        let text =
            draw::to_svg(self).map_err(|why| Error::Environment(format!("picture {}: {why}", self.name)))?;
        std::fs::write(&path, text).map_err(Error::io("write", &path))?;
        Ok(path)
    }
}

/// The pictures of an outcome: the kernel's own, or the rows of each unit as bars.
#[must_use]
pub fn charts_of(outcome: &Outcome) -> Vec<Chart> {
    if !outcome.verified || !outcome.charts.is_empty() {
        return outcome.charts.clone();
    }
    let mut units: Vec<&str> = outcome.rows.iter().map(|r| r.unit.as_str()).collect();
    units.dedup();
    let name = format!("{}-{}", outcome.spec.name, outcome.variant.name());
    let chart = |(at, unit): (usize, &str)| {
        let rows: Vec<&Row> = outcome.rows.iter().filter(|r| r.unit == unit).collect();
        let bar = |row: &Row| row.value.map(|value| Bar { value, ci95: row.ci95 });
        Chart {
            name: if at == 0 { name.clone() } else { format!("{name}-{at}") },
            title: format!("{} ({})", outcome.spec.name, outcome.variant.name()),
            unit: unit.to_owned(),
            plot: Plot::Bars {
                series: vec![outcome.spec.name.to_owned()],
                groups: rows.iter().map(|row| (row.metric.clone(), vec![bar(row)])).collect(),
            },
        }
    };
    units.into_iter().enumerate().map(chart).collect()
}
