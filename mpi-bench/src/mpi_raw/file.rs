//! MPI-IO: the `MPI_File_*` calls, which the `mpi` crate does not have. Part of `mpi_raw`; one method per MPI call.
//!
//! Files keep MPI's default error handler (return a code), so unlike communication every call here reports its failure.

use std::ffi::{CString, c_char, c_int};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mpi::datatype::Equivalence;
use mpi::ffi;
use mpi::raw::AsRaw;
use mpi::topology::SimpleCommunicator;

use super::count;

unsafe extern "C" {
    fn trimtab_mpi_info_null() -> ffi::MPI_Info;
}

/// An open file. [`MpiFile::close`] it: closing is collective and cannot be left to a destructor.
#[derive(Debug)]
pub struct MpiFile(ffi::MPI_File);

/// Which parts of a shared file one rank sees as its own, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Where the rank's first block begins.
    pub start: u64,
    /// Length of a block.
    pub block: u64,
    /// Distance of the beginnings of two blocks, at least `block`.
    pub stride: u64,
    /// A divisor of `block` below 2^31.
    pub unit: u64,
}

fn check(code: c_int) -> io::Result<()> {
    if code == 0 {
        return Ok(());
    }
    let mut text: [c_char; 1024] = [0; 1024];
    let mut len: c_int = 0;
    // SAFETY: MPI writes at most MPI_MAX_ERROR_STRING (256 to 1024 in the known libraries) characters and their number.
    unsafe { ffi::MPI_Error_string(code, text.as_mut_ptr(), &raw mut len) };
    let text: Vec<u8> =
        text.iter().take(usize::try_from(len).unwrap_or(0)).map(|c| c.to_ne_bytes()[0]).collect();
    Err(io::Error::other(String::from_utf8_lossy(&text).into_owned()))
}

fn signed(bytes: u64) -> io::Result<i64> {
    i64::try_from(bytes).map_err(|_| io::Error::other("offset above 2^63"))
}

impl MpiFile {
    /// `MPI_File_open`, to write (created if missing) or to read. Collective.
    ///
    /// # Errors
    /// The library's text.
    pub fn open(comm: &SimpleCommunicator, path: &Path, write: bool) -> io::Result<Self> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
        let mode = match write {
            true => ffi::MPI_MODE_WRONLY | ffi::MPI_MODE_CREATE,
            false => ffi::MPI_MODE_RDONLY,
        };
        let mut handle = std::mem::MaybeUninit::<ffi::MPI_File>::uninit();
        // SAFETY: name is a C string that outlives the call, handle a place for the result, INFO_NULL the library's own.
        check(unsafe {
            ffi::MPI_File_open(
                comm.as_raw(),
                name.as_ptr(),
                mode as c_int,
                trimtab_mpi_info_null(),
                handle.as_mut_ptr(),
            )
        })?;
        // SAFETY: MPI_File_open succeeded and has set it.
        Ok(Self(unsafe { handle.assume_init() }))
    }

    /// `MPI_File_set_view`: from now on offsets count only the bytes of the view. Collective.
    ///
    /// # Errors
    /// The library's text.
    pub fn set_view(&mut self, view: View) -> io::Result<()> {
        let (start, stride) = (signed(view.start)?, signed(view.stride)?);
        let unit_len = usize::try_from(view.unit).map_err(io::Error::other)?;
        let units = usize::try_from(view.block / view.unit).map_err(io::Error::other)?;
        let bytes = u8::equivalent_datatype().as_raw();
        let mut types = [bytes; 3];
        // SAFETY: each type is made from the one before it, all three places are valid, only the last needs a commit.
        unsafe {
            check(ffi::MPI_Type_contiguous(count(unit_len), bytes, &raw mut types[0]))?;
            check(ffi::MPI_Type_contiguous(count(units), types[0], &raw mut types[1]))?;
            check(ffi::MPI_Type_create_resized(types[1], 0, stride as ffi::MPI_Aint, &raw mut types[2]))?;
            check(ffi::MPI_Type_commit(&raw mut types[2]))?;
        }
        // SAFETY: the file is open, the types are valid, the name is a C string literal.
        let set = check(unsafe {
            ffi::MPI_File_set_view(
                self.0,
                start,
                bytes,
                types[2],
                c"native".as_ptr(),
                trimtab_mpi_info_null(),
            )
        });
        for datatype in &mut types {
            // SAFETY: made above; the file keeps its own reference.
            unsafe { ffi::MPI_Type_free(std::ptr::from_mut(datatype)) };
        }
        set
    }

    /// `MPI_File_write_at` or, collectively, `MPI_File_write_at_all`.
    ///
    /// # Errors
    /// The library's text, or fewer bytes written than given.
    pub fn write_at(&mut self, at: u64, data: &[u8], collective: bool) -> io::Result<()> {
        let call = if collective { ffi::MPI_File_write_at_all } else { ffi::MPI_File_write_at };
        let (at, len, datatype) = (signed(at)?, count(data.len()), u8::equivalent_datatype().as_raw());
        let mut status = std::mem::MaybeUninit::<ffi::MPI_Status>::uninit();
        // SAFETY: data is valid for its length during the call, status a place for the result.
        check(unsafe { call(self.0, at, data.as_ptr().cast(), len, datatype, status.as_mut_ptr()) })?;
        whole(status, len)
    }

    /// `MPI_File_read_at` or, collectively, `MPI_File_read_at_all`.
    ///
    /// # Errors
    /// The library's text, or fewer bytes there than asked for.
    pub fn read_at(&mut self, at: u64, data: &mut [u8], collective: bool) -> io::Result<()> {
        let call = if collective { ffi::MPI_File_read_at_all } else { ffi::MPI_File_read_at };
        let (at, len, datatype) = (signed(at)?, count(data.len()), u8::equivalent_datatype().as_raw());
        let mut status = std::mem::MaybeUninit::<ffi::MPI_Status>::uninit();
        // SAFETY: data is valid and exclusively borrowed for its length during the call, status a place for the result.
        check(unsafe { call(self.0, at, data.as_mut_ptr().cast(), len, datatype, status.as_mut_ptr()) })?;
        whole(status, len)
    }

    /// `MPI_File_sync`. Collective.
    ///
    /// # Errors
    /// The library's text.
    pub fn sync(&mut self) -> io::Result<()> {
        // SAFETY: the file is open.
        check(unsafe { ffi::MPI_File_sync(self.0) })
    }

    /// `MPI_File_close`. Collective.
    ///
    /// # Errors
    /// The library's text.
    pub fn close(mut self) -> io::Result<()> {
        // SAFETY: the file is open, and this value, its only handle, ends here.
        check(unsafe { ffi::MPI_File_close(&raw mut self.0) })
    }
}

/// Looks whether a transfer moved `len` bytes.
fn whole(status: std::mem::MaybeUninit<ffi::MPI_Status>, len: c_int) -> io::Result<()> {
    let mut moved: c_int = 0;
    // SAFETY: a successful transfer has set the status.
    unsafe { ffi::MPI_Get_count(status.as_ptr(), u8::equivalent_datatype().as_raw(), &raw mut moved) };
    match moved == len {
        true => Ok(()),
        false => {
            Err(io::Error::other(format!("{moved} of {len} bytes moved (end of file, or no space left)")))
        }
    }
}
