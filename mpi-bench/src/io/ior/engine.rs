//! Runs one phase of a test (write, read, or read and compare) on all ranks and times it as IOR does: the bandwidth is what
//! was moved from the first open to the last close. It knows nothing of repetitions, options and output.

use std::path::Path;
use std::time::Instant;

use super::test::Test;
use super::walk::Walk;
use crate::error::Result;
use crate::io::backend::{self, Backend, Target};
use crate::io::clock::Clock;
use crate::io::pattern::Pattern;
use crate::io::pool::Pool;
use crate::team::Team;

/// What a phase does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Writes.
    Write,
    /// Reads; the place of each transfer is looked at if it is known who wrote it.
    Read,
    /// Reads and compares every byte.
    Check,
}

/// What came of a phase, the same on every rank.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Phase {
    /// Bytes moved by all ranks.
    pub bytes: u64,
    /// Transfers of all ranks.
    pub transfers: u64,
    /// First open to last close, seconds.
    pub seconds: f64,
    /// First to last open, seconds.
    pub open: f64,
    /// First begin to last end of the transfers (with their sync), seconds.
    pub transfer: f64,
    /// First to last close, seconds.
    pub close: f64,
    /// Seconds of a transfer on the rank where they were shortest.
    pub latency: f64,
    /// Words (or transfers, in [`Act::Read`]) that were not what they must be.
    pub wrong: u64,
    /// With a deadline: seconds until it, and bytes moved by then.
    pub stonewall: Option<(f64, u64)>,
}

impl Phase {
    /// MiB/s.
    #[must_use]
    pub fn mib_per_second(&self) -> f64 {
        self.bytes as f64 / (1u64 << 20) as f64 / self.seconds
    }

    /// Transfers a second.
    #[must_use]
    pub fn iops(&self) -> f64 {
        self.transfers as f64 / self.transfer
    }
}

/// Buffers, clock and what is known of the data, for the phases of one test.
#[derive(Debug)]
pub struct Engine {
    test: Test,
    clock: Clock,
    pool: Pool,
    signature: u64,
    /// Transfers that each rank has written, once it has.
    written: Option<Vec<u64>>,
}

/// One rank's part of a phase.
#[derive(Debug, Default)]
struct Share {
    transfers: u64,
    wrong: u64,
    stonewall: Option<(f64, u64)>,
    times: [f64; 6],
}

impl Engine {
    /// Collective.
    ///
    /// # Errors
    /// No memory for the buffers.
    pub fn new(team: &Team, test: Test) -> Result<Self> {
        let pool = Self::pool(&test);
        Ok(Self { clock: Clock::new(team), pool: team.agree(pool)?, test, signature: 0, written: None })
    }

    fn pool(test: &Test) -> Result<Pool> {
        Pool::new(test.access.slots(), usize::try_from(test.transfer).unwrap_or(usize::MAX))
    }

    /// The test.
    #[must_use]
    pub fn test(&self) -> &Test {
        &self.test
    }

    /// From now on data carry this signature, and nothing has been written.
    pub fn begin(&mut self, signature: u64) {
        self.signature = signature;
        self.written = None;
    }

    /// Most transfers that a rank has written; 0 if nothing has been.
    #[must_use]
    pub fn most_written(&self) -> u64 {
        self.written.iter().flatten().copied().max().unwrap_or(0)
    }

    /// From now on no rank reads more than so many transfers.
    pub fn read_at_most(&mut self, transfers: u64) {
        self.test.stonewall.transfers = Some(transfers);
    }

    /// Runs a phase: this rank handles the part of `writer` in `file`. Collective.
    ///
    /// # Errors
    /// The system's, on any rank.
    pub fn phase(&mut self, team: &Team, act: Act, file: &Path, writer: u64) -> Result<Phase> {
        let ranks = team.len() as u64;
        let walk = self.test.walk(writer, ranks);
        let pattern = Pattern::new(self.signature, writer);
        let pool = self.take_pool(act, pattern);
        let pool = team.agree(pool)?;
        let solo = Team::solo();
        let target = Target {
            path: file,
            write: act == Act::Write,
            team: if self.test.file_per_process { &solo } else { team },
            bytes: self.test.layout(ranks).file_bytes(),
            view: self.test.view(writer, ranks),
        };
        let limit = self.limit(act, &walk, writer);
        team.barrier();
        let share = self.work(team, act, &target, pool, (&walk, limit), pattern);
        let share = team.agree(share)?;
        if act == Act::Write {
            self.written = Some(all_ranks(team, share.transfers));
        }
        Ok(self.join(team, &share))
    }

    /// Buffers with the body of the pattern in them; new ones if an error has lost the old.
    fn take_pool(&mut self, act: Act, pattern: Pattern) -> Result<Pool> {
        let mut pool = std::mem::take(&mut self.pool);
        if pool.slots() == 0 {
            pool = Self::pool(&self.test)?;
        }
        for at in 0..pool.slots() {
            match act {
                Act::Write => pattern.fill(pool.slot(at), 0),
                // What is there from before must not pass for data that were read.
                Act::Read | Act::Check => pool.slot(at).fill(0),
            }
        }
        Ok(pool)
    }

    /// Most transfers of this rank: what there is to read may be less than the walk.
    fn limit(&self, act: Act, walk: &Walk, writer: u64) -> u64 {
        let there = match (&self.written, act) {
            (Some(written), Act::Read | Act::Check) => {
                usize::try_from(writer).ok().and_then(|w| written.get(w).copied())
            }
            _ => None,
        };
        [there, self.test.stonewall.transfers].into_iter().flatten().fold(walk.len(), u64::min)
    }

