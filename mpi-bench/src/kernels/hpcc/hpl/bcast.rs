//! Broadcast of a panel along a process row, started by its owner and finished by everybody one block column later.
//!
//! Rings hand the panel on from process column to process column; the modified ones serve the next owner first and let it off
//! handing on; the long one scatters pieces and rolls them around, which halves the volume through the root.

use std::str::FromStr;

use crate::mpi_raw::{irecv, isend, sendrecv};
use crate::team::Team;

const TAG: i32 = 17;

/// HPL's panel broadcasts by its names; `lng` stands for both long forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topology {
    /// One ring.
    Ring,
    /// One ring, the next owner apart.
    RingModified,
    /// Two rings of half the length.
    TwoRings,
    /// Two rings, the next owner apart.
    TwoRingsModified,
    /// Scatter and roll.
    Long,
}

impl FromStr for Topology {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "1rg" | "0" => Ok(Self::Ring),
            "1rm" | "1" => Ok(Self::RingModified),
            "2rg" | "2" => Ok(Self::TwoRings),
            "2rm" | "3" => Ok(Self::TwoRingsModified),
            "lng" | "4" | "5" => Ok(Self::Long),
            _ => Err(()),
        }
    }
}

impl Topology {
    /// HPL's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ring => "1rg",
            Self::RingModified => "1rm",
            Self::TwoRings => "2rg",
            Self::TwoRingsModified => "2rm",
            Self::Long => "lng",
        }
    }

    /// Whom the process `at` places after the root (0 is the root) sends to, of `size` places. Not for [`Self::Long`].
    fn next(self, at: usize, size: usize) -> Vec<usize> {
        let last = size - 1;
        let half = size.div_ceil(2);
        let chain = |from: usize, to: usize| if at >= from && at < to { vec![at + 1] } else { Vec::new() };
        let mut next = match self {
            Self::Ring | Self::Long => chain(0, last),
            Self::RingModified if at == 0 => vec![1, 2],
            Self::RingModified => chain(2, last),
            Self::TwoRings if at == 0 => vec![1, half.max(2)],
            Self::TwoRings if at < half => chain(1, half.max(2) - 1),
            Self::TwoRings => chain(half.max(2), last),
            Self::TwoRingsModified if at == 0 => vec![1, 2, half.max(2) + 1],
            Self::TwoRingsModified if at <= half.max(2) => chain(2, half.max(2)),
            Self::TwoRingsModified => chain(half.max(2) + 1, last),
        };
        next.retain(|&to| to <= last);
        next
    }

    /// Whom it receives from; `None` for the root.
    fn previous(self, at: usize, size: usize) -> Option<usize> {
        (0..size).find(|&from| self.next(from, size).contains(&at))
    }
}

/// Brings the root's `panel` to every process of the row while `work` is done: `work` does a piece and says whether there is
/// more. On the root the panel is complete, elsewhere it is overwritten.
pub(super) fn broadcast(
    row: &Team,
    topology: Topology,
    root: usize,
    panel: &mut [f64],
    work: &mut dyn FnMut() -> bool,
) {
    let (size, comm) = (row.len(), row.comm());
    let at = (row.index() + size - root) % size;
    let rank = |at: usize| ((root + at) % size) as i32;
    if size == 1 {
        while work() {}
    } else if topology == Topology::Long {
        long(row, root, panel, work);
    } else if let Some(from) = topology.previous(at, size) {
        let mut coming = irecv(comm, panel, rank(from), TAG);
        let mut more = true;
        while more && !coming.test() {
            more = work();
        }
        coming.wait();
        let going: Vec<_> =
            topology.next(at, size).into_iter().map(|to| isend(comm, panel, rank(to), TAG)).collect();
        while more && work() {}
        drop(going);
    } else {
        let going: Vec<_> =
            topology.next(at, size).into_iter().map(|to| isend(comm, panel, rank(to), TAG)).collect();
        while work() {}
        drop(going);
    }
}

/// Scatter while working, then roll the pieces around the ring.
fn long(row: &Team, root: usize, panel: &mut [f64], work: &mut dyn FnMut() -> bool) {
    let (size, comm) = (row.len(), row.comm());
    let at = (row.index() + size - root) % size;
    let rank = |at: usize| ((root + at) % size) as i32;
    let piece = |at: usize| {
        let length = panel_piece(panel.len(), size);
        (at * length).min(panel.len())..((at + 1) * length).min(panel.len())
    };
    let pieces: Vec<_> = (0..size).map(piece).collect();
    if at == 0 {
        let going: Vec<_> =
            (1..size).map(|to| isend(comm, &panel[pieces[to].clone()], rank(to), TAG)).collect();
        while work() {}
        drop(going);
    } else {
        let coming = irecv(comm, &mut panel[pieces[at].clone()], rank(0), TAG);
        while work() {}
        coming.wait();
    }
    let (right, left) = (rank((at + 1) % size), rank((at + size - 1) % size));
    let mut incoming = Vec::new();
    for step in 0..size - 1 {
        let (mine, theirs) = ((at + size - step) % size, (at + size - step - 1) % size);
        incoming.resize(pieces[theirs].len(), 0.0);
        sendrecv(comm, (&panel[pieces[mine].clone()], right), (&mut incoming, left), TAG);
        panel[pieces[theirs].clone()].copy_from_slice(&incoming);
    }
}

fn panel_piece(length: usize, size: usize) -> usize {
    length.div_ceil(size)
}

#[cfg(test)]
mod tests {
    use super::Topology;

    #[test]
    fn every_place_is_served_exactly_once_and_no_cycle() {
        let all = [Topology::Ring, Topology::RingModified, Topology::TwoRings, Topology::TwoRingsModified];
        for topology in all {
            for size in 2..20 {
                let mut served = vec![0; size];
                for at in 0..size {
                    for to in topology.next(at, size) {
                        assert!(to > at, "{topology:?} {size}: {at} to {to}");
                        served[to] += 1;
                    }
                }
                assert_eq!(served[0], 0);
                assert!(served[1..].iter().all(|&n| n == 1), "{topology:?} of {size}: {served:?}");
                assert_eq!(topology.name().parse(), Ok(topology));
            }
        }
    }
}
