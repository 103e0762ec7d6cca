//! FT: a partial differential equation solved by three-dimensional Fourier transforms: one forward, then for each time step
//! the spectrum times its decay, and an inverse.
//!
//! Every rank has planes z of the box, and for the transforms over z rows y of the spectrum; between the two all ranks
//! exchange, so that any number of ranks up to the smaller of both works. (The original stops at powers of two.) The decay
//! exp(-4 a pi^2 |k|^2 t) is a product of three factors, one a direction, applied on the way into a transform; so the
//! spectrum is read once a step and never written. Everything is timed, as in the original: tables, random numbers,
//! transforms; one forward transform runs before. Verified are the checksums of 1024 points after each step, to 1e-12.

mod checksums;
mod lines;

use std::ops::Range;
use std::sync::Arc;

use rustfft::num_complex::Complex64;
use rustfft::{Fft, FftPlanner};

use super::class::Class;
use super::official::{Compared, judge};
use super::randlc::{Randlc, SEED};
use super::shares::{Parts, all_to_all, share};
use crate::error::Result;
use crate::kernel::{Check, Facts, Kernel, Lap, Reading, Spec};
use crate::memory::{Array, Pages, as_reals, as_reals_mut};
use crate::setup::Setup;
use crate::team::Team;
use lines::{Direction, Lines, WIDTH};

/// Diffusivity.
const ALPHA: f64 = 1e-6;

/// Relative deviation of a checksum that NPB allows.
const LIMIT: f64 = 1e-12;

/// Points of a checksum.
const POINTS: usize = 1024;

/// The kernel.
pub(super) struct Ft {
    class: Class,
    steps: usize,
    part: Part,
    checksums: Vec<Complex64>,
}

/// This rank's part of the box.
struct Part {
    /// Points in x, y and z.
    points: [usize; 3],
    /// Planes z of the state, and rows y of the spectrum.
    planes: Range<usize>,
    rows: Range<usize>,
    ranks: usize,
    /// Transform of the initial state, [z][y of ours][x].
    spectrum: Array<Complex64>,
    /// The state, [z of ours][y][x]; before the transform over z and after it, laid out like the spectrum.
    state: Array<Complex64>,
    /// The state by the ranks that it goes to or comes from, [rank][z of ours][y of the rank][x]. Empty on a single rank.
    transit: Array<Complex64>,
}

/// Tables and buffers of the transforms.
struct Transforms {
    x: [Arc<dyn Fft<f64>>; 2],
    scratch: Vec<Complex64>,
    y: Lines,
    z: Lines,
}

impl Transforms {
    fn new([nx, ny, nz]: [usize; 3]) -> Self {
        let mut planner = FftPlanner::new();
        let x = [planner.plan_fft_forward(nx), planner.plan_fft_inverse(nx)];
        let scratch = x.iter().map(|fft| fft.get_inplace_scratch_len()).max().unwrap_or(0);
        Self { x, scratch: vec![Complex64::ZERO; scratch], y: Lines::new(ny), z: Lines::new(nz) }
    }

    /// Over x and y, in a plane of rows of `nx`.
    fn plane(&mut self, plane: &mut [Complex64], nx: usize, direction: Direction) {
        let fft = match direction {
            Direction::Forward => &self.x[0],
            Direction::Inverse => &self.x[1],
        };
        fft.process_with_scratch(plane, &mut self.scratch);
        for left in (0..nx).step_by(WIDTH) {
            self.y.load(&plane[left..], nx, direction);
            self.y.transform(&mut plane[left..], nx, direction);
        }
    }
}

