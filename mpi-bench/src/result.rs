//! What a run leaves behind: rows with raw samples, and the JSON document around them. The key names are a contract with
//! users' tools. No measuring and no printing here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::kernel::{Facts, Spec, Variant};
use crate::svg::Chart;

/// One metric of one kernel in one variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Kernel.
    pub name: String,
    /// Who ran it.
    pub variant: Variant,
    /// Sizes in effect and what distinguishes this row.
    pub params: BTreeMap<String, Value>,
    /// Metric's name.
    pub metric: String,
    /// Metric's unit.
    pub unit: String,
    /// Mean of the samples; `None` if the result did not verify.
    pub value: Option<f64>,
    /// 95 % confidence interval of the mean; `None` with fewer than two samples.
    pub ci95: Option<[f64; 2]>,
    /// One figure per lap; empty if the result did not verify.
    pub samples: Vec<f64>,
    /// Did every lap pass the kernel's own verification?
    pub verified: bool,
    /// Worst residual of the laps; `None` where the check is exact.
    pub residual: Option<f64>,
}

/// Everything about one kernel in one variant, for reports in the originals' forms.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The kernel.
    pub spec: &'static Spec,
    /// Who ran it.
    pub variant: Variant,
    /// Its rows, in the kernel's order.
    pub rows: Vec<Row>,
    /// The kernel's facts of the last lap; empty if it did not verify.
    pub facts: Facts,
    /// Words of the verification.
    pub detail: String,
    /// All laps verified.
    pub verified: bool,
    /// The kernel's own form of its rows, if it has one.
    pub rendered: Option<String>,
    /// The kernel's own pictures.
    pub charts: Vec<Chart>,
}

/// The JSON document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Document {
    /// What is needed to repeat and to judge the results.
    pub meta: BTreeMap<String, Value>,
    /// One entry a metric.
    pub results: Vec<Row>,
}

impl Document {
    /// Where a document is written before it is renamed to `path`.
    #[must_use]
    pub fn part(path: &Path) -> PathBuf {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".part");
        path.with_file_name(name)
    }

    /// Writes the document, whole or not at all (a temporary file, then a rename).
    ///
    /// # Errors
    /// The file cannot be written; a previous file of that name is then untouched.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text =
            serde_json::to_string_pretty(self).map_err(|e| Error::Environment(format!("JSON: {e}")))?;
        let part = Self::part(path);
        let written = std::fs::write(&part, text + "\n").and_then(|()| std::fs::rename(&part, path));
        written.map_err(|source| {
            // The error that counts is the write's; a left-over part file is all that can be lost here.
            let _ = std::fs::remove_file(&part);
            Error::Io { action: "write", path: path.to_path_buf(), source }
        })
    }

    /// Reads a document.
    ///
    /// # Errors
    /// Missing file, or not a document of this form: names file and line.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        serde_json::from_str(&text).map_err(|e| Error::Input {
            path: path.to_path_buf(),
            line: e.line(),
            why: format!("not a result of trimtab-bench: {e}"),
        })
    }
}
