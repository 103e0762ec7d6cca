//! One measurement on one rank: opens the file, goes through the records, closes it. What is timed is what iozone times: the
//! transfers, with sync and close only where the user asked for them.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::ops::{self, Calls, Op, Order, Way};
use super::stdio::Stream;
use crate::error::{Error, Result};
use crate::io::clock::Clock;
use crate::io::files::{self, Flags};
use crate::io::pattern::Pattern;
use crate::io::pool::Pool;
use crate::rng::Rng;

/// Records of one `preadv` or `pwritev`, and most bytes of them together: iozone's.
const VECTOR_RECORDS: u64 = 16;
const VECTOR_BYTES: u64 = 16 << 20;

/// What the user chose for all measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// `-I`: past the page cache.
    pub direct: bool,
    /// `-o`: each write synchronous.
    pub sync: bool,
    /// `-e`: the final sync is timed.
    pub time_sync: bool,
    /// `-c`: the close is timed.
    pub time_close: bool,
    /// `-j`: stride of the stride read, in records.
    pub stride: u64,
    /// Who reads in the mixed test.
    pub mix: Mixed,
}

/// What is mixed in the mixed test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixed {
    /// Records: this percentage of them is read, the others are written.
    Records(u64),
    /// Processes: this one reads, or else writes.
    Processes {
        /// It reads.
        reads: bool,
    },
}

/// A file under measurement.
#[derive(Debug)]
pub struct Subject {
    path: PathBuf,
    records: u64,
    record: u64,
    choice: Choice,
    pool: Pool,
    shuffled: Vec<u32>,
    mixer: Rng,
    pattern: Pattern,
    signature: u64,
    writer: u64,
    /// Place that the first buffer is stamped for.
    stamped: Option<u64>,
}

/// Begin and end of what is timed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// On the team's clock, seconds.
    pub begin: f64,
    /// On the team's clock, seconds.
    pub end: f64,
    /// Records that were not what they must be.
    pub wrong: u64,
}

/// Records of one vectored call.
#[must_use]
pub fn vector_len(record: u64) -> u64 {
    (VECTOR_BYTES / record).clamp(1, VECTOR_RECORDS)
}

enum Handle {
    File(File),
    Stream(Stream),
}

