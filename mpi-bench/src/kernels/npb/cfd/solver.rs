//! The [`Kernel`] that BT, SP and LU are: a field, a number of time steps by the method, and the official norms of the
//! residual and of the solution's error. How a step is taken is the method's.

use super::super::class::Class;
use super::super::official::{Compared, judge};
use super::exact::{exact_at, fill, initial_at};
use super::grid::Grid;
use super::operator::Operator;
use crate::error::Result;
use crate::kernel::{Check, Facts, Kernel, Lap, Reading, Spec};
use crate::memory::{Array, Pages};
use crate::setup::Setup;
use crate::team::Team;

/// NPB's limit on relative deviations.
const LIMIT: f64 = 1e-8;

/// One class of one method.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Case {
    /// Points along each edge of the cube.
    pub(in super::super) n: usize,
    pub(in super::super) steps: usize,
    pub(in super::super) dt: f64,
    /// Official root-mean-square norms.
    pub(in super::super) residual: [f64; 5],
    pub(in super::super) error: [f64; 5],
}

/// One rank's part of the problem.
pub(in super::super) struct State {
    pub(in super::super) grid: Grid,
    pub(in super::super) operator: Operator,
    pub(in super::super) dt: f64,
    /// The solution.
    pub(in super::super) u: Array<f64>,
    /// dt times the right-hand side; the step's work space.
    pub(in super::super) r: Array<f64>,
    /// What makes the exact solution the steady state.
    forcing: Array<f64>,
}

impl State {
    fn new(grid: Grid, dt: f64) -> Result<Self> {
        let field = || Array::zeroed(grid.len(), Pages::Huge);
        let mut operator = Operator::new(&grid);
        let (mut u, r, mut forcing) = (field()?, field()?, field()?);
        fill(&grid, &mut u, exact_at);
        operator.apply(&u, &r, &mut forcing, -1.0);
        Ok(Self { grid, operator, dt, u, r, forcing })
    }

    fn restart(&mut self) {
        fill(&self.grid, &mut self.u, initial_at);
    }

    /// Brings the neighbours' points up to date and computes `r`.
    pub(in super::super) fn right_hand_side(&mut self, team: &Team) {
        self.grid.exchange(team, &mut self.u);
        self.operator.apply(&self.u, &self.forcing, &mut self.r, self.dt);
    }

    /// Root mean square over the cube's interior of what `value` gives for each own point and component.
    fn norm(&self, team: &Team, value: impl Fn(usize, [usize; 3]) -> [f64; 5]) -> [f64; 5] {
        let mut sums = [0.0; 5];
        self.grid.for_own(|at, point| {
            for (sum, value) in sums.iter_mut().zip(value(at, point)) {
                *sum += value * value;
            }
        });
        let points = ((self.grid.n - 2) as f64).powi(3);
        sums.map(|sum| (team.sum(sum) / points).sqrt())
    }

    /// The norm of the residual as of the last [`Self::right_hand_side`].
    pub(in super::super) fn residual(&self, team: &Team) -> [f64; 5] {
        let row = self.grid.row;
        self.norm(team, |at, _| std::array::from_fn(|m| self.r[at + m * row])).map(|norm| norm / self.dt)
    }

    fn error(&self, team: &Team) -> [f64; 5] {
        let row = self.grid.row;
        self.norm(team, |at, point| {
            let exact = exact_at(self.grid.n, point);
            std::array::from_fn(|m| self.u[at + m * row] - exact[m])
        })
    }
}

/// How a time step is taken.
pub(in super::super) trait Method: Sized + 'static {
    /// What the registry shows.
    const SPEC: Spec;
    /// Sizes and official values, by class.
    const CASES: [Case; 5];

    /// Operations of a step on n^3 points by the original's count.
    fn operations(n: f64) -> f64;

    /// Bytes of work space on a rank, beside the fields.
    fn bytes(grid: &Grid) -> u64;

    /// Work space for a rank's part.
    ///
    /// # Errors
    /// No memory.
    fn new(state: &State) -> Result<Self>;

    /// What precedes the first step, outside of the timed region.
    fn start(&mut self, _state: &mut State, _team: &Team) {}

    /// One step; the boundary of the cube stays as it is.
    fn step(&mut self, state: &mut State, team: &Team);

    /// What follows the last step, inside the timed region.
    fn finish(&mut self, _state: &mut State, _team: &Team) {}

    /// Official values beyond the two norms, beside what was found.
    fn further(_class: Class, _state: &State, _team: &Team) -> Vec<Compared> {
        Vec::new()
    }
}

/// The kernel.
pub(in super::super) struct Solver<M> {
    class: Class,
    case: Case,
    state: State,
    method: M,
    /// As last verified.
    norms: Option<[[f64; 5]; 2]>,
}

impl<M: Method> Kernel for Solver<M> {
    const SPEC: Spec = M::SPEC;

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let class = Class::of(setup)?;
        let case = class.pick(M::CASES);
        let ranks = setup.team.len();
        let grid = Grid::new(case.n, setup.team.rank(), ranks).ok_or_else(|| {
            let why = format!("no way to cut class {class}'s {0}^3 points into parts of 2 and more", case.n);
            setup.unfit(why)
        })?;
        let fields = 3 * (grid.len() * size_of::<f64>()) as u64;
        setup.need("size", class, fields + M::bytes(&grid))?;
        let state = State::new(grid, case.dt)?;
        let method = M::new(&state)?;
        Ok(Self { class, case, state, method, norms: None })
    }

    fn params(&self) -> Facts {
        let mut params = super::super::params(self.class);
        params.insert("ranks_y".to_owned(), self.state.grid.y.ranks.into());
        params.insert("ranks_z".to_owned(), self.state.grid.z.ranks.into());
        params
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        let Self { state, method, .. } = self;
        // As in the original, one step touches all data and code before the clock starts.
        state.restart();
        method.start(state, team);
        method.step(state, team);
        state.restart();
        method.start(state, team);
        team.barrier();
        let begin = mpi::time();
        for _ in 0..self.case.steps {
            method.step(state, team);
        }
        method.finish(state, team);
        Ok(Lap(vec![team.max(mpi::time() - begin)]))
    }

    fn verify(&mut self, team: &Team) -> Result<Check> {
        self.state.right_hand_side(team);
        let (residual, error) = (self.state.residual(team), self.state.error(team));
        self.norms = Some([residual, error]);
        let named = |what: &str, found: [f64; 5], official: [f64; 5]| {
            let pairs = found.into_iter().zip(official).zip(1..);
            pairs.map(|((f, o), m)| Compared::new(format!("{what} {m}"), f, o)).collect::<Vec<_>>()
        };
        let mut all = named("residual", residual, self.case.residual);
        all.extend(named("error", error, self.case.error));
        all.extend(M::further(self.class, &self.state, team));
        Ok(judge(&all, LIMIT))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        let operations = M::operations(self.case.n as f64) * self.case.steps as f64;
        super::super::readings(operations * 1e-6, lap)
    }

    fn corrupt(&mut self, team: &Team) {
        if team.is_root() {
            // A bit of the exponent, at the first own point.
            let grid = &self.state.grid;
            let at = grid.at(super::grid::GHOST, super::grid::GHOST) + super::grid::LEAD + 1;
            self.state.u[at] *= 65536.0;
        }
    }

    fn facts(&self) -> Facts {
        let norms =
            self.norms.iter().flat_map(|norms| ["residual_norms", "error_norms"].into_iter().zip(norms));
        norms.map(|(name, values)| (name.to_owned(), values.to_vec().into())).collect()
    }
}
