//! What a scenario says while it runs: a progress bar on a terminal, plain lines with the elapsed time otherwise.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Progress of one run.
pub struct Progress {
    start: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// For a run that takes about `planned`.
    pub fn new(planned: Duration) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(planned.as_secs()), ProgressDrawTarget::stderr());
            // The template is a constant: it cannot fail on another input than here.
            let style = ProgressStyle::with_template("[{elapsed_precise}] {bar:28} {percent:>3} % {msg}");
            if let Ok(style) = style {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self { start: Instant::now(), bar }
    }

    /// The next step begins.
    pub fn step(&self, what: impl Into<String>) {
        let what = what.into();
        match &self.bar {
            Some(bar) => {
                bar.set_position(
                    self.start.elapsed().as_secs().min(bar.length().unwrap_or(1).saturating_sub(1)),
                );
                bar.set_message(what);
            }
            None => eprintln!("[{:>4.0} s] {what}", self.start.elapsed().as_secs_f64()),
        }
    }

    /// Prints text that stays, on standard output.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
