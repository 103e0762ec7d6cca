//! The one module with unsafe MPI calls: what the `mpi` crate lacks, behind functions that are safe to call.
//! No benchmark logic and no policy here. Every function maps to one MPI call (the windowed ones to many of the same kind),
//! and its completion. What the `mpi` crate has safely (the collectives) is called there, not wrapped again.
//!
//! Buffers are slices of [`Equivalence`] types, counts are checked to fit MPI's `int`. MPI's default error handler (abort
//! the job) stays in force for communication, so return codes of communication carry nothing and are not looked at.

mod file;

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Duration;

use mpi::collective::SystemOperation;
use mpi::datatype::Equivalence;
use mpi::ffi;
use mpi::raw::AsRaw;
use mpi::topology::SimpleCommunicator;

use crate::memory::Plain;

pub use file::{MpiFile, View};

unsafe extern "C" {
    fn trimtab_mpi_in_place() -> *mut c_void;
}

/// MPI's limit: a count is a C `int`.
///
/// # Panics
/// Above 2^31 - 1 elements: kernels split their messages below that.
#[must_use]
pub fn count(len: usize) -> c_int {
    c_int::try_from(len).expect("MPI message of more than 2^31-1 elements")
}

/// A slice as MPI calls take it: address, count, datatype.
fn parts<T: Equivalence>(data: &[T]) -> (*const c_void, c_int, ffi::MPI_Datatype) {
    (data.as_ptr().cast(), count(data.len()), T::equivalent_datatype().as_raw())
}

/// The same, for a buffer that MPI writes to.
fn parts_mut<T: Equivalence>(data: &mut [T]) -> (*mut c_void, c_int, ffi::MPI_Datatype) {
    (data.as_mut_ptr().cast(), count(data.len()), T::equivalent_datatype().as_raw())
}

/// The request that stands for "nothing started".
fn no_request() -> ffi::MPI_Request {
    // SAFETY: RSMPI_REQUEST_NULL is a constant that the MPI library defines.
    unsafe { ffi::RSMPI_REQUEST_NULL }
}

/// Ends the whole job at once, from the main thread of a rank that cannot go on (a panic). Nothing after it runs.
pub fn abort_job(exit_code: u8) {
    if mpi::environment::is_initialized() && !mpi::environment::is_finalized() {
        // SAFETY: MPI is between init and finalize; MPI_Abort takes the world handle and an int by value.
        unsafe { ffi::MPI_Abort(ffi::RSMPI_COMM_WORLD, c_int::from(exit_code)) };
    }
}

/// `MPI_Ibarrier` completed by sleeping polls: the waiting rank leaves its core to others, unlike a blocking barrier.
pub fn sleepy_barrier(comm: &SimpleCommunicator, poll: Duration) {
    let mut request = no_request();
    // SAFETY: the communicator lives as long as the borrow; the request is completed below before it goes out of scope.
    unsafe { ffi::MPI_Ibarrier(comm.as_raw(), &raw mut request) };
    let mut done: c_int = 0;
    loop {
        // SAFETY: request is the one started above; MPI sets it to null on completion.
        unsafe { ffi::MPI_Test(&raw mut request, &raw mut done, ffi::RSMPI_STATUS_IGNORE) };
        if done != 0 {
            return;
        }
        std::thread::sleep(poll);
    }
}

/// `MPI_Allreduce` with `MPI_IN_PLACE`: `data` is input and result.
pub fn all_reduce_in_place<T: Equivalence>(comm: &SimpleCommunicator, data: &mut [T], op: SystemOperation) {
    let (at, len, datatype) = parts_mut(data);
    // SAFETY: data is valid for its length and of the datatype that T maps to; every rank passes the same length by the
    // collective's contract; IN_PLACE is the library's own constant.
    unsafe {
        ffi::MPI_Allreduce(trimtab_mpi_in_place(), at, len, datatype, op.as_raw(), comm.as_raw());
    }
}

