//! Counts of tests, read from what libtest prints.
//!
//! libtest has no word for "could not run": a test here that cannot writes a line `SKIPPED NAME: WHY` straight to standard
//! error, past libtest's capture, and returns. May not: run anything.

use std::fmt;

/// Tests and checks counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Ran and succeeded.
    pub(crate) passed: usize,
    /// Ran and failed, or could not be built.
    pub(crate) failed: usize,
    /// Could not run: name and why.
    pub(crate) skipped: Vec<(String, String)>,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped.len())
    }
}

impl Totals {
    /// One check.
    pub(crate) fn count(&mut self, ok: bool) {
        if ok { self.passed += 1 } else { self.failed += 1 }
    }

    /// Add another count to this one.
    pub(crate) fn add(&mut self, other: Totals) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
    }

    /// Count what one or more test programs printed on both streams; `ok` is their common exit status.
    pub(crate) fn read(&mut self, out: &str, err: &str, ok: bool) {
        let mut here = Totals::default();
        for line in out.lines() {
            if let Some(result) = line.strip_prefix("test result: ") {
                here.passed += number_before(result, " passed");
                here.failed += number_before(result, " failed");
            } else if let Some((name, why)) = ignored(line) {
                here.skipped.push((name.to_owned(), why.to_owned()));
            }
        }
        let mut gave_up: Vec<(String, String)> = err.lines().filter_map(gave_up).collect();
        // A test that asks twice is still one test.
        gave_up.dedup_by(|one, other| one.0 == other.0);
        // To libtest those have passed.
        here.passed = here.passed.saturating_sub(gave_up.len());
        here.skipped.extend(gave_up);
        if !ok && here.failed == 0 {
            // Not built, or ended before it could say so.
            here.failed = 1;
        }
        self.add(here);
    }
}

/// `SKIPPED NAME: WHY`.
fn gave_up(line: &str) -> Option<(String, String)> {
    let (name, why) = line.strip_prefix("SKIPPED ")?.split_once(": ")?;
    Some((name.to_owned(), why.to_owned()))
}

/// `test NAME ... ignored, WHY`. A test that another one starts as its own helper is none that was left out.
fn ignored(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    let why = rest.strip_prefix(", ").unwrap_or("marked #[ignore]");
    (!why.starts_with("only a part of ")).then_some((name, why))
}

fn number_before(text: &str, word: &str) -> usize {
    let Some(end) = text.find(word) else { return 0 };
    let digits = text[..end].rsplit(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(out: &str, err: &str, ok: bool) -> Totals {
        let mut totals = Totals::default();
        totals.read(out, err, ok);
        totals
    }

    const SHOWN: &str = "\
running 3 tests
test a ... ok
test b ... ok
test c ... ignored, needs a moon
test d ... ignored, only a part of a

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn skipped_tests_are_not_passed_ones() {
        let totals = read(SHOWN, "SKIPPED a: no root\n   Compiling x\nSKIPPED a: no root\n", true);
        assert_eq!((totals.passed, totals.failed), (1, 0));
        let skipped = [("c".into(), "needs a moon".into()), ("a".into(), "no root".into())];
        assert_eq!(totals.skipped, skipped);
        assert_eq!(totals.to_string(), "1 passed, 0 failed, 2 skipped");
    }

    #[test]
    fn several_programs_add_up() {
        let two = "test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured\n\
                   test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured\n";
        let totals = read(two, "", false);
        assert_eq!((totals.passed, totals.failed), (19, 3));
    }

    #[test]
    fn a_program_that_died_or_was_not_built_failed() {
        assert_eq!(read("", "error: could not compile", false).failed, 1);
        assert_eq!(read("running 1 test\n", "", false).failed, 1);
    }
}
