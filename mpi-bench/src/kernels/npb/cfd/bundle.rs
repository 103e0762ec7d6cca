//! Lines of a direction, eight side by side, for solvers that eliminate along them. Lines along y and z lie side by side in
//! memory already; those along x are copied into that order and back. The solver's arithmetic is its own business.

use super::grid::{GHOST, Grid, LEAD, Span};
use super::lanes::WIDTH;
use super::lines::{self, Sweep};
use crate::team::Team;

/// Eight lines in a field or buffer: where their points are.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Bundle {
    /// First component of the first line's neighbour point before its first own point.
    pub(in super::super) base: usize,
    /// Doubles from a point to the next along the line, and from a component to the next.
    pub(in super::super) point: usize,
    pub(in super::super) component: usize,
    /// Own points of each line, and the global index of the first.
    pub(in super::super) len: usize,
    pub(in super::super) first: usize,
}

/// The arithmetic on a bundle along one direction. All work space is in groups of [`WIDTH`] doubles, one for each line.
pub(in super::super) trait Eliminator {
    /// What the elimination and the substitution of a line hand to the next rank, in doubles.
    const STATE: [usize; 2];
    /// What the elimination keeps of a point for the substitution, in doubles.
    const FACTORS: usize;

    /// Turns `r` into the eliminated right-hand side.
    fn eliminate(&self, bundle: Bundle, u: &[f64], r: &mut [f64], factors: &mut [f64], state: &mut [f64]);

    /// Turns `r` into the solution, or adds it to `u`.
    fn substitute(&self, bundle: Bundle, u: &mut [f64], r: &mut [f64], factors: &[f64], state: &mut [f64]);
}

/// Work space of the sweeps along all directions.
#[derive(Debug)]
pub(in super::super) struct Space {
    factors: Vec<f64>,
    u: Vec<f64>,
    r: Vec<f64>,
}

impl Space {
    /// For factors of `per_point` doubles a line.
    pub(in super::super) fn new(grid: &Grid, per_point: usize) -> Self {
        let buffer = vec![0.0; grid.n * 5 * WIDTH];
        Self { factors: vec![0.0; Self::factors(grid, per_point)], u: buffer.clone(), r: buffer }
    }

    /// Bytes of one.
    pub(in super::super) fn bytes(grid: &Grid, per_point: usize) -> u64 {
        ((Self::factors(grid, per_point) + 2 * grid.n * 5 * WIDTH) * size_of::<f64>()) as u64
    }

    /// Factors of the direction that needs most, in doubles.
    fn factors(grid: &Grid, per_point: usize) -> usize {
        let points = (0..3).map(|d| {
            let lines = Lines::new(grid, d);
            lines::slots(&lines.span) * lines.per_group * lines.span.len
        });
        points.max().unwrap_or_default() * per_point * WIDTH
    }
}

/// Solves along direction `d` (0 is x) on all ranks.
pub(in super::super) fn solve<E: Eliminator>(
    team: &Team,
    grid: &Grid,
    d: usize,
    eliminator: &E,
    (u, r): (&mut [f64], &mut [f64]),
    space: &mut Space,
) {
    let lines = Lines::new(grid, d);
    let span = lines.span;
    let mut sweep = LineSweep { grid, d, slots: lines::slots(&span), lines, eliminator, u, r, space };
    lines::run(team, &span, &mut sweep);
}

/// How the lines of a direction are grouped.
struct Lines {
    span: Span,
    /// Rows of bundles, and bundles in a row.
    rows: usize,
    bundles: usize,
    /// Bundles that are handed on together: one where no rank waits for it, else a row, to save messages.
    per_group: usize,
}

impl Lines {
    fn new(grid: &Grid, d: usize) -> Self {
        let whole = Span { first: 1, len: grid.n - 2, place: 0, ranks: 1, before: None, after: None };
        let side_by_side = grid.padded_interior() / WIDTH;
        let (span, rows, bundles) = match d {
            0 => (whole, grid.z.len, grid.y.len.div_ceil(WIDTH)),
            1 => (grid.y, grid.z.len, side_by_side),
            _ => (grid.z, grid.y.len, side_by_side),
        };
        Self { span, rows, bundles, per_group: if span.ranks == 1 { 1 } else { bundles } }
    }
}

struct LineSweep<'a, E> {
    grid: &'a Grid,
    d: usize,
    slots: usize,
    lines: Lines,
    eliminator: &'a E,
    u: &'a mut [f64],
    r: &'a mut [f64],
    space: &'a mut Space,
}

