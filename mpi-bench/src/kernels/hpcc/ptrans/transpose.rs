//! The timed part of PTRANS. Blocks whose transpose lives on the same rank are added in place; the others travel as they are,
//! in messages of a few blocks, and are transposed by the receiver while the next message is under way.

use super::super::grid::Cyclic;
use crate::mpi_raw::{irecv, isend};
use crate::team::Team;

/// Elements in one message: 1 MiB, so that four buffers stay small and in the cache.
const MESSAGE: usize = 1 << 17;

/// Edge of the square that is transposed at a time: reads and writes whole cache lines, fits the first-level cache.
const TILE: usize = 16;

/// Block row and block column.
type Block = (usize, usize);

/// Where this rank is on the grid, and who is where.
#[derive(Debug, Clone)]
pub(super) struct Placement {
    /// Distribution of rows over P; of A and, the matrices being square, of C.
    pub(super) rows: Cyclic,
    /// Distribution of columns over Q.
    pub(super) cols: Cyclic,
    pub(super) row: usize,
    pub(super) col: usize,
    /// Rank at each place, row by row.
    ranks: Vec<i32>,
}

impl Placement {
    pub(super) fn new(rows: Cyclic, cols: Cyclic, ranks: Vec<i32>, rank: i32) -> Self {
        let at = ranks.iter().position(|&r| r == rank).unwrap_or(0);
        Self { rows, cols, row: at / cols.procs, col: at % cols.procs, ranks }
    }

    /// Blocks (i, j) of A that lie at place `from` and whose transposes (j, i) lie at place `to`, in an order both ends know.
    fn blocks(&self, from: (usize, usize), to: (usize, usize)) -> Vec<Block> {
        let (p, q) = (self.rows.procs, self.cols.procs);
        let mut list = Vec::new();
        for j in (from.1..self.cols.blocks()).step_by(q).filter(|j| j % p == to.0) {
            list.extend((from.0..self.rows.blocks()).step_by(p).filter(|i| i % q == to.1).map(|i| (i, j)));
        }
        list
    }

    fn place(&self, at: usize) -> (usize, usize) {
        (at / self.cols.procs, at % self.cols.procs)
    }

    /// Position of block (i, j)'s first element in the local array, and the distance between columns.
    fn position(&self, i: usize, j: usize) -> (usize, usize) {
        let ld = self.rows.local_len(self.row);
        (self.cols.local(j * self.cols.nb) * ld + self.rows.local(i * self.rows.nb), ld)
    }
}

/// C <- A^T + C. Collective.
pub(super) fn add_transposed(team: &Team, placement: &Placement, a: &[f64], c: &mut [f64]) {
    let me = (placement.row, placement.col);
    for (i, j) in placement.blocks(me, me) {
        let (from, ld) = placement.position(i, j);
        let (to, _) = placement.position(j, i);
        let shape = (placement.rows.block_len(i), placement.cols.block_len(j));
        add_block(shape, &a[from..], ld, &mut c[to..], ld);
    }
    let places = placement.ranks.len();
    let own = placement.row * placement.cols.procs + placement.col;
    let mut buffers = Buffers::default();
    for step in 1..places {
        let (to, from) = ((own + step) % places, (own + places - step) % places);
        let outgoing = placement.blocks(me, placement.place(to));
        let incoming = placement.blocks(placement.place(from), me);
        let peers = (placement.ranks[to], placement.ranks[from]);
        exchange(team, placement, peers, (&outgoing, &incoming), (a, c), &mut buffers);
    }
}

/// Two messages each way: one under way, one being filled or added.
#[derive(Default)]
struct Buffers {
    out: [Vec<f64>; 2],
    into: [Vec<f64>; 2],
}

