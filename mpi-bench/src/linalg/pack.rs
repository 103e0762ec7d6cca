//! Copies of blocks of A and B in the order in which a tile reads them: panels of as many rows (columns) as the tile has, in a
//! panel step after step, filled up with zeroes at the edge. Reading them is then one stream without a page or set conflict.

use super::Mat;
use crate::memory::prefetch;

/// Columns that are asked for before they are copied: the hardware does not look across their ends.
const AHEAD: usize = 6;

/// Rows `rows` of `depth` columns of A (which starts at the first of both) into panels of `MR` rows.
#[inline(always)]
pub(super) fn rows<const MR: usize>(a: Mat<'_>, rows: usize, depth: usize, out: &mut [f64]) {
    let whole = rows / MR * MR;
    for step in 0..depth {
        let column = &a.data[step * a.ld..][..rows];
        for line in (0..rows).step_by(8) {
            prefetch(column.as_ptr().wrapping_add(AHEAD * a.ld + line));
        }
        let (full, rest) = column.split_at(whole);
        let mut at = step * MR;
        for piece in full.as_chunks::<MR>().0 {
            out[at..at + MR].copy_from_slice(piece);
            at += MR * depth;
        }
        if !rest.is_empty() {
            out[at..at + rest.len()].copy_from_slice(rest);
            out[at + rest.len()..at + MR].fill(0.0);
        }
    }
}

/// `alpha` times `depth` rows of up to `NR` columns of B (which starts at the first of both) into one panel.
pub(super) fn columns<const NR: usize>(alpha: f64, b: Mat<'_>, cols: usize, depth: usize, out: &mut [f64]) {
    let out = out[..depth * NR].as_chunks_mut::<NR>().0;
    if cols < NR {
        for (step, row) in out.iter_mut().enumerate() {
            *row = std::array::from_fn(|j| if j < cols { alpha * b.data[step + j * b.ld] } else { 0.0 });
        }
        return;
    }
    let (blocks, rest) = out.as_chunks_mut::<8>();
    let whole = 8 * blocks.len();
    for j in 0..NR {
        let (full, end) = b.data[j * b.ld..][..depth].split_at(whole);
        for (rows, values) in blocks.iter_mut().zip(full.as_chunks::<8>().0) {
            for (row, value) in rows.iter_mut().zip(values) {
                row[j] = alpha * value;
            }
        }
        for (row, value) in rest.iter_mut().zip(end) {
            row[j] = alpha * value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Mat, columns, rows};

    #[test]
    fn panels_in_order_and_zeroes_at_the_edge() {
        // 5 x 3 in columns 6 apart: element (i, j) is 10 i + j.
        let data: Vec<f64> = (0..18).map(|at| f64::from(10 * (at % 6) + at / 6)).collect();
        let mut out = vec![-1.0; 25];
        rows::<4>(Mat { data: &data, ld: 6 }, 5, 3, &mut out);
        let first = [0.0, 10.0, 20.0, 30.0, 1.0, 11.0, 21.0, 31.0, 2.0, 12.0, 22.0, 32.0];
        let second = [40.0, 0.0, 0.0, 0.0, 41.0, 0.0, 0.0, 0.0, 42.0, 0.0, 0.0, 0.0];
        assert_eq!(out, [&first[..], &second[..], &[-1.0]].concat());

        let mut out = vec![-1.0; 7];
        columns::<3>(2.0, Mat { data: &data, ld: 6 }, 3, 2, &mut out);
        assert_eq!(out, [0.0, 2.0, 4.0, 20.0, 22.0, 24.0, -1.0]);
        columns::<3>(2.0, Mat { data: &data, ld: 6 }, 1, 2, &mut out);
        assert_eq!(out, [0.0, 0.0, 0.0, 20.0, 0.0, 0.0, -1.0]);
    }
}
