//! `io_uring` with several transfers in flight, each in a buffer of its own.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use io_uring::{IoUring, opcode, types};

use super::{Backend, Judge, Prepare, Target};
use crate::error::{Error, Result};
use crate::io::files::{self, Flags};
use crate::io::pool::Pool;

/// See the module.
pub(super) struct Uring {
    ring: IoUring,
    file: File,
    path: PathBuf,
    pool: Pool,
    /// One per buffer: what it is used for, `None` if it is free.
    flights: Vec<Option<Flight>>,
}

/// A transfer that has been started.
#[derive(Debug, Clone, Copy)]
struct Flight {
    at: u64,
    write: bool,
    /// Bytes already moved: the kernel may do a part only.
    done: usize,
}

/// Why there is no ring, in words that name the cause.
fn refused(error: &std::io::Error) -> Error {
    let why = match error.raw_os_error() {
        Some(libc::ENOSYS) => "this kernel has none".to_owned(),
        Some(libc::EPERM | libc::EACCES) => {
            "forbidden (kernel.io_uring_disabled, or a seccomp filter)".to_owned()
        }
        Some(libc::ENOMEM) => "no memory that may be locked (ulimit -l)".to_owned(),
        _ => error.to_string(),
    };
    Error::Environment(format!("io_uring cannot be used: {why}"))
}

impl Uring {
    pub(super) fn open(target: &Target<'_>, pool: Pool, depth: u32, direct: bool) -> Result<Self> {
        let ring = IoUring::new(depth).map_err(|e| refused(&e))?;
        let file = files::open(target.path, Flags { write: target.write, direct, sync: false })?;
        let flights = vec![None; pool.slots()];
        Ok(Self { ring, file, path: target.path.to_path_buf(), pool, flights })
    }

    fn in_flight(&self) -> usize {
        self.flights.iter().flatten().count()
    }

    /// A buffer that is free, waiting for one if need be.
    fn free_slot(&mut self, judge: Judge<'_>) -> Result<usize> {
        loop {
            if let Some(slot) = self.flights.iter().position(Option::is_none) {
                return Ok(slot);
            }
            self.reap(judge)?;
        }
    }

    /// Starts what is left of a transfer.
    fn start(&mut self, slot: usize, flight: Flight) -> Result<()> {
        let fd = types::Fd(self.file.as_raw_fd());
        let rest = &mut self.pool.slot(slot)[flight.done..];
        let len = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let at = flight.at + flight.done as u64;
        let entry = match flight.write {
            true => opcode::Write::new(fd, rest.as_ptr(), len).offset(at).build(),
            false => opcode::Read::new(fd, rest.as_mut_ptr(), len).offset(at).build(),
        };
        self.flights[slot] = Some(flight);
        // SAFETY: the buffer stays in the pool, unused and unmoved, until its completion is reaped: `flights` guards it, and
        // the drop of this value waits. There are as many entries as buffers, so the queue cannot be full.
        let pushed = unsafe { self.ring.submission().push(&entry.user_data(slot as u64)) };
        if let Err(full) = pushed {
            self.flights[slot] = None;
            return Err(Error::io("queue a transfer of", &self.path)(std::io::Error::other(full)));
        }
        self.wait(0)
    }

    fn wait(&mut self, complete: usize) -> Result<()> {
        loop {
            match self.ring.submit_and_wait(complete) {
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("queue a transfer of", &self.path)(e)),
            }
        }
    }

    /// Waits for at least one transfer and takes all that are complete. The first error counts, but none is left unreaped.
    fn reap(&mut self, judge: Judge<'_>) -> Result<()> {
        self.wait(1)?;
        let mut outcome = Ok(());
        loop {
            let next = self.ring.completion().next();
            let Some(entry) = next else { return outcome };
            let slot = usize::try_from(entry.user_data()).unwrap_or(usize::MAX);
            let Some(flight) = self.flights.get_mut(slot).and_then(Option::take) else { continue };
            let landed = self.land(slot, flight, entry.result(), judge);
            outcome = outcome.and(landed);
        }
    }

    fn land(&mut self, slot: usize, flight: Flight, result: i32, judge: Judge<'_>) -> Result<()> {
        let verb = if flight.write { "write" } else { "read" };
        let moved = match usize::try_from(result) {
            Ok(0) => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
            Ok(moved) => Ok(moved),
            Err(_) => Err(std::io::Error::from_raw_os_error(-result)),
        };
        let done = flight.done + moved.map_err(|e| Error::io(verb, &self.path)(e))?;
        if done < self.pool.slot(slot).len() {
            return self.start(slot, Flight { done, ..flight });
        }
        if !flight.write {
            judge(flight.at, self.pool.slot(slot));
        }
        Ok(())
    }
}

impl Backend for Uring {
    fn write(&mut self, at: u64, prepare: Prepare<'_>) -> Result<()> {
        let slot = self.free_slot(&mut |_, _| {})?;
        prepare(at, self.pool.slot(slot));
        self.start(slot, Flight { at, write: true, done: 0 })
    }

    fn read(&mut self, at: u64, judge: Judge<'_>) -> Result<()> {
        let slot = self.free_slot(judge)?;
        self.start(slot, Flight { at, write: false, done: 0 })
    }

    fn drain(&mut self, judge: Judge<'_>) -> Result<()> {
        let mut outcome = Ok(());
        while self.in_flight() > 0 {
            let before = self.in_flight();
            let reaped = self.reap(judge);
            let stuck = reaped.is_err() && self.in_flight() == before;
            outcome = outcome.and(reaped);
            if stuck {
                break;
            }
        }
        outcome
    }

    fn sync(&mut self) -> Result<()> {
        self.drain(&mut |_, _| {})?;
        self.file.sync_all().map_err(|e| Error::io("sync", &self.path)(e))
    }

    fn close(mut self: Box<Self>) -> (Pool, Result<()>) {
        let drained = self.drain(&mut |_, _| {});
        let pool = std::mem::take(&mut self.pool);
        // Each close of a file flushes it and reports: a second descriptor is closed loudly, the one in `self` silently after.
        let closed = self.file.try_clone().map_err(Error::io("close", &self.path));
        let closed = closed.and_then(|file| files::close(file, &self.path));
        (pool, drained.and(closed))
    }
}

impl Drop for Uring {
    /// The kernel must not write into buffers that are gone.
    fn drop(&mut self) {
        // Errors have nowhere to go from here.
        let _ = self.drain(&mut |_, _| {});
        if self.in_flight() > 0 {
            // The ring itself is broken: leaking the buffers is what remains.
            std::mem::forget(std::mem::take(&mut self.pool));
        }
    }
}
