//! Progress bar on rank 0 when its standard error is a terminal; nothing otherwise.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::kernel::Variant;

/// The bar, or nothing.
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(super) fn new(is_root: bool, runs: usize) -> Self {
        if !is_root || !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new(runs as u64);
        if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Self(Some(bar))
    }

    /// Names the run that begins. Drawn once: a ticking bar would take time from the kernel.
    pub(super) fn begin(&self, kernel: &str, variant: Variant) {
        if let Some(bar) = &self.0 {
            bar.set_message(format!("{kernel} {}", variant.name()));
            bar.tick();
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
        }
    }

    /// Runs `print` with the bar out of the way.
    pub(super) fn suspend(&self, print: impl FnOnce()) {
        match &self.0 {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