/// A started send or receive. It borrows its buffer until [`Pending::wait`]; dropping it waits.
/// Leaking one (`mem::forget`) would let MPI write into a buffer that is no longer borrowed: do not.
#[must_use = "dropping waits for completion at once"]
#[derive(Debug)]
pub struct Pending<'buffer> {
    request: ffi::MPI_Request,
    buffer: PhantomData<&'buffer mut [u8]>,
}

impl Pending<'_> {
    /// Blocks until the operation is complete.
    pub fn wait(mut self) {
        self.complete();
    }

    /// True once complete; gives MPI the chance to progress.
    pub fn test(&mut self) -> bool {
        let mut done: c_int = 0;
        // SAFETY: request was started by this module, or is null after completion, for which MPI_Test answers "done".
        unsafe { ffi::MPI_Test(&raw mut self.request, &raw mut done, ffi::RSMPI_STATUS_IGNORE) };
        done != 0
    }

    fn complete(&mut self) {
        // SAFETY: as in test; MPI_Wait on a null request returns at once.
        unsafe { ffi::MPI_Wait(&raw mut self.request, ffi::RSMPI_STATUS_IGNORE) };
    }
}

/// `MPI_Waitall`.
pub fn wait_all<const N: usize>(mut pending: [Pending<'_>; N]) {
    let mut requests = pending.each_ref().map(|p| p.request);
    complete_all(&mut requests);
    for (pending, request) in pending.iter_mut().zip(requests) {
        // Null now: the drop that follows must not wait for a request that MPI has freed.
        pending.request = request;
    }
}

/// `MPI_Waitall` on requests whose buffers the caller still has borrowed.
fn complete_all(requests: &mut [ffi::MPI_Request]) {
    // SAFETY: the requests were started by this module or are null; MPI sets them to null.
    unsafe { ffi::MPI_Waitall(count(requests.len()), requests.as_mut_ptr(), ffi::RSMPI_STATUSES_IGNORE) };
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.complete();
    }
}

/// `MPI_Isend`.
pub fn isend<'a, T: Equivalence>(
    comm: &SimpleCommunicator,
    data: &'a [T],
    to: c_int,
    tag: c_int,
) -> Pending<'a> {
    // Its borrow of the buffer ends when the request has completed: Pending waits on drop.
    Pending { request: start_send(comm, data, to, tag), buffer: PhantomData }
}

/// `MPI_Irecv`. The message must have at most `data.len()` elements (MPI aborts the job otherwise).
pub fn irecv<'a, T: Equivalence>(
    comm: &SimpleCommunicator,
    data: &'a mut [T],
    from: c_int,
    tag: c_int,
) -> Pending<'a> {
    Pending { request: start_recv(comm, data, from, tag), buffer: PhantomData }
}

/// The caller keeps `data` borrowed until the request has completed.
fn start_send<T: Equivalence>(
    comm: &SimpleCommunicator,
    data: &[T],
    to: c_int,
    tag: c_int,
) -> ffi::MPI_Request {
    let mut request = no_request();
    let (at, len, datatype) = parts(data);
    // SAFETY: data is valid for its length, and by this function's contract until completion.
    unsafe { ffi::MPI_Isend(at, len, datatype, to, tag, comm.as_raw(), &raw mut request) };
    request
}

/// The caller keeps `data` mutably borrowed until the request has completed.
fn start_recv<T: Equivalence>(
    comm: &SimpleCommunicator,
    data: &mut [T],
    from: c_int,
    tag: c_int,
) -> ffi::MPI_Request {
    let mut request = no_request();
    let (at, len, datatype) = parts_mut(data);
    // SAFETY: data is valid for its length, and by this function's contract borrowed until completion.
    unsafe { ffi::MPI_Irecv(at, len, datatype, from, tag, comm.as_raw(), &raw mut request) };
    request
}

/// `MPI_Send`.
pub fn send<T: Equivalence>(comm: &SimpleCommunicator, data: &[T], to: c_int, tag: c_int) {
    let (at, len, datatype) = parts(data);
    // SAFETY: data is valid for its length during the blocking call.
    unsafe { ffi::MPI_Send(at, len, datatype, to, tag, comm.as_raw()) };
}