impl Subject {
    /// A file of `bytes` in records of `record` bytes, which divides them. Nothing is opened yet.
    ///
    /// # Errors
    /// No memory for the buffers; more records than can be shuffled.
    pub fn new(
        path: PathBuf,
        (bytes, record): (u64, u64),
        choice: Choice,
        (seed, writer): (u64, u64),
    ) -> Result<Self> {
        let records = bytes / record;
        let too_many =
            |_| Error::Environment(format!("{records} records are more than iozone's tests can shuffle"));
        let mut shuffled: Vec<u32> = (0..u32::try_from(records).map_err(too_many)?).collect();
        Rng::new(seed).shuffle(&mut shuffled);
        let slots = usize::try_from(vector_len(record)).unwrap_or(1);
        let pool = Pool::new(slots, usize::try_from(record).unwrap_or(usize::MAX))?;
        let pattern = Pattern::new(seed, writer);
        Ok(Self {
            path,
            records,
            record,
            choice,
            pool,
            shuffled,
            mixer: Rng::new(seed),
            pattern,
            signature: seed,
            writer,
            stamped: None,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that a measurement moves.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.records * self.record
    }

    /// Does one measurement.
    ///
    /// # Errors
    /// The system's.
    pub fn measure(&mut self, op: &Op, clock: &Clock) -> Result<Span> {
        if op.way == Way::Create {
            files::remove_if_there(&self.path)?;
        }
        // Each pass over the whole file leaves other bytes, so that one that wrote nothing is noticed.
        if matches!(op.way, Way::Create | Way::Rewrite) && op.order != Order::Same {
            self.signature = self.signature.wrapping_add(1 << 32);
            self.pattern = Pattern::new(self.signature, self.writer);
        }
        // No more of them than this measurement moves: the others would take their place in the caches from the file.
        let slots = if op.calls == Calls::Vectored { self.pool.slots() } else { 1 };
        for at in 0..slots {
            self.pattern.fill(self.pool.slot(at), 0);
        }
        self.stamped = Some(0);
        let mut handle = self.open(op)?;
        let begin = clock.now();
        let wrong = self.transfer(op, &mut handle)?;
        let mut end = clock.now();
        if op.writes() {
            self.sync(&mut handle)?;
            if self.choice.time_sync {
                end = clock.now();
            }
        }
        self.close(handle)?;
        if self.choice.time_close {
            end = clock.now();
        }
        Ok(Span { begin, end, wrong })
    }

    fn failed(&self, action: &'static str) -> impl Fn(std::io::Error) -> Error + use<> {
        let path = self.path.clone();
        move |source| Error::Io { action, path: path.clone(), source }
    }

    fn open(&self, op: &Op) -> Result<Handle> {
        let flags = Flags {
            write: op.writes(),
            // The C library's buffer is not aligned as direct I/O needs it.
            direct: self.choice.direct && op.calls != Calls::Stdio,
            sync: self.choice.sync && op.writes(),
        };
        let file = files::open(&self.path, flags)?;
        match op.calls {
            Calls::Stdio => Stream::over(file, op.writes()).map(Handle::Stream).map_err(self.failed("open")),
            _ => Ok(Handle::File(file)),
        }
    }

    fn sync(&self, handle: &mut Handle) -> Result<()> {
        let synced = match handle {
            Handle::File(file) => file.sync_all(),
            Handle::Stream(stream) => stream.sync(),
        };
        synced.map_err(self.failed("sync"))
    }

    fn close(&self, handle: Handle) -> Result<()> {
        match handle {
            Handle::File(file) => files::close(file, &self.path),
            Handle::Stream(stream) => stream.close().map_err(self.failed("close")),
        }
    }

    /// The timed loop. Returns how many records were read wrong.
    fn transfer(&mut self, op: &Op, handle: &mut Handle) -> Result<u64> {
        let (mut wrong, mut n) = (0, 0);
        let per_call = if op.calls == Calls::Vectored { vector_len(self.record) } else { 1 };
        let (reading, writing) = (self.failed("read"), self.failed("write"));
        while n < self.records {
            let count = per_call.min(self.records - n);
            let record = ops::record(op.order, n, self.records, self.choice.stride, &self.shuffled);
            let at = record * self.record;
            let read = match op.way {
                Way::Read => true,
                Way::Create | Way::Rewrite => false,
                Way::Mix => match self.choice.mix {
                    Mixed::Records(percent) => self.mixer.below(100) < percent,
                    Mixed::Processes { reads } => reads,
                },
            };
            if let (Handle::File(file), Calls::Stream) = (&mut *handle, op.calls)
                && op.order != Order::Forward
            {
                file.seek(SeekFrom::Start(at)).map_err(self.failed("seek in"))?;
            }
            if read {
                wrong += self.read(op.calls, handle, at, count).map_err(&reading)?;
            } else {
                self.write(op.calls, handle, at, count).map_err(&writing)?;
            }
            n += count;
        }
        Ok(wrong)
    }

    fn write(&mut self, calls: Calls, handle: &mut Handle, at: u64, count: u64) -> std::io::Result<()> {
        let buffer = self.pool.slot(0);
        // The same record again and again is not made again and again.
        if self.stamped.replace(at) != Some(at) {
            self.pattern.stamp(buffer, at);
        }
        match (handle, calls) {
            (Handle::Stream(stream), _) => stream.write(buffer),
            (Handle::File(file), Calls::Positional) => file.write_all_at(buffer, at),
            (Handle::File(file), Calls::Vectored) => self.write_vector(file, at, count),
            (Handle::File(file), _) => file.write_all(buffer),
        }
    }

    fn read(&mut self, calls: Calls, handle: &mut Handle, at: u64, count: u64) -> std::io::Result<u64> {
        self.stamped = None;
        let buffer = self.pool.slot(0);
        match (handle, calls) {
            (Handle::Stream(stream), _) => stream.read(buffer)?,
            (Handle::File(file), Calls::Positional) => file.read_exact_at(buffer, at)?,
            (Handle::File(file), Calls::Vectored) => return self.read_vector(file, at, count),
            (Handle::File(file), _) => file.read_exact(buffer)?,
        }
        Ok(u64::from(!self.pattern.is_stamped(buffer, at)))
    }

    fn write_vector(&mut self, file: &File, at: u64, count: u64) -> std::io::Result<()> {
        let (pattern, record) = (self.pattern, self.record);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut places = (at..).step_by(usize::try_from(record).unwrap_or(usize::MAX));
        let mut parts: Vec<&mut [u8]> = self.pool.all().take(count).collect();
        for (part, place) in parts.iter_mut().zip(&mut places) {
            pattern.stamp(part, place);
        }
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        whole(rustix::io::pwritev(file, &slices, at)?, count, record)
    }

    fn read_vector(&mut self, file: &File, at: u64, count: u64) -> std::io::Result<u64> {
        let (pattern, record) = (self.pattern, self.record);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut slices: Vec<IoSliceMut<'_>> = self.pool.all().take(count).map(IoSliceMut::new).collect();
        whole(rustix::io::preadv(file, &mut slices, at)?, count, record)?;
        let places = (at..).step_by(usize::try_from(record).unwrap_or(usize::MAX));
        Ok(slices.iter().zip(places).filter(|(part, place)| !pattern.is_stamped(part, *place)).count() as u64)
    }

    /// Compares the whole file with what was written last. Returns the number of wrong words.
    ///
    /// # Errors
    /// The system's.
    pub fn verify(&mut self) -> Result<u64> {
        let file = files::open(&self.path, Flags::default())?;
        let length = file.metadata().map_err(self.failed("ask for the size of"))?.len();
        let failed = self.failed("read");
        let mut wrong = u64::from(length != self.bytes());
        for n in 0..self.records.min(length / self.record) {
            let buffer = self.pool.slot(0);
            file.read_exact_at(buffer, n * self.record).map_err(&failed)?;
            wrong += self.pattern.wrong_words(buffer, n * self.record);
        }
        Ok(wrong)
    }
}

fn whole(moved: usize, count: usize, record: u64) -> std::io::Result<()> {
    match moved as u64 == count as u64 * record {
        true => Ok(()),
        false => Err(std::io::Error::other(format!("{moved} bytes of {count} records of {record} moved"))),
    }
}
