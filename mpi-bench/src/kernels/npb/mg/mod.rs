//! MG: V-cycles of a multigrid solver for the Poisson equation on a periodic cube, with +1 and -1 at ten points each.
//!
//! The original cuts the cube in all three directions and needs a power of two of ranks. Here every rank has a slab of planes;
//! on the coarse levels, which are cheap, every rank has and computes the whole cube. That works for any number of ranks up
//! to half the planes. One cycle runs untimed; verified is the L2 norm of the residual after the last, to 1e-8.

mod charges;
mod cube;
mod stencil;

use super::class::Class;
use super::official::{Compared, judge};
use crate::error::Result;
use crate::kernel::{Check, Facts, Kernel, Lap, Reading, Spec};
use crate::setup::Setup;
use crate::team::Team;
use charges::Charges;
use cube::{Cube, Slabs};
use stencil::Scratch;

/// Relative deviation of the norm that NPB allows.
const LIMIT: f64 = 1e-8;

/// L2 norm of the residual by class.
const OFFICIAL: [f64; 5] = [
    0.530_770_700_573_4e-4,
    0.646_732_937_533_9e-5,
    0.243_336_530_906_9e-5,
    0.180_056_440_135_5e-5,
    0.570_673_228_574e-6,
];

/// Smoothers: centre, face and edge neighbours. Classes B and C have the second.
const SMOOTHERS: [[f64; 3]; 2] =
    [[-3.0 / 8.0, 1.0 / 32.0, -1.0 / 64.0], [-3.0 / 17.0, 1.0 / 33.0, -1.0 / 61.0]];

/// The kernel.
pub(super) struct Mg {
    class: Class,
    cycles: usize,
    charges: Charges,
    solver: Solver,
    /// L2 and maximum norm.
    norms: [f64; 2],
}

/// Grids of all levels, finest last; level l has 2^(l+1) planes.
struct Solver {
    slabs: Slabs,
    smoother: [f64; 3],
    /// Right-hand side of the finest level.
    v: Cube,
    u: Vec<Cube>,
    r: Vec<Cube>,
    scratch: Scratch,
}

impl Solver {
    fn new(log_n: usize, smoother: [f64; 3], slabs: Slabs) -> Result<Self> {
        let grids = || (0..log_n).map(|level| slabs.cube(level)).collect::<Result<Vec<_>>>();
        let (u, r, v) = (grids()?, grids()?, slabs.cube(log_n - 1)?);
        Ok(Self { slabs, smoother, v, u, r, scratch: Scratch::new(1 << log_n) })
    }

    fn top(&self) -> usize {
        self.u.len() - 1
    }

    /// r = v - A u on the finest level.
    fn residual(&mut self, team: &Team) {
        let top = self.top();
        self.r[top].interior().for_each(|plane| self.residual_plane(plane));
        self.slabs.exchange(team, top, &mut self.r[top]);
    }

    fn residual_plane(&mut self, plane: usize) {
        let top = self.top();
        let r = self.r[top].plane_mut(plane);
        stencil::residual_of(self.u[top].around(plane), self.v.plane(plane), r, &mut self.scratch);
    }

    /// One V-cycle: improves u by what the residual on all levels says, and brings the finest residual up to date.
    fn cycle(&mut self, team: &Team) {
        let top = self.top();
        for level in (1..=top).rev() {
            self.restrict(team, level);
        }
        self.u[0].fill(0.0);
        self.smooth(team, 0);
        for level in 1..top {
            self.u[level].fill(0.0);
            for plane in 0..self.u[level].planes() + 2 {
                self.prolongate_plane(level, plane);
            }
            for plane in self.r[level].interior() {
                let r = self.r[level].plane_mut(plane);
                stencil::subtract(self.u[level].around(plane), r, &mut self.scratch);
            }
            self.slabs.exchange(team, level, &mut self.r[level]);
            self.smooth(team, level);
        }
        self.finest(team);
    }

    /// The finest level in one sweep over its planes: interpolation, residual, smoother and residual again follow each other
    /// one plane apart, so that all of them find in a cache what the one before has left there.
    ///
    /// Each runs on a plane after the one before it has run on the next; that is all the data of a stencil, and no plane is
    /// overwritten before its last use. The smoother needs the neighbours' residual at the ends, and the last residual their
    /// u: so the first of those is computed and exchanged before the sweep, the second after it.
    fn finest(&mut self, team: &Team) {
        let top = self.top();
        let last = self.u[top].planes();
        let inner = 2..last;
        // What the residual at the ends needs.
        let at_ends = |plane: usize| plane <= 2 || plane + 1 >= last;
        (0..=last + 1).filter(|plane| at_ends(*plane)).for_each(|plane| self.prolongate_plane(top, plane));
        [1, last].into_iter().for_each(|plane| self.residual_plane(plane));
        self.slabs.exchange(team, top, &mut self.r[top]);
        for front in 3..=last + 2 {
            if front <= last + 1 && !at_ends(front) {
                self.prolongate_plane(top, front);
            }
            if inner.contains(&(front - 1)) {
                self.residual_plane(front - 1);
            }
            self.smooth_plane(top, front - 2);
            if inner.contains(&(front - 3)) {
                self.residual_plane(front - 3);
            }
        }
        self.slabs.exchange(team, top, &mut self.u[top]);
        [1, last].into_iter().for_each(|plane| self.residual_plane(plane));
        self.slabs.exchange(team, top, &mut self.r[top]);
    }