/// `MPI_Recv`. The message must have at most `data.len()` elements (MPI aborts the job otherwise).
pub fn recv<T: Equivalence>(comm: &SimpleCommunicator, data: &mut [T], from: c_int, tag: c_int) {
    let (at, len, datatype) = parts_mut(data);
    // SAFETY: data is valid and exclusively borrowed for its length during the blocking call.
    unsafe { ffi::MPI_Recv(at, len, datatype, from, tag, comm.as_raw(), ffi::RSMPI_STATUS_IGNORE) };
}

/// `MPI_Sendrecv`, with separate buffers, of a message of at most `into.len()` elements (MPI aborts otherwise).
pub fn sendrecv<T: Equivalence>(
    comm: &SimpleCommunicator,
    out: (&[T], c_int),
    into: (&mut [T], c_int),
    tag: c_int,
) {
    // SAFETY: RSMPI_STATUS_IGNORE is a constant that the MPI library defines.
    exchange(comm, out, into, tag, unsafe { ffi::RSMPI_STATUS_IGNORE });
}

/// [`sendrecv`], and how many elements came.
pub fn sendrecv_counted<T: Equivalence>(
    comm: &SimpleCommunicator,
    out: (&[T], c_int),
    into: (&mut [T], c_int),
    tag: c_int,
) -> usize {
    let mut status = std::mem::MaybeUninit::<ffi::MPI_Status>::uninit();
    exchange(comm, out, into, tag, status.as_mut_ptr());
    let mut received: c_int = 0;
    // SAFETY: the exchange has filled the status; the datatype is the one it was received with.
    unsafe {
        ffi::MPI_Get_count(status.as_ptr(), T::equivalent_datatype().as_raw(), &raw mut received);
    }
    usize::try_from(received).unwrap_or_default()
}

/// `status`: the library's constant for "ignore", or a place for one.
fn exchange<T: Equivalence>(
    comm: &SimpleCommunicator,
    (out, to): (&[T], c_int),
    (into, from): (&mut [T], c_int),
    tag: c_int,
    status: *mut ffi::MPI_Status,
) {
    let (send_at, send_len, datatype) = parts(out);
    let (recv_at, recv_len, _) = parts_mut(into);
    let comm = comm.as_raw();
    // SAFETY: both buffers are valid for their lengths during the blocking call and cannot alias (& and &mut).
    unsafe {
        ffi::MPI_Sendrecv(
            send_at, send_len, datatype, to, tag, recv_at, recv_len, datatype, from, tag, comm, status,
        );
    }
}

/// Room for the requests of a window of messages, kept between windows so that none is allocated in a timed loop.
#[derive(Debug)]
pub struct Requests(Vec<ffi::MPI_Request>);

impl Requests {
    /// Room for `messages` in each direction.
    #[must_use]
    pub fn new(messages: usize) -> Self {
        Self(Vec::with_capacity(2 * messages))
    }

    /// A window: `times` receives into the same buffer and `times` sends from the same, started together, then completed.
    /// Either side may be absent. All messages of a window overwrite each other, as in OSU's single-buffer mode.
    pub fn window<T: Equivalence>(
        &mut self,
        comm: &SimpleCommunicator,
        mut into: Option<(&mut [T], c_int)>,
        out: Option<(&[T], c_int)>,
        tag: c_int,
        times: usize,
    ) {
        self.0.clear();
        if let Some((data, from)) = &mut into {
            self.0.extend((0..times).map(|_| start_recv(comm, data, *from, tag)));
        }
        if let Some((data, to)) = out {
            self.0.extend((0..times).map(|_| start_send(comm, data, to, tag)));
        }
        // Both buffers are arguments of this call, so they stay borrowed until here.
        complete_all(&mut self.0);
    }
}

