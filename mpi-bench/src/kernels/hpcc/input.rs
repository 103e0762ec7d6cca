//! What `hpccinf.txt` says, from its text. What steers parts of the original's HPL that are one algorithm here (panel factorisation, recursion,
//! swap, storage of L1 and U, equilibration) is checked to be there and named as not followed.

use std::path::Path;

use super::THRESHOLD;
use crate::error::{Error, Result};

/// What the file asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct HpccInput {
    /// HPL's N.
    pub n: Vec<usize>,
    /// HPL's NB.
    pub nb: Vec<usize>,
    /// Ranks are placed column by column.
    pub column_major: bool,
    /// Process grids, P and Q.
    pub grids: Vec<(usize, usize)>,
    /// Panel broadcasts by number, 0 to 5.
    pub bcasts: Vec<usize>,
    /// Look-ahead depths.
    pub depths: Vec<usize>,
    /// PTRANS sizes: those of the file that use enough memory, then half of each N.
    pub ptrans_n: Vec<usize>,
    /// PTRANS blocks: those of the file, then HPL's.
    pub ptrans_nb: Vec<usize>,
    /// Settings with their values that are not followed, as users write them.
    pub not_followed: Vec<String>,
}

impl HpccInput {
    /// Bytes of HPL's largest matrix per process of its smallest grid: M of every other kernel's size.
    #[must_use]
    pub fn bytes_per_process(&self) -> u64 {
        let n = self.n.iter().copied().max().unwrap_or(0) as u64;
        let procs = self.grids.iter().map(|(p, q)| (p * q) as u64).min().unwrap_or(1);
        8 * n * n / procs.max(1)
    }
}

/// The lines still to be read.
struct Lines<'a> {
    path: &'a Path,
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
}

impl Lines<'_> {
    fn error(&self, line: usize, why: String) -> Error {
        Error::Input { path: self.path.to_path_buf(), line, why }
    }

    /// The first `count` numbers of the next line; what follows them is commentary.
    fn numbers(&mut self, count: usize, what: &str) -> Result<(usize, Vec<usize>)> {
        let Some((at, line)) = self.lines.next() else {
            return Err(self.error(0, format!("the file ends before {what}")));
        };
        let numbers: Vec<usize> = line.split_whitespace().map_while(|w| w.parse().ok()).take(count).collect();
        if numbers.len() < count {
            return Err(self.error(at + 1, format!("expected {count} numbers: {what}")));
        }
        Ok((at + 1, numbers))
    }

    fn number(&mut self, what: &str) -> Result<usize> {
        Ok(self.numbers(1, what)?.1[0])
    }

    /// A line with a count, then a line with so many numbers.
    fn list(&mut self, what: &str) -> Result<Vec<usize>> {
        let count = self.number(&format!("number of {what}"))?;
        Ok(self.numbers(count, what)?.1)
    }

    fn skip(&mut self, lines: usize) {
        for _ in 0..lines {
            self.lines.next();
        }
    }

    /// The first word of the next line, which may be the file's last.
    fn word(&mut self) -> Option<&str> {
        self.lines.next()?.1.split_whitespace().next()
    }

    /// Lists and single values of HPL that are not followed, but for the one that is what happens here anyway.
    fn factorisation(&mut self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for (name, what, ours) in [
            ("PFACT", "panel factorisations", None),
            ("NBMIN", "stopping criteria", None),
            ("NDIV", "panels in recursion", Some(2)),
            ("RFACT", "recursive factorisations", None),
        ] {
            let values = self.list(what)?;
            if values.iter().any(|value| Some(*value) != ours) {
                let values: Vec<String> = values.iter().map(usize::to_string).collect();
                names.push(format!("{name} {}", values.join(" ")));
            }
        }
        Ok(names)
    }
}

