//! Moves nothing: shows what engine, pattern and barriers cost by themselves. What it "reads" can never verify.

use super::{Backend, Judge, Prepare};
use crate::error::Result;
use crate::io::pool::Pool;

/// See the module.
pub(super) struct Dummy(pub(super) Pool);

impl Backend for Dummy {
    fn write(&mut self, at: u64, prepare: Prepare<'_>) -> Result<()> {
        prepare(at, self.0.slot(0));
        Ok(())
    }

    fn read(&mut self, at: u64, judge: Judge<'_>) -> Result<()> {
        judge(at, self.0.slot(0));
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> (Pool, Result<()>) {
        (self.0, Ok(()))
    }
}