/// What is done to the memory of another rank.
pub enum Access<'a, T> {
    /// `MPI_Put`.
    Put(&'a [T]),
    /// `MPI_Get`.
    Get(&'a mut [T]),
    /// `MPI_Accumulate`.
    Accumulate(&'a [T], SystemOperation),
}

/// Memory of this rank that others may read and write: `MPI_Win_allocate`, one passive epoch (`MPI_Win_lock_all`) for its
/// whole life. Made and dropped by all ranks of the communicator together.
#[derive(Debug)]
pub struct Window<T: Plain> {
    window: ffi::MPI_Win,
    start: NonNull<T>,
    len: usize,
}

impl<T: Plain + Equivalence> Window<T> {
    /// `len` zeroes on every rank; `None` if MPI gives no memory. Every rank passes the same `len`.
    #[must_use]
    pub fn allocate(comm: &SimpleCommunicator, len: usize) -> Option<Self> {
        // At least a page: MPICH 4.0 mixes up the ranks' parts of shared windows of a few bytes.
        let bytes = len.checked_mul(size_of::<T>())?.max(rustix::param::page_size());
        let bytes = ffi::MPI_Aint::try_from(bytes).ok()?;
        let unit = count(size_of::<T>());
        let mut start: *mut T = std::ptr::null_mut();
        // SAFETY: the constants are the library's own; start and window are places for the answers. MPI aligns the memory
        // for any of its datatypes.
        unsafe {
            let mut window = ffi::RSMPI_WIN_NULL;
            let info = ffi::RSMPI_INFO_NULL;
            let place = (&raw mut start).cast();
            ffi::MPI_Win_allocate(bytes, unit, info, comm.as_raw(), place, &raw mut window);
            let start = NonNull::new(start)?;
            start.write_bytes(0, len);
            ffi::MPI_Win_lock_all(0, window);
            Some(Self { window, start, len })
        }
    }

    /// The access, `times` times from or to the beginning of `rank`'s window, complete there on return (`MPI_Win_flush`).
    ///
    /// # Panics
    /// The data is longer than the window.
    pub fn access(&self, rank: c_int, mut what: Access<'_, T>, times: usize) {
        let len = match &what {
            Access::Put(data) | Access::Accumulate(data, _) => data.len(),
            Access::Get(data) => data.len(),
        };
        assert!(len <= self.len, "access of {len} elements to a window of {}", self.len);
        let window = self.window;
        for _ in 0..times {
            // SAFETY: the local buffer stays borrowed until the flush below; the length was checked against the window,
            // which has the same length on every rank.
            unsafe {
                match &mut what {
                    Access::Put(data) => {
                        let (at, n, kind) = parts(data);
                        ffi::MPI_Put(at, n, kind, rank, 0, n, kind, window);
                    }
                    Access::Get(data) => {
                        let (at, n, kind) = parts_mut(data);
                        ffi::MPI_Get(at, n, kind, rank, 0, n, kind, window);
                    }
                    Access::Accumulate(data, op) => {
                        let (at, n, kind) = parts(data);
                        ffi::MPI_Accumulate(at, n, kind, rank, 0, n, kind, op.as_raw(), window);
                    }
                }
            }
        }
        // SAFETY: the window is in a passive epoch for its whole life.
        unsafe { ffi::MPI_Win_flush(rank, window) };
    }

    /// Copies this rank's own memory out. No other rank may write to it meanwhile: stand between two barriers.
    pub fn load(&self, into: &mut [T]) {
        let len = into.len().min(self.len);
        // SAFETY: MPI's memory of at least len elements; raw copies, so no reference to memory that others write exists.
        unsafe {
            ffi::MPI_Win_sync(self.window);
            std::ptr::copy_nonoverlapping(self.start.as_ptr(), into.as_mut_ptr(), len);
        }
    }

    /// Overwrites the beginning of this rank's own memory. No other rank may access it meanwhile, as in [`Window::load`].
    pub fn store(&mut self, data: &[T]) {
        let len = data.len().min(self.len);
        // SAFETY: as in load.
        unsafe {
            std::ptr::copy_nonoverlapping(data.as_ptr(), self.start.as_ptr(), len);
            ffi::MPI_Win_sync(self.window);
        }
    }
}

impl<T: Plain> Drop for Window<T> {
    fn drop(&mut self) {
        // SAFETY: the window was allocated and locked by `allocate`; nothing refers to its memory afterwards.
        unsafe {
            ffi::MPI_Win_unlock_all(self.window);
            ffi::MPI_Win_free(&raw mut self.window);
        }
    }
}