impl Part {
    fn new(points: [usize; 3], team: &Team) -> Result<Self> {
        let [nx, ny, nz] = points;
        let (rank, ranks) = (team.index(), team.len());
        let (planes, rows) = (share(nz, rank, ranks), share(ny, rank, ranks));
        let of_rows = nx * rows.len() * nz;
        let most = of_rows.max(nx * ny * planes.len());
        let spectrum = Array::zeroed(of_rows, Pages::Huge)?;
        let state = Array::zeroed(most, Pages::Huge)?;
        let transit = Array::zeroed(if ranks > 1 { most } else { 0 }, Pages::Huge)?;
        Ok(Self { points, planes, rows, ranks, spectrum, state, transit })
    }

    /// Random numbers as the initial state, and its transform.
    fn forward(&mut self, team: &Team, transforms: &mut Transforms) {
        let [nx, ny, _] = self.points;
        let mut random = Randlc::new(SEED).skipping((2 * nx * ny * self.planes.start) as u64);
        for plane in self.state.chunks_exact_mut(nx * ny).take(self.planes.len()) {
            random.fill(as_reals_mut(plane));
            transforms.plane(plane, nx, Direction::Forward);
        }
        self.gather_rows(team);
        let stride = nx * self.rows.len();
        for left in (0..stride).step_by(WIDTH) {
            transforms.z.load(&self.state[left..], stride, Direction::Forward);
            transforms.z.transform(&mut self.spectrum[left..], stride, Direction::Forward);
        }
    }

    /// The state at time `t`.
    fn inverse(&mut self, team: &Team, transforms: &mut Transforms, t: usize) {
        let [nx, ny, _] = self.points;
        let [decay_x, decay_y, decay_z] = self.points.map(|n| decay(n, t));
        let stride = nx * self.rows.len();
        for (row, y) in self.rows.clone().enumerate() {
            let (columns, _) = decay_x.as_chunks::<WIDTH>();
            for (block, columns) in columns.iter().enumerate() {
                let left = row * nx + block * WIDTH;
                let line = columns.map(|column| column * decay_y[y]);
                transforms.z.load_scaled(&self.spectrum[left..], stride, &line, &decay_z, Direction::Inverse);
                transforms.z.transform(&mut self.state[left..], stride, Direction::Inverse);
            }
        }
        self.gather_planes(team);
        for plane in self.state.chunks_exact_mut(nx * ny).take(self.planes.len()) {
            transforms.plane(plane, nx, Direction::Inverse);
        }
    }

    /// Reals that go to each rank when planes are given for rows, and that come.
    fn parts(&self) -> [Parts; 2] {
        let [nx, ny, nz] = self.points;
        [
            Parts::even(ny, 2 * nx * self.planes.len(), self.ranks),
            Parts::even(nz, 2 * nx * self.rows.len(), self.ranks),
        ]
    }

    /// What is next to each other in transit and in planes: start in either, and length.
    fn runs(&self) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let ([nx, ny, _], planes, ranks) = (self.points, self.planes.len(), self.ranks);
        (0..ranks).flat_map(move |rank| {
            let rows = share(ny, rank, ranks);
            let first = nx * rows.start * planes;
            (0..planes).map(move |plane| {
                (first + plane * nx * rows.len(), (plane * ny + rows.start) * nx, nx * rows.len())
            })
        })
    }

    /// From all rows of our planes to our rows of all planes.
    fn gather_rows(&mut self, team: &Team) {
        if self.ranks == 1 {
            return;
        }
        for (in_transit, in_planes, len) in self.runs() {
            self.transit[in_transit..][..len].copy_from_slice(&self.state[in_planes..][..len]);
        }
        let [out, into] = self.parts();
        all_to_all(team, (as_reals(&self.transit), &out), (as_reals_mut(&mut self.state), &into));
    }

    /// Back.
    fn gather_planes(&mut self, team: &Team) {
        if self.ranks == 1 {
            return;
        }
        let [into, out] = self.parts();
        all_to_all(team, (as_reals(&self.state), &out), (as_reals_mut(&mut self.transit), &into));
        for (in_transit, in_planes, len) in self.runs() {
            self.state[in_planes..][..len].copy_from_slice(&self.transit[in_transit..][..len]);
        }
    }

    /// The mean of some points, over the ranks.
    fn checksum(&self, team: &Team) -> Complex64 {
        let [nx, ny, nz] = self.points;
        let points = (1..=POINTS).map(|j| [j % nx, 3 * j % ny, 5 * j % nz]);
        let ours = points.filter(|[_, _, z]| self.planes.contains(z));
        let sum: Complex64 =
            ours.map(|[x, y, z]| self.state[((z - self.planes.start) * ny + y) * nx + x]).sum();
        let sum = sum / (nx * ny * nz) as f64;
        Complex64::new(team.sum(sum.re), team.sum(sum.im))
    }
}

