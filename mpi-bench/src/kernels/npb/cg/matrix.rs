//! The matrix of CG: the weighted sum of outer products of random sparse vectors, plus a shifted diagonal.
//!
//! Every rank generates all vectors (they are few numbers) and sums up its own rows, one at a time.

use std::ops::Range;

use super::super::randlc::{Randlc, SEED};

/// Condition number; the weights of the vectors fall from 1 to it.
const CONDITION: f64 = 0.1;

/// Sizes of a class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Problem {
    /// Rows.
    pub(super) n: usize,
    /// Random elements of each vector.
    pub(super) nonzeros: usize,
    /// What is taken off the diagonal.
    pub(super) shift: f64,
}

impl Problem {
    /// Memory of one of so many ranks while the matrix is being put together, about: the rows twice, the vectors.
    pub(super) fn bytes(&self, ranks: usize) -> u64 {
        let elements = self.n * (self.nonzeros + 1) * (self.nonzeros + 1);
        (elements.div_ceil(ranks) * (12 + 11) + self.n * (16 * self.nonzeros + 64)) as u64
    }
}

/// Sparse rows: row i has the elements `starts[i]..starts[i + 1]`, in ascending columns.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) starts: Vec<usize>,
    pub(super) columns: Vec<u32>,
    pub(super) values: Vec<f64>,
}

/// A sparse vector.
type Vector = Vec<(u32, f64)>;

/// The vectors whose outer products make the matrix.
fn vectors(problem: &Problem) -> Vec<Vector> {
    let mut random = Randlc::new(SEED);
    random.next();
    let power = problem.n.next_power_of_two() as f64;
    (0..problem.n)
        .map(|own| {
            let mut vector = Vector::with_capacity(problem.nonzeros + 1);
            while vector.len() < problem.nonzeros {
                let (value, place) = (random.next(), (power * random.next()) as usize);
                if place < problem.n && vector.iter().all(|(index, _)| *index as usize != place) {
                    vector.push((place as u32, value));
                }
            }
            match vector.iter_mut().find(|(index, _)| *index as usize == own) {
                Some(element) => element.1 = 0.5,
                None => vector.push((own as u32, 0.5)),
            }
            vector
        })
        .collect()
}

/// The rows of the matrix in `range`.
pub(super) fn rows(problem: &Problem, range: Range<usize>) -> Rows {
    let vectors = vectors(problem);
    // For every row of ours, the vectors that have an element there.
    let mut through: Vec<Vec<(u32, f64)>> = vec![Vec::new(); range.len()];
    let ratio = CONDITION.powf(1.0 / problem.n as f64);
    let mut weight = 1.0;
    for (which, vector) in vectors.iter().enumerate() {
        for (row, value) in vector {
            if range.contains(&(*row as usize)) {
                through[*row as usize - range.start].push((which as u32, weight * value));
            }
        }
        weight *= ratio;
    }
    let mut rows = Rows { starts: vec![0], ..Rows::default() };
    let mut sums = vec![0.0; problem.n];
    let mut seen = vec![false; problem.n];
    let mut columns = Vec::new();
    for (row, through) in range.zip(through) {
        let diagonal = [(row as u32, CONDITION - problem.shift)];
        let products = through.iter().flat_map(|(which, scale)| {
            vectors[*which as usize].iter().map(move |(column, value)| (*column, value * scale))
        });
        for (column, value) in products.chain(diagonal) {
            let at = column as usize;
            sums[at] += value;
            if !std::mem::replace(&mut seen[at], true) {
                columns.push(column);
            }
        }
        columns.sort_unstable();
        for column in columns.drain(..) {
            let at = column as usize;
            seen[at] = false;
            rows.columns.push(column);
            rows.values.push(std::mem::take(&mut sums[at]));
        }
        rows.starts.push(rows.columns.len());
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::{Problem, rows};

    const SMALL: Problem = Problem { n: 300, nonzeros: 5, shift: 10.0 };

    #[test]
    fn the_matrix_is_symmetric_and_its_rows_are_sorted() {
        let all = rows(&SMALL, 0..SMALL.n);
        let mut dense = vec![0.0; SMALL.n * SMALL.n];
        for row in 0..SMALL.n {
            let range = all.starts[row]..all.starts[row + 1];
            assert!(all.columns[range.clone()].is_sorted_by(|a, b| a < b));
            for at in range {
                dense[row * SMALL.n + all.columns[at] as usize] = all.values[at];
            }
        }
        for row in 0..SMALL.n {
            for column in 0..row {
                let (a, b) = (dense[row * SMALL.n + column], dense[column * SMALL.n + row]);
                assert!((a - b).abs() <= 1e-15 * a.abs(), "{row} {column}");
            }
        }
    }

    #[test]
    fn parts_join_to_the_whole() {
        let all = rows(&SMALL, 0..SMALL.n);
        let part = rows(&SMALL, 120..200);
        let range = all.starts[120]..all.starts[200];
        assert_eq!(part.columns, all.columns[range.clone()]);
        assert_eq!(part.values, all.values[range]);
    }
}
