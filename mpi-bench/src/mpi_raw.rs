//! The one module with unsafe MPI calls: what the `mpi` crate lacks, behind functions that are safe to call.
//! No benchmark logic and no policy here. Every function maps to one MPI call, or one call and its completion.
//!
//! Buffers are slices of [`Equivalence`] types, counts are checked to fit MPI's `int`. MPI's default error handler (abort
//! the job) stays in force for communication, so return codes of communication carry nothing and are not looked at.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::time::Duration;

use mpi::collective::SystemOperation;
use mpi::datatype::Equivalence;
use mpi::ffi;
use mpi::raw::AsRaw;
use mpi::topology::SimpleCommunicator;

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

/// Ends the whole job at once, from the main thread of a rank that cannot go on (a panic). Nothing after it runs.
pub fn abort_job(exit_code: u8) {
    if mpi::environment::is_initialized() && !mpi::environment::is_finalized() {
        // SAFETY: MPI is between init and finalize; MPI_Abort takes the world handle and an int by value.
        unsafe { ffi::MPI_Abort(ffi::RSMPI_COMM_WORLD, c_int::from(exit_code)) };
    }
}

/// `MPI_Ibarrier` completed by sleeping polls: the waiting rank leaves its core to others, unlike a blocking barrier.
pub fn sleepy_barrier(comm: &SimpleCommunicator, poll: Duration) {
    // SAFETY: RSMPI_REQUEST_NULL is a constant that the MPI library defines.
    let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
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
    // SAFETY: data is valid for its length and of the datatype that T maps to; every rank passes the same length by the
    // collective's contract; IN_PLACE is the library's own constant.
    unsafe {
        ffi::MPI_Allreduce(
            trimtab_mpi_in_place(),
            data.as_mut_ptr().cast(),
            count(data.len()),
            T::equivalent_datatype().as_raw(),
            op.as_raw(),
            comm.as_raw(),
        );
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
    // SAFETY: the requests are live or null; their buffers stay borrowed by `pending` until after the call.
    unsafe { ffi::MPI_Waitall(count(N), requests.as_mut_ptr(), ffi::RSMPI_STATUSES_IGNORE) };
    for (pending, request) in pending.iter_mut().zip(requests) {
        // Null now: the drop that follows must not wait for a request that MPI has freed.
        pending.request = request;
    }
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
    // SAFETY: RSMPI_REQUEST_NULL is a constant that the MPI library defines.
    let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
    // SAFETY: the buffer stays borrowed until the request completes (Pending waits on drop).
    unsafe {
        ffi::MPI_Isend(
            data.as_ptr().cast(),
            count(data.len()),
            T::equivalent_datatype().as_raw(),
            to,
            tag,
            comm.as_raw(),
            &raw mut request,
        );
    }
    Pending { request, buffer: PhantomData }
}

/// `MPI_Irecv`. The message must have at most `data.len()` elements (MPI aborts the job otherwise).
pub fn irecv<'a, T: Equivalence>(
    comm: &SimpleCommunicator,
    data: &'a mut [T],
    from: c_int,
    tag: c_int,
) -> Pending<'a> {
    // SAFETY: RSMPI_REQUEST_NULL is a constant that the MPI library defines.
    let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
    // SAFETY: the buffer stays mutably borrowed until the request completes (Pending waits on drop).
    unsafe {
        ffi::MPI_Irecv(
            data.as_mut_ptr().cast(),
            count(data.len()),
            T::equivalent_datatype().as_raw(),
            from,
            tag,
            comm.as_raw(),
            &raw mut request,
        );
    }
    Pending { request, buffer: PhantomData }
}

/// `MPI_Send`.
pub fn send<T: Equivalence>(comm: &SimpleCommunicator, data: &[T], to: c_int, tag: c_int) {
    // SAFETY: data is valid for its length during the blocking call.
    unsafe {
        ffi::MPI_Send(
            data.as_ptr().cast(),
            count(data.len()),
            T::equivalent_datatype().as_raw(),
            to,
            tag,
            comm.as_raw(),
        );
    }
}

/// `MPI_Recv`. The message must have at most `data.len()` elements (MPI aborts the job otherwise).
pub fn recv<T: Equivalence>(comm: &SimpleCommunicator, data: &mut [T], from: c_int, tag: c_int) {
    // SAFETY: data is valid and exclusively borrowed for its length during the blocking call.
    unsafe {
        ffi::MPI_Recv(
            data.as_mut_ptr().cast(),
            count(data.len()),
            T::equivalent_datatype().as_raw(),
            from,
            tag,
            comm.as_raw(),
            ffi::RSMPI_STATUS_IGNORE,
        );
    }
}

/// `MPI_Sendrecv`, with separate buffers. Returns how many elements came; at most `into.len()` may (MPI aborts otherwise).
pub fn sendrecv<T: Equivalence>(
    comm: &SimpleCommunicator,
    (out, to): (&[T], c_int),
    (into, from): (&mut [T], c_int),
    tag: c_int,
) -> usize {
    let mut status = std::mem::MaybeUninit::<ffi::MPI_Status>::uninit();
    let mut received: c_int = 0;
    let datatype = T::equivalent_datatype().as_raw();
    // SAFETY: both buffers are valid for their lengths during the blocking call and cannot alias (& and &mut).
    unsafe {
        ffi::MPI_Sendrecv(
            out.as_ptr().cast(),
            count(out.len()),
            datatype,
            to,
            tag,
            into.as_mut_ptr().cast(),
            count(into.len()),
            datatype,
            from,
            tag,
            comm.as_raw(),
            status.as_mut_ptr(),
        );
        ffi::MPI_Get_count(status.as_ptr(), datatype, &raw mut received);
    }
    usize::try_from(received).unwrap_or_default()
}
