//! Which message sizes are measured and how often: OSU's numbers, unless the user gives others. No communication.

use crate::error::Result;
use crate::kernel::{Facts, Param};
use crate::setup::{Setup, Size};

/// Largest message of a full run. OSU stops its collectives at 1 MiB unless told otherwise; here all go to the same size.
const LARGEST: usize = 4 << 20;
/// Largest message of `--size quick`.
const LARGEST_QUICK: usize = 64 << 10;
/// Fewer iterations by this in `--size quick`.
const QUICK_DIVISOR: usize = 10;
/// Messages above this get OSU's counts for large ones.
const LARGE_ABOVE: usize = 8192;
/// OSU allocates no more than this a rank: a default never asks for more.
const MEMORY_LIMIT: usize = 512 << 20;
/// Messages in flight of the bandwidth kernels.
const WINDOW: usize = 64;
const MAX_WINDOW: usize = 1 << 16;
/// Most iterations, as in OSU's programs, which count with int.
const MAX_ITERATIONS: usize = i32::MAX as usize;

/// Iterations that are thrown away first, and those that are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) skip: usize,
    pub(super) iterations: usize,
}

/// OSU's counts for small and for large messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    small: Counts,
    large: Counts,
}

/// Of its latency tests.
pub(super) const LATENCY: Pace =
    Pace { small: Counts { skip: 100, iterations: 10_000 }, large: Counts { skip: 10, iterations: 1000 } };
/// Of its bandwidth tests; each iteration is a window of messages.
pub(super) const BANDWIDTH: Pace =
    Pace { small: Counts { skip: 10, iterations: 100 }, large: Counts { skip: 2, iterations: 20 } };
/// Of its collectives.
pub(super) const COLLECTIVE: Pace =
    Pace { small: Counts { skip: 100, iterations: 1000 }, large: Counts { skip: 10, iterations: 100 } };

const ITERATIONS: Param = Param {
    name: "iterations",
    help: "timed iterations of each size (default: OSU's, fewer above 8 KiB; quick: a tenth)",
};
const SKIP: Param = Param { name: "skip", help: "iterations before those (default: OSU's; quick: a tenth)" };
const MIN_BYTES: Param = Param { name: "min_bytes", help: "smallest message (default 1, integers 4)" };
const MAX_BYTES: Param = Param { name: "max_bytes", help: "largest message (default 4MiB, quick 64KiB)" };

/// Parameters of a kernel without messages.
pub(super) const COUNTS_ONLY: &[Param] = &[ITERATIONS, SKIP];
/// Parameters of most kernels.
pub(super) const PARAMS: &[Param] = &[ITERATIONS, SKIP, MIN_BYTES, MAX_BYTES];
/// Parameters of the bandwidth kernels.
pub(super) const WINDOW_PARAMS: &[Param] = &[
    ITERATIONS,
    SKIP,
    MIN_BYTES,
    MAX_BYTES,
    Param { name: "window", help: "messages in flight, 1 to 65536 (default 64)" },
];

/// What a kernel must say for its plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs {
    pub(super) pace: Pace,
    /// Bytes of one element, which the smallest message is; 0 where no data are sent.
    pub(super) element: usize,
    /// Uses a window.
    pub(super) windowed: bool,
    /// Bytes that a rank keeps of each iteration: its time, where a percentile is asked for.
    pub(super) bytes_per_iteration: u64,
    /// Bytes that a rank allocates for messages of at most so many bytes on so many ranks.
    pub(super) memory: fn(largest: usize, ranks: usize) -> usize,
}

/// Sizes and counts of one kernel.
#[derive(Debug)]
pub(super) struct Plan {
    /// Message sizes in bytes, ascending; one 0 for a kernel without messages.
    pub(super) sizes: Vec<usize>,
    /// Messages in flight.
    pub(super) window: usize,
    windowed: bool,
    pace: Pace,
    iterations: Option<usize>,
    skip: Option<usize>,
    divisor: usize,
}

