//! The journal of the daemon: decisions, originals of knobs, lessons, notes and samples in one SQLite file.
//!
//! Problem: the control loop must never wait for a disk, yet nothing may be done that could not be undone. Approach: one
//! thread owns the file; the loop hands rows over in memory ([`Store`]), newest version of each row wins, and samples are
//! the first to go when the disk does not keep up. What the next start acts upon is the exception, originals, overrides and
//! decisions about to be acted upon: [`Store::save_originals_now`], [`Store::save_override`] and [`Store::record_open`] return
//! only when they are safe, either in a small mirror file on tmpfs (never blocked by a disk) or, without one, committed.
//!
//! Invariant: knows no other crate of ours; rows are plain structs, structured parts are JSON text made by the caller.
//! Invariant: nothing here panics or ends the process because of what is on the disk.
//! Times are Unix milliseconds unless the name says otherwise.

mod error;
mod file;
mod flush;
mod health;
mod mirror;
mod pending;
mod prune;
mod read;
mod rows;
mod schema;
mod store;
mod writer;

pub use error::StoreError;
pub use health::{Health, Lost};
pub use read::{DecisionFilter, Reader};
pub use rows::{DecisionRow, LessonRow, NoteRow, OriginalRow, OverrideRow, SampleRow};
pub use store::{Loaded, Options, Store};
