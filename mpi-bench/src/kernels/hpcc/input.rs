//! Reads `hpccinf.txt`. Values of the original that have no meaning here (panel factorisation variants, recursion, swap,
//! storage of L1 and U, equilibration, alignment) are checked to be there and otherwise left alone.

use std::path::Path;

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

/// Reads the file for a run of `ranks` ranks.
///
/// # Errors
/// The file cannot be read; a line is missing or holds no number where one must be; a grid is not the number of ranks.
pub fn read(path: &Path, ranks: usize) -> Result<HpccInput> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    parse(path, &text, ranks)
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
}

fn parse(path: &Path, text: &str, ranks: usize) -> Result<HpccInput> {
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
    lines.skip(1);
    for what in
        ["panel factorisations", "stopping criteria", "panels in recursion", "recursive factorisations"]
    {
        lines.list(what)?;
    }
    let bcasts = lines.list("broadcasts")?;
    let depths = lines.list("look-ahead depths")?;
    // Swap, its threshold, L1, U, equilibration, alignment, separator.
    lines.skip(7);
    let largest = n.iter().copied().max().unwrap_or(0) as f64;
    let enough = |n: &usize| *n as f64 >= 0.9486 * largest * 0.5;
    let mut ptrans_n: Vec<usize> = optional(&mut lines, "PTRANS sizes")?.into_iter().filter(enough).collect();
    ptrans_n.extend(n.iter().map(|n| n / 2));
    let mut ptrans_nb = optional(&mut lines, "PTRANS block sizes")?;
    ptrans_nb.extend(&nb);
    Ok(HpccInput { n, nb, column_major, grids, bcasts, depths, ptrans_n, ptrans_nb })
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
        };
        assert_eq!(input, expected);
        assert_eq!(input.bytes_per_process(), 2_000_000);
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