impl Plan {
    /// From the user's parameters; says how much memory will be touched.
    pub(super) fn new(setup: &Setup<'_>, needs: Needs) -> Result<Self> {
        let quick = setup.size() == Size::Quick;
        let iterations = setup.get::<usize>("iterations")?;
        if let Some(iterations) = iterations {
            if !(1..=MAX_ITERATIONS).contains(&iterations) {
                return Err(setup.bad("iterations", iterations, "must be 1 to 2147483647"));
            }
            setup.need("iterations", iterations, needs.bytes_per_iteration * iterations as u64)?;
        }
        let window = if needs.windowed { setup.get::<usize>("window")?.unwrap_or(WINDOW) } else { 1 };
        if !(1..=MAX_WINDOW).contains(&window) {
            return Err(setup.bad("window", window, "must be 1 to 65536"));
        }
        Ok(Self {
            sizes: sizes(setup, needs)?,
            window,
            windowed: needs.windowed,
            pace: needs.pace,
            iterations,
            skip: setup.get::<usize>("skip")?,
            divisor: if quick { QUICK_DIVISOR } else { 1 },
        })
    }

    /// Counts for one message size.
    pub(super) fn counts(&self, bytes: usize) -> Counts {
        let osu = if bytes > LARGE_ABOVE { self.pace.large } else { self.pace.small };
        Counts {
            skip: self.skip.unwrap_or((osu.skip / self.divisor).max(1)),
            iterations: self.iterations.unwrap_or((osu.iterations / self.divisor).max(1)),
        }
    }

    /// Largest message in bytes.
    pub(super) fn largest(&self) -> usize {
        self.sizes.last().copied().unwrap_or(0)
    }

    /// What a repetition needs.
    pub(super) fn facts(&self) -> Facts {
        let mut facts = Facts::new();
        if self.windowed {
            facts.insert("window".to_owned(), self.window.into());
        }
        facts
    }
}

/// The smallest size doubled until the largest is passed.
fn sizes(setup: &Setup<'_>, needs: Needs) -> Result<Vec<usize>> {
    if needs.element == 0 {
        return Ok(vec![0]);
    }
    let ranks = setup.team.len();
    let smallest = setup.get_bytes("min_bytes")?.unwrap_or(needs.element as u64) as usize;
    let largest = match setup.get_bytes("max_bytes")? {
        Some(bytes) => bytes as usize,
        None => default_largest(setup, needs, ranks),
    };
    if !smallest.is_multiple_of(needs.element) {
        let why = format!("must be a multiple of {}, the size of an element", needs.element);
        return Err(setup.bad("min_bytes", smallest, why));
    }
    if largest < smallest || largest > 1 << 30 {
        return Err(setup.bad("max_bytes", largest, format!("must be {smallest} to 1 GiB")));
    }
    let memory = (needs.memory)(largest, ranks);
    if i32::try_from(memory).is_err() {
        let why = format!("would need {} MiB a rank, MPI counts no further than 2047", memory >> 20);
        return Err(setup.bad("max_bytes", largest, why));
    }
    let sizes: Vec<usize> =
        std::iter::successors(Some(smallest), |s| Some(2 * s)).take_while(|s| *s <= largest).collect();
    setup.need("max_bytes", largest, memory as u64)?;
    Ok(sizes)
}

/// A power of two: OSU's, less where `--size` or the memory of many ranks asks for less.
fn default_largest(setup: &Setup<'_>, needs: Needs, ranks: usize) -> usize {
    let wanted = match setup.size() {
        Size::Auto => LARGEST,
        Size::Quick => LARGEST_QUICK,
        Size::Bytes(_) | Size::Class(_) => {
            LARGEST.min(1 << (setup.bytes_per_rank() as usize / 4).max(needs.element).ilog2())
        }
    };
    let fits = |s: &usize| (needs.memory)(*s, ranks) <= MEMORY_LIMIT || *s <= needs.element;
    std::iter::successors(Some(wanted), |s| Some(s / 2)).find(fits).unwrap_or(needs.element)
}

#[cfg(test)]
mod tests {
    use super::{BANDWIDTH, Counts, LATENCY, Plan};

    fn plan(divisor: usize) -> Plan {
        Plan {
            sizes: vec![1, 2, 4],
            window: 64,
            windowed: false,
            pace: LATENCY,
            iterations: None,
            skip: None,
            divisor,
        }
    }

    #[test]
    fn counts_change_above_8_kib() {
        assert_eq!(plan(1).counts(8192), Counts { skip: 100, iterations: 10_000 });
        assert_eq!(plan(1).counts(16384), Counts { skip: 10, iterations: 1000 });
        let quick = Plan { pace: BANDWIDTH, ..plan(10) };
        assert_eq!(quick.counts(16384), Counts { skip: 1, iterations: 2 });
        let own = Plan { iterations: Some(7), skip: Some(0), ..plan(10) };
        assert_eq!(own.counts(1), Counts { skip: 0, iterations: 7 });
    }
}
