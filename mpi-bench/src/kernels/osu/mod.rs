//! OSU family: MPI micro benchmarks as the OSU Micro-Benchmarks 7 define them, and the list of its kernels.
//! Sizes, iterations and text are in `plan` and `text`, what all kernels share in `bench`; a file a kind of communication.

mod bandwidth;
mod barrier;
mod bench;
mod buffers;
mod collective;
mod latency;
mod plan;
mod rma;
mod text;

use crate::registry::{Entry, entry};
use bench::Osu;

/// The kernels of this family, in the order of `list`.
#[must_use]
pub fn entries() -> Vec<Entry> {
    vec![
        entry::<Osu<latency::Latency>>(),
        entry::<Osu<bandwidth::Bandwidth<bandwidth::OneWay>>>(),
        entry::<Osu<bandwidth::Bandwidth<bandwidth::BothWays>>>(),
        entry::<Osu<bandwidth::Bandwidth<bandwidth::AllPairs>>>(),
        entry::<Osu<barrier::Barrier>>(),
        entry::<Osu<collective::Collective<collective::Broadcast>>>(),
        entry::<Osu<collective::Collective<collective::Reduce>>>(),
        entry::<Osu<collective::Collective<collective::AllReduce>>>(),
        entry::<Osu<collective::Collective<collective::Personalized<false>>>>(),
        entry::<Osu<collective::Collective<collective::Personalized<true>>>>(),
        entry::<Osu<collective::Collective<collective::AllGather>>>(),
        entry::<Osu<rma::Rma<rma::PutLatency>>>(),
        entry::<Osu<rma::Rma<rma::GetLatency>>>(),
        entry::<Osu<rma::Rma<rma::AccumulateLatency>>>(),
        entry::<Osu<rma::Rma<rma::PutBandwidth>>>(),
        entry::<Osu<rma::Rma<rma::GetBandwidth>>>(),
    ]
}
