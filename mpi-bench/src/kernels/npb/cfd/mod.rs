//! What BT, SP and LU share: the equations (compressible Navier-Stokes in a cube), their exact solution, the field over the
//! ranks, the right-hand side, the judgement, and the [`Kernel`] around a method that takes time steps.
//!
//! All three solve the same equations to the same steady state from the same start; they differ in how a step approaches it.
//! The originals demand square numbers of ranks (BT, SP); here any number runs that leaves each rank two points a direction.

pub(super) mod bundle;
pub(super) mod exact;
pub(super) mod grid;
pub(super) mod lanes;
pub(super) mod lines;
pub(super) mod operator;
pub(super) mod physics;
pub(super) mod solver;