    /// Opens, moves, closes. Every rank passes every barrier and reduction in here, whatever fails.
    fn work(
        &mut self,
        team: &Team,
        act: Act,
        target: &Target<'_>,
        pool: Pool,
        (walk, limit): (&Walk, u64),
        pattern: Pattern,
    ) -> Result<Share> {
        let between = |team: &Team| {
            if self.test.barriers {
                team.barrier();
            }
        };
        let mut share = Share::default();
        share.times[0] = self.clock.now();
        let opened = backend::open(self.test.access, target, pool);
        share.times[1] = self.clock.now();
        between(team);
        share.times[2] = self.clock.now();
        let (mut file, mut trouble) = match opened {
            Ok(file) => (Some(file), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let identify = act == Act::Read && self.written.is_some();
        let mut mover = Mover { test: &self.test, walk, act, pattern, identify, moved: 0, wrong: 0 };
        if let Some(file) = file.as_mut() {
            trouble = mover.go(team, file.as_mut(), limit, true);
        }
        if self.test.stonewall.deadline.is_some() && act != Act::Check {
            share.stonewall = Some((self.clock.now() - share.times[2], mover.moved * self.test.transfer));
        }
        if self.test.stonewall.wear_out && act == Act::Write {
            let most = team.max_u64(mover.moved);
            if let (Some(file), Ok(())) = (file.as_mut(), &trouble) {
                trouble = mover.go(team, file.as_mut(), limit.min(most), false);
            }
        }
        if let Some(file) = file.as_mut() {
            let drained = mover.finish(file.as_mut());
            trouble = trouble.and(drained);
        }
        share.times[3] = self.clock.now();
        between(team);
        share.times[4] = self.clock.now();
        (share.transfers, share.wrong) = (mover.moved, mover.wrong);
        if let Some(file) = file {
            let (pool, closed) = file.close();
            self.pool = pool;
            trouble = trouble.and(closed);
        }
        share.times[5] = self.clock.now();
        trouble.map(|()| share)
    }

    /// One figure from all ranks'.
    fn join(&self, team: &Team, share: &Share) -> Phase {
        let [open, opened, begin, end, close, closed] = share.times;
        let spread = |from: f64, to: f64| team.max(to) - team.min(from);
        let transfers = team.sum_u64(share.transfers);
        let own_latency = match share.transfers {
            0 => f64::INFINITY,
            n => (end - begin) / n as f64,
        };
        let stonewall = share.stonewall.map(|(seconds, bytes)| (team.max(seconds), team.sum_u64(bytes)));
        Phase {
            bytes: transfers * self.test.transfer,
            transfers,
            seconds: spread(open, closed),
            open: spread(open, opened),
            transfer: spread(begin, end),
            close: spread(close, closed),
            latency: team.min(own_latency),
            wrong: team.sum_u64(share.wrong),
            stonewall,
        }
    }
}

/// One value of each rank, on every rank.
fn all_ranks(team: &Team, mine: u64) -> Vec<u64> {
    let bytes = team.gather_bytes(&mine.to_le_bytes());
    bytes.iter().map(|b| b.as_slice().try_into().map_or(0, u64::from_le_bytes)).collect()
}

/// Goes through a walk.
struct Mover<'a> {
    test: &'a Test,
    walk: &'a Walk,
    act: Act,
    pattern: Pattern,
    /// Look at the place of each transfer that is read.
    identify: bool,
    moved: u64,
    wrong: u64,
}

impl Mover<'_> {
    /// Moves transfers up to number `limit`, or up to the deadline. In collective calls a rank that failed goes on, because
    /// the others wait for it.
    fn go(&mut self, team: &Team, file: &mut dyn Backend, limit: u64, stop_early: bool) -> Result<()> {
        let collective = self.test.access.is_collective() && !self.test.file_per_process;
        let deadline = self.test.stonewall.deadline.filter(|_| stop_early && self.act != Act::Check);
        let begin = Instant::now();
        let mut outcome = Ok(());
        while self.moved < limit {
            let step = self.step(file);
            self.moved += 1;
            if step.is_err() {
                outcome = outcome.and(step);
                if !collective {
                    break;
                }
            }
            if let Some(deadline) = deadline {
                let mut late = begin.elapsed() > deadline;
                if collective {
                    late = team.max(f64::from(u8::from(late))) > 0.0;
                }
                if late {
                    break;
                }
            }
        }
        outcome
    }

    fn step(&mut self, file: &mut dyn Backend) -> Result<()> {
        let at = self.walk.offset(self.moved);
        if self.act == Act::Write {
            let pattern = self.pattern;
            file.write(at, &mut |at, buffer| pattern.stamp(buffer, at))?;
            return if self.test.fsync_each { file.sync() } else { Ok(()) };
        }
        file.read(at, &mut judge(self.act, self.pattern, self.identify, &mut self.wrong))
    }

    /// Completes what is in flight, and syncs.
    fn finish(&mut self, file: &mut dyn Backend) -> Result<()> {
        file.drain(&mut judge(self.act, self.pattern, self.identify, &mut self.wrong))?;
        if self.act == Act::Write && self.test.fsync { file.sync() } else { Ok(()) }
    }
}

/// Counts what is wrong in a transfer that was read.
fn judge(act: Act, pattern: Pattern, identify: bool, wrong: &mut u64) -> impl FnMut(u64, &[u8]) {
    move |at, buffer| {
        *wrong += match act {
            Act::Check => pattern.wrong_words(buffer, at),
            Act::Read if identify => u64::from(!pattern.is_stamped(buffer, at)),
            Act::Read | Act::Write => 0,
        };
    }
}