/// The file's text for a run of `ranks` ranks; `path` is for messages.
///
/// # Errors
/// A line is missing or holds no number where one must be; a grid is not the number of ranks.
pub fn parse(path: &Path, text: &str, ranks: usize) -> Result<HpccInput> {
    let mut lines = Lines { path, lines: text.lines().enumerate() };
    lines.skip(4);
    let n = lines.list("problem sizes (N)")?;
    let nb = lines.list("block sizes (NB)")?;
    let column_major = lines.number("process mapping (0 row, 1 column)")? == 1;
    let count = lines.number("number of process grids")?;
    let (at, p) = lines.numbers(count, "P of each grid")?;
    let (_, q) = lines.numbers(count, "Q of each grid")?;
    let grids: Vec<(usize, usize)> = p.into_iter().zip(q).collect();
    if let Some((p, q)) = grids.iter().find(|(p, q)| p * q != ranks) {
        return Err(lines.error(at, format!("P x Q = {p} x {q} is not the number of ranks, {ranks}")));
    }
    let mut not_followed = Vec::new();
    match lines.word().map(str::to_owned) {
        Some(limit) if limit.parse() != Ok(THRESHOLD) => not_followed.push(format!("threshold {limit}")),
        _ => {}
    }
    not_followed.extend(lines.factorisation()?);
    let bcasts = lines.list("broadcasts")?;
    let depths = lines.list("look-ahead depths")?;
    not_followed.extend(depths.iter().filter(|d| **d > 1).map(|d| format!("DEPTH {d} (1 instead)")));
    for name in ["SWAP", "swapping threshold", "L1", "U", "equilibration"] {
        not_followed.extend(lines.word().map(|value| format!("{name} {value}")));
    }
    // Alignment (arrays are aligned to 2 MiB) and the separator.
    lines.skip(2);
    let largest = n.iter().copied().max().unwrap_or(0) as f64;
    let enough = |n: &usize| *n as f64 >= 0.9486 * largest * 0.5;
    let mut ptrans_n: Vec<usize> = optional(&mut lines, "PTRANS sizes")?.into_iter().filter(enough).collect();
    ptrans_n.extend(n.iter().map(|n| n / 2));
    let mut ptrans_nb = optional(&mut lines, "PTRANS block sizes")?;
    ptrans_nb.extend(&nb);
    Ok(HpccInput { n, nb, column_major, grids, bcasts, depths, ptrans_n, ptrans_nb, not_followed })
}

/// A list at the end of the file, which HPL's own shorter form does not have.
fn optional(lines: &mut Lines<'_>, what: &str) -> Result<Vec<usize>> {
    if lines.lines.clone().next().is_none() { Ok(Vec::new()) } else { lines.list(what) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{HpccInput, parse};

    const TEXT: &str = "HPLinpack benchmark input file
Innovative Computing Laboratory, University of Tennessee
HPL.out      output file name (if any)
8            device out (6=stdout,7=stderr,file)
2            # of problems sizes (N)
1000 800     Ns
1            # of NBs
80           NBs
0            PMAP process mapping (0=Row-,1=Column-major)
1            # of process grids (P x Q)
2            Ps
2            Qs
16.0         threshold
1            # of panel fact
2            PFACTs (0=left, 1=Crout, 2=Right)
1            # of recursive stopping criterium
4            NBMINs (>= 1)
1            # of panels in recursion
2            NDIVs
1            # of recursive panel fact.
1            RFACTs (0=left, 1=Crout, 2=Right)
1            # of broadcast
1            BCASTs (0=1rg,1=1rM,2=2rg,3=2rM,4=Lng,5=LnM)
1            # of lookahead depth
1            DEPTHs (>=0)
2            SWAP (0=bin-exch,1=long,2=mix)
64           swapping threshold
0            L1 in (0=transposed,1=no-transposed) form
0            U  in (0=transposed,1=no-transposed) form
1            Equilibration (0=no,1=yes)
8            memory alignment in double (> 0)
##### This line (no. 32) is ignored (it serves as a separator). ######
3                      		Number of additional problem sizes for PTRANS
1200 100 300        	values of N
1                       	number of additional blocking sizes for PTRANS
40 9 8       	values of NB
";

    #[test]
    fn the_example_file() {
        let input = parse(Path::new("hpccinf.txt"), TEXT, 4).expect("valid");
        let expected = HpccInput {
            n: vec![1000, 800],
            nb: vec![80],
            column_major: false,
            grids: vec![(2, 2)],
            bcasts: vec![1],
            depths: vec![1],
            ptrans_n: vec![1200, 500, 400],
            ptrans_nb: vec![40, 80],
            not_followed: [
                "PFACT 2",
                "NBMIN 4",
                "RFACT 1",
                "SWAP 2",
                "swapping threshold 64",
                "L1 0",
                "U 0",
                "equilibration 1",
            ]
            .map(str::to_owned)
            .into(),
        };
        assert_eq!(input, expected);
        assert_eq!(input.bytes_per_process(), 2_000_000);
    }

    #[test]
    fn only_what_differs_from_the_algorithm_here_is_not_followed() {
        let text = TEXT.replace("16.0 ", "8.0 ").replace("1            DEPTHs", "3            DEPTHs");
        let input =
            parse(Path::new("hpccinf.txt"), &text.replace("2            NDIVs", "3            NDIVs"), 4);
        let names = input.expect("valid").not_followed;
        for name in ["threshold 8.0", "DEPTH 3 (1 instead)", "NDIV 3"] {
            assert!(names.iter().any(|n| n == name), "{name}: {names:?}");
        }
    }

    #[test]
    fn errors_name_the_line() {
        let message = |text: &str, ranks| {
            parse(Path::new("hpccinf.txt"), text, ranks).expect_err("invalid").to_string()
        };
        assert!(message(TEXT, 3).contains("hpccinf.txt:11: P x Q = 2 x 2"), "{}", message(TEXT, 3));
        assert!(message(&TEXT.replace("1000 800 ", "1000 x "), 4).contains("hpccinf.txt:6:"));
        assert!(message(&TEXT[..300], 4).contains("ends before"));
    }
}