/// exp(-4 a pi^2 k^2 t) for the wave numbers k of a direction of `n` points.
fn decay(n: usize, t: usize) -> Vec<f64> {
    let factor = -4.0 * ALPHA * std::f64::consts::PI * std::f64::consts::PI * t as f64;
    let wave = |k: usize| if k < n / 2 { k as f64 } else { n as f64 - k as f64 };
    (0..n).map(|k| (factor * wave(k) * wave(k)).exp()).collect()
}

impl Kernel for Ft {
    const SPEC: Spec = super::spec("npb-ft", "time steps by three-dimensional FFTs", "NPB 3.4 FT");

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let class = Class::of(setup)?;
        let points: [usize; 3] =
            class.pick([[64, 64, 64], [128, 128, 32], [256, 256, 128], [512, 256, 256], [512, 512, 512]]);
        let [nx, ny, nz] = points;
        let ranks = setup.team.len();
        let most = ny.min(nz);
        if ranks > most {
            return Err(setup.unfit(format!("class {class} runs on at most {most} ranks; these are {ranks}")));
        }
        let arrays = if ranks == 1 { 2 } else { 3 };
        let local = nx * (ny * nz.div_ceil(ranks)).max(nz * ny.div_ceil(ranks));
        setup.need("size", class, (arrays * 16 * local) as u64)?;
        let part = Part::new(points, setup.team)?;
        Ok(Self { class, steps: class.pick([6, 6, 6, 20, 20]), part, checksums: vec![] })
    }

    fn params(&self) -> Facts {
        super::params(self.class)
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        self.part.forward(team, &mut Transforms::new(self.part.points));
        self.checksums.clear();
        team.barrier();
        let begin = mpi::time();
        let mut transforms = Transforms::new(self.part.points);
        self.part.forward(team, &mut transforms);
        for t in 1..=self.steps {
            self.part.inverse(team, &mut transforms, t);
            self.checksums.push(self.part.checksum(team));
        }
        Ok(Lap(vec![team.max(mpi::time() - begin)]))
    }

    fn verify(&mut self, _team: &Team) -> Result<Check> {
        let pairs = self.checksums.iter().zip(checksums::checksums(self.class)).enumerate();
        let compared: Vec<Compared> = pairs
            .flat_map(|(at, (found, [re, im]))| {
                let name = |part: &str| format!("checksum {} ({part})", at + 1);
                [Compared::new(name("real"), found.re, *re), Compared::new(name("imaginary"), found.im, *im)]
            })
            .collect();
        Ok(judge(&compared, LIMIT))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        let n = self.part.points.iter().product::<usize>() as f64;
        let (log, steps) = (n.ln(), self.steps as f64);
        let operations = 14.8157 + 7.19641 * log + (5.23518 + 7.21113 * log) * steps;
        super::readings(1e-6 * n * operations, lap)
    }

    fn corrupt(&mut self, _team: &Team) {
        if let Some(last) = self.checksums.last_mut() {
            last.im *= 1.0 + 1e-11;
        }
    }

    fn facts(&self) -> Facts {
        let sums: Vec<[f64; 2]> = self.checksums.iter().map(|sum| [sum.re, sum.im]).collect();
        Facts::from([("checksums".to_owned(), sums.into_iter().map(|sum| sum.to_vec()).collect())])
    }
}