/// Sends `outgoing` blocks of A to one peer while adding `incoming` ones from another.
fn exchange(
    team: &Team,
    placement: &Placement,
    (to, from): (i32, i32),
    (outgoing, incoming): (&[Block], &[Block]),
    (a, c): (&[f64], &mut [f64]),
    buffers: &mut Buffers,
) {
    let per_message = (MESSAGE / (placement.rows.nb * placement.cols.nb)).max(1);
    let mut sends = outgoing.chunks(per_message);
    let mut receives = incoming.chunks(per_message);
    let Buffers { out, into } = buffers;
    let ([out, next_out], [into, next_into]) = (out, into);
    let (mut out, mut next_out, mut into, mut next_into) = (out, next_out, into, next_into);
    let mut arrived: Option<&[Block]> = None;
    loop {
        let (sending, receiving) = (sends.next(), receives.next());
        if sending.is_none() && receiving.is_none() {
            break;
        }
        let coming = receiving.map(|blocks| {
            into.resize(elements(placement, blocks), 0.0);
            irecv(team.comm(), &mut into[..], from, 0)
        });
        let going = sending.map(|blocks| {
            pack(placement, blocks, a, out);
            isend(team.comm(), &out[..], to, 0)
        });
        if let Some(blocks) = arrived {
            unpack(placement, blocks, next_into, c);
        }
        drop((coming, going));
        arrived = receiving;
        std::mem::swap(&mut into, &mut next_into);
        std::mem::swap(&mut out, &mut next_out);
    }
    if let Some(blocks) = arrived {
        unpack(placement, blocks, next_into, c);
    }
}

fn elements(placement: &Placement, blocks: &[Block]) -> usize {
    blocks.iter().map(|&(i, j)| placement.rows.block_len(i) * placement.cols.block_len(j)).sum()
}

/// Copies blocks of A one after the other, column by column.
fn pack(placement: &Placement, blocks: &[Block], a: &[f64], out: &mut Vec<f64>) {
    out.clear();
    for &(i, j) in blocks {
        let (at, ld) = placement.position(i, j);
        let rows = placement.rows.block_len(i);
        for column in 0..placement.cols.block_len(j) {
            out.extend_from_slice(&a[at + column * ld..][..rows]);
        }
    }
}

/// Adds the transposes of packed blocks to C.
fn unpack(placement: &Placement, blocks: &[Block], packed: &[f64], c: &mut [f64]) {
    let mut packed = packed;
    for &(i, j) in blocks {
        let shape = (placement.rows.block_len(i), placement.cols.block_len(j));
        let (block, rest) = packed.split_at(shape.0 * shape.1);
        let (at, ld) = placement.position(j, i);
        add_block(shape, block, shape.0, &mut c[at..], ld);
        packed = rest;
    }
}

/// `c(j, i) += a(i, j)` for a block of m x n elements of A.
fn add_block((m, n): (usize, usize), a: &[f64], lda: usize, c: &mut [f64], ldc: usize) {
    let mut tile = [[0.0; TILE]; TILE];
    for left in (0..n).step_by(TILE) {
        let width = TILE.min(n - left);
        for top in (0..m).step_by(TILE) {
            let height = TILE.min(m - top);
            for j in 0..width {
                let column = &a[top + (left + j) * lda..][..height];
                for (row, &value) in tile.iter_mut().zip(column) {
                    row[j] = value;
                }
            }
            for (i, row) in tile.iter().enumerate().take(height) {
                let target = &mut c[left + (top + i) * ldc..][..width];
                for (sum, value) in target.iter_mut().zip(row) {
                    *sum += value;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::add_block;

    #[test]
    fn a_block_of_any_shape_is_added_transposed() {
        for (m, n) in [(1, 1), (16, 16), (5, 33), (40, 17)] {
            let (lda, ldc) = (m + 3, n + 2);
            let a: Vec<f64> = (0..lda * n).map(|x| x as f64).collect();
            let mut c = vec![0.5; ldc * m];
            add_block((m, n), &a, lda, &mut c, ldc);
            for i in 0..m {
                for j in 0..n {
                    assert_eq!(c[j + i * ldc], a[i + j * lda] + 0.5, "({i},{j}) of {m} x {n}");
                }
                assert_eq!(c[n + i * ldc], 0.5, "padding untouched");
            }
        }
    }
}
