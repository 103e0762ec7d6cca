//! The problem classes. A kernel keeps its sizes and official values in tables of one entry a class.

use crate::error::Result;
use crate::setup::Setup;

/// Problem class, smallest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    S,
    W,
    A,
    B,
    C,
}

impl Class {
    /// The class that `--size` stands for.
    ///
    /// # Errors
    /// A letter that is no class here.
    pub(super) fn of(setup: &Setup<'_>) -> Result<Self> {
        match setup.class() {
            'S' => Ok(Self::S),
            'W' => Ok(Self::W),
            'A' => Ok(Self::A),
            'B' => Ok(Self::B),
            'C' => Ok(Self::C),
            other => Err(setup.bad("size", other, "the classes are S, W, A, B and C")),
        }
    }

    /// This class's entry of a table in the order S, W, A, B, C.
    pub(super) fn pick<T>(self, [s, w, a, b, c]: [T; 5]) -> T {
        match self {
            Self::S => s,
            Self::W => w,
            Self::A => a,
            Self::B => b,
            Self::C => c,
        }
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.pick(["S", "W", "A", "B", "C"]))
    }
}
