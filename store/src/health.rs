//! What the journal says of itself: fine, or what it lost, since when and why.

use std::fmt;

/// Rows that will never be in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Samples.
    pub samples: u64,
    /// Decisions.
    pub decisions: u64,
    /// Notes and lessons.
    pub others: u64,
}

impl Lost {
    /// All rows.
    pub fn total(self) -> u64 {
        self.samples + self.decisions + self.others
    }
}

impl std::ops::AddAssign for Lost {
    fn add_assign(&mut self, more: Self) {
        self.samples += more.samples;
        self.decisions += more.decisions;
        self.others += more.others;
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts =
            [(self.samples, "samples"), (self.decisions, "decisions"), (self.others, "notes and lessons")];
        let said: Vec<String> =
            parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        f.write_str(if said.is_empty() { "nothing" } else { "" })?;
        f.write_str(&said.join(", "))
    }
}

/// State of the journal. `Display` is the text for the admin: `ok`, or what is wrong and what was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why writing fails at present; absent when it works.
    pub problem: Option<String>,
    /// Since when it fails.
    pub since_ms: Option<i64>,
    /// Rows lost since start.
    pub lost: Lost,
    /// Why rows were lost last, or that a damaged file was moved aside.
    pub past: Option<String>,
    /// Where the originals are safe while writing fails.
    pub originals_in: Option<String>,
}

impl Health {
    /// Whether writing works at present.
    pub fn works(&self) -> bool {
        self.problem.is_none()
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(problem) = &self.problem {
            write!(f, "not writing: {problem}; lost so far: {}", self.lost)?;
            if let Some(file) = &self.originals_in {
                write!(f, "; originals are safe in {file}")?;
            }
            return Ok(());
        }
        f.write_str("ok")?;
        if self.lost.total() > 0 {
            write!(f, "; lost since start: {}", self.lost)?;
        }
        if let Some(past) = &self.past {
            write!(f, " ({past})")?;
        }
        Ok(())
    }
}