    /// The residual of `level` projected on the level below.
    fn restrict(&mut self, team: &Team, level: usize) {
        let (coarse, fine) = self.r.split_at_mut(level);
        let coarse = &mut coarse[level - 1];
        let offset = self.slabs.offset(level, level - 1);
        for plane in 1..=fine[0].planes() / 2 {
            let s = coarse.plane_mut(plane + offset);
            stencil::restrict(fine[0].around(2 * plane), s, &mut self.scratch);
        }
        if self.slabs.splits(level) {
            self.slabs.collect(team, level - 1, coarse);
        }
        self.slabs.exchange(team, level - 1, coarse);
    }

    /// A plane of u of `level` += u of the level below, interpolated. Ghosts can be done likewise, and need no exchange then.
    fn prolongate_plane(&mut self, level: usize, plane: usize) {
        let (coarse, fine) = self.u.split_at_mut(level);
        let (coarse, fine) = (&coarse[level - 1], &mut fine[0]);
        let offset = self.slabs.offset(level, level - 1);
        let z = [plane / 2, plane.div_ceil(2)].map(|near| coarse.plane(near + offset));
        stencil::prolongate(z, fine.plane_mut(plane), &mut self.scratch);
    }

    /// u += S r
    fn smooth(&mut self, team: &Team, level: usize) {
        self.u[level].interior().for_each(|plane| self.smooth_plane(level, plane));
        self.slabs.exchange(team, level, &mut self.u[level]);
    }

    fn smooth_plane(&mut self, level: usize, plane: usize) {
        let u = self.u[level].plane_mut(plane);
        stencil::smooth(self.smoother, self.r[level].around(plane), u, &mut self.scratch);
    }

    /// L2 norm, per point, and maximum norm of the finest residual.
    fn norms(&self, team: &Team) -> [f64; 2] {
        let r = &self.r[self.top()];
        let planes = r.interior().map(|plane| stencil::norms(r.plane(plane), r.width()));
        let [squares, largest] =
            planes.fold([0.0, 0.0], |[sum, most], [squares, largest]| [sum + squares, largest.max(most)]);
        let n = (r.width() - 2) as f64;
        [(team.sum(squares) / (n * n * n)).sqrt(), team.max(largest)]
    }

    /// Back to the beginning.
    fn restore(&mut self, charges: &Charges) {
        let top = self.top();
        self.u[top].fill(0.0);
        self.v.fill(0.0);
        charges.place(&mut self.v, self.slabs.first(top));
    }
}

impl Kernel for Mg {
    const SPEC: Spec = super::spec("npb-mg", "multigrid solver of a Poisson equation", "NPB 3.4 MG");

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let class = Class::of(setup)?;
        let log_n: usize = class.pick([5, 7, 8, 8, 9]);
        let n = 1usize << log_n;
        let ranks = setup.team.len();
        if ranks > n / 2 {
            let why = format!("class {class} runs on at most {} ranks; these are {ranks}", n / 2);
            return Err(setup.unfit(why));
        }
        let slabs = Slabs::new(log_n, setup.team.index(), ranks);
        // Three cubes of the finest level, two of those below: 3 + 2/7, and their ghosts.
        let finest = 8 * (n + 2) * (n + 2) * (n.div_ceil(ranks) + 4);
        setup.need("size", class, 4 * finest as u64)?;
        let smoother = class.pick([SMOOTHERS[0], SMOOTHERS[0], SMOOTHERS[0], SMOOTHERS[1], SMOOTHERS[1]]);
        let charges = Charges::choose(setup.team, n, slabs.range(log_n - 1));
        let solver = Solver::new(log_n, smoother, slabs)?;
        let cycles = class.pick([4, 4, 4, 20, 20]);
        Ok(Self { class, cycles, charges, solver, norms: [f64::NAN; 2] })
    }

    fn params(&self) -> Facts {
        super::params(self.class)
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        let solver = &mut self.solver;
        solver.restore(&self.charges);
        solver.residual(team);
        solver.cycle(team);
        solver.restore(&self.charges);
        team.barrier();
        let begin = mpi::time();
        solver.residual(team);
        solver.norms(team);
        for _ in 0..self.cycles {
            solver.cycle(team);
        }
        self.norms = solver.norms(team);
        Ok(Lap(vec![team.max(mpi::time() - begin)]))
    }

    fn verify(&mut self, _team: &Team) -> Result<Check> {
        Ok(judge(&[Compared::new("L2 norm", self.norms[0], self.class.pick(OFFICIAL))], LIMIT))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        let n = (self.solver.v.width() - 2) as f64;
        super::readings(58e-6 * self.cycles as f64 * n * n * n, lap)
    }

    fn corrupt(&mut self, _team: &Team) {
        self.norms[0] *= 1.0 + 1e-7;
    }

    fn facts(&self) -> Facts {
        let [l2, max] = self.norms;
        Facts::from([("norm_l2".to_owned(), l2.into()), ("norm_max".to_owned(), max.into())])
    }
}