impl<E: Eliminator> LineSweep<'_, E> {
    /// The `index`-th bundle of a direction other than x.
    fn bundle(&self, index: usize) -> Bundle {
        let row = GHOST + index / self.lines.bundles;
        let x = WIDTH * (1 + index % self.lines.bundles);
        let (start, point) = match self.d {
            1 => (self.grid.at(GHOST - 1, row), self.grid.line()),
            _ => (self.grid.at(row, GHOST - 1), self.grid.plane()),
        };
        let span = self.lines.span;
        Bundle { base: start + x, point, component: self.grid.row, len: span.len, first: span.first }
    }

    /// A bundle along x, after it is copied.
    fn bundle_of_copies(&self) -> Bundle {
        Bundle { base: 0, point: 5 * WIDTH, component: WIDTH, len: self.grid.n - 2, first: 1 }
    }

    /// Start of the row of each line of the `index`-th bundle along x; the last line again where there are fewer than eight.
    fn rows_along_x(&self, index: usize) -> [usize; WIDTH] {
        let (k, first) = (GHOST + index / self.lines.bundles, index % self.lines.bundles * WIDTH);
        std::array::from_fn(|lane| self.grid.at(GHOST + (first + lane).min(self.grid.y.len - 1), k) + LEAD)
    }
}

impl<E: Eliminator> Sweep for LineSweep<'_, E> {
    fn groups(&self) -> usize {
        self.lines.rows * self.lines.bundles / self.lines.per_group
    }

    fn state(&self) -> [usize; 2] {
        E::STATE.map(|per_line| per_line * WIDTH * self.lines.per_group)
    }

    fn eliminate(&mut self, group: usize, state: &mut [f64]) {
        let per_group = self.lines.per_group;
        let kept = self.lines.span.len * E::FACTORS * WIDTH;
        for (i, state) in state.chunks_exact_mut(E::STATE[0] * WIDTH).enumerate() {
            let start = (group % self.slots * per_group + i) * kept;
            if self.d == 0 {
                let rows = self.rows_along_x(group);
                gather(&rows, self.grid, self.u, &mut self.space.u);
                gather(&rows, self.grid, self.r, &mut self.space.r);
                let bundle = self.bundle_of_copies();
                let Space { factors, u, r } = &mut *self.space;
                self.eliminator.eliminate(bundle, u, r, &mut factors[start..start + kept], state);
            } else {
                let bundle = self.bundle(group * per_group + i);
                let factors = &mut self.space.factors[start..start + kept];
                self.eliminator.eliminate(bundle, self.u, self.r, factors, state);
            }
        }
    }

    fn substitute(&mut self, group: usize, state: &mut [f64]) {
        let per_group = self.lines.per_group;
        let kept = self.lines.span.len * E::FACTORS * WIDTH;
        for (i, state) in state.chunks_exact_mut(E::STATE[1] * WIDTH).enumerate() {
            let start = (group % self.slots * per_group + i) * kept;
            if self.d == 0 {
                let bundle = self.bundle_of_copies();
                let Space { factors, u, r } = &mut *self.space;
                self.eliminator.substitute(bundle, u, r, &factors[start..start + kept], state);
                let rows = self.rows_along_x(group);
                scatter(&rows, self.grid, &self.space.r, self.r);
            } else {
                let bundle = self.bundle(group * per_group + i);
                let factors = &self.space.factors[start..start + kept];
                self.eliminator.substitute(bundle, self.u, self.r, factors, state);
            }
        }
    }
}

/// Copies eight rows along x into a bundle.
fn gather(rows: &[usize; WIDTH], grid: &Grid, field: &[f64], bundle: &mut [f64]) {
    for m in 0..5 {
        let lines = rows.map(|start| &field[start + m * grid.row..][..grid.n]);
        for (x, point) in bundle.chunks_exact_mut(5 * WIDTH).enumerate() {
            let lanes = &mut point[m * WIDTH..][..WIDTH];
            for (lane, line) in lanes.iter_mut().zip(lines) {
                *lane = line[x];
            }
        }
    }
}

/// The way back, interior points only.
fn scatter(rows: &[usize; WIDTH], grid: &Grid, bundle: &[f64], field: &mut [f64]) {
    for m in 0..5 {
        for (lane, start) in rows.iter().enumerate() {
            let line = &mut field[start + m * grid.row..][1..grid.n - 1];
            for (value, point) in line.iter_mut().zip(bundle[5 * WIDTH..].chunks_exact(5 * WIDTH)) {
                *value = point[m * WIDTH + lane];
            }
        }
    }
}
