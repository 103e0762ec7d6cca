//! The arms of the noisy-neighbour scenario, each measured on the same three running guests.

use super::objective::{floor_margin, harmless, weighted_speedup};
use super::progress::Progress;
use super::rig::{NOISY, Rig, Window};
use super::setting::Setting;
use super::{Result, ScenarioError};
use crate::testbed::wait_for;
use crate::trimtab::{Decision, Start, Trimtab};
use std::time::{Duration, Instant};

/// After a change of loads or knobs: until the queues have found their new rhythm.
pub const SETTLE: Duration = Duration::from_secs(2);

/// What each guest does alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Solo {
    /// MB/s of the writer, CPUs of the burners.
    pub rates: [f64; 3],
    /// CPUs of each.
    pub cpu: [f64; 3],
}

impl Solo {
    /// Measures each guest alone, the others idle; leaves the noisy loads on.
    pub fn measure(rig: &Rig, progress: &Progress, length: Duration) -> Result<(Self, [Window; 3])> {
        let mut windows = Vec::new();
        for (alone, name) in super::rig::NAMES.iter().enumerate() {
            progress.step(format!("{name} alone"));
            let loads = std::array::from_fn(|i| if i == alone { NOISY[i] } else { "idle" });
            rig.load(loads)?;
            std::thread::sleep(SETTLE);
            windows.push(rig.measure(length)?);
        }
        rig.load(NOISY)?;
        std::thread::sleep(SETTLE);
        let windows = [windows[0], windows[1], windows[2]];
        let rates = std::array::from_fn(|i| windows[i].rates()[i]);
        let cpu = std::array::from_fn(|i| windows[i].cpu()[i]);
        Ok((Self { rates, cpu }, windows))
    }

    /// The mean of two measurements, at the beginning and at the end of a run: drift cancels to first order.
    #[must_use]
    pub fn between(&self, other: &Self) -> Self {
        Self {
            rates: std::array::from_fn(|i| f64::midpoint(self.rates[i], other.rates[i])),
            cpu: std::array::from_fn(|i| f64::midpoint(self.cpu[i], other.cpu[i])),
        }
    }

    /// The objective of a window.
    pub fn objective(&self, weights: [u32; 3], window: &Window) -> f64 {
        weighted_speedup(&weights.map(f64::from), &window.rates(), &self.rates)
    }

    /// How far the window keeps the entitlement floor: >= 1 is kept.
    pub fn floor(&self, weights: [u32; 3], window: &Window) -> f64 {
        floor_margin(&weights.map(f64::from), &window.cpu(), &self.cpu, window.capacity)
    }

    /// How well the worst guest fares by the daemon's own rule, compared with an untouched window: >= 1 if nobody is harmed.
    pub fn harmless(&self, weights: [u32; 3], untouched: &Window, window: &Window) -> f64 {
        harmless(&weights.map(f64::from), &window.seen(), &untouched.seen(), &self.cpu, window.capacity)
    }
}

/// A static configuration with what it achieved.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// The configuration.
    pub setting: Setting,
    /// What the guests did.
    pub window: Window,
    /// The daemon's own live objective meanwhile, if one was watching.
    pub live: Option<f64>,
}

/// How static configurations are tried.
#[derive(Clone, Copy, Default)]
pub struct Pass<'a> {
    /// Window of each.
    pub length: Duration,
    /// None is begun later.
    pub until: Option<Instant>,
    /// A daemon in mode observe, whose live objective is noted too.
    pub watcher: Option<&'a Trimtab>,
}

/// Tries configurations one by one, as many as there is time for.
pub fn screen(rig: &Rig, progress: &Progress, settings: &[Setting], pass: Pass) -> Result<Vec<Tried>> {
    let mut tried = Vec::new();
    for (n, setting) in settings.iter().enumerate() {
        if pass.until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        progress.step(format!("static configuration {} of {}: {}", n + 1, settings.len(), setting.name()));
        rig.apply(setting)?;
        std::thread::sleep(SETTLE);
        let (window, live) = match pass.watcher {
            None => (rig.measure(pass.length)?, None),
            Some(trimtab) => watched(rig, trimtab, pass.length)?,
        };
        tried.push(Tried { setting: setting.clone(), window, live });
    }
    rig.apply(&Setting::untouched())?;
    Ok(tried)
}

/// Measures while asking the daemon for its live objective once a second.
fn watched(rig: &Rig, trimtab: &Trimtab, length: Duration) -> Result<(Window, Option<f64>)> {
    std::thread::scope(|scope| {
        let measuring = scope.spawn(|| rig.measure(length));
        let start = Instant::now();
        let mut seen = Vec::new();
        while start.elapsed() < length {
            std::thread::sleep(Duration::from_secs(1));
            seen.extend(trimtab.status()?.objective);
        }
        let window =
            measuring.join().map_err(|_| ScenarioError::Failed("the measurement panicked".to_owned()))??;
        Ok((window, super::objective::mean(&seen)))
    })
}

/// What a search for the best static configuration goes by.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// What each guest does alone.
    pub solo: &'a Solo,
    /// Weights of the guests.
    pub weights: [u32; 3],
    /// With nothing turned.
    pub untouched: &'a Window,
    /// How many of the screened ones are tried again.
    pub best: usize,
    /// Window of the second and third pass.
    pub length: Duration,
}

/// The best static configuration that harms nobody, by the rule by which the daemon keeps one; nothing if none does. `first` is
/// the screening pass: its short windows are noisy, so a configuration is dropped there only when it does harm clearly. The
/// winner of the second pass is measured a third time for its value: the best of several noisy windows is mostly the luckiest
/// one.
pub fn refine(rig: &Rig, progress: &Progress, search: &Search, first: &[Tried]) -> Result<Option<Tried>> {
    let Search { solo, weights, untouched, best, length } = *search;
    let by_objective = |a: &&Tried, b: &&Tried| {
        solo.objective(weights, &a.window).total_cmp(&solo.objective(weights, &b.window))
    };
    let fares = |t: &&Tried| solo.harmless(weights, untouched, &t.window);
    let mut candidates: Vec<&Tried> = first.iter().filter(|t| fares(t) >= 0.9).collect();
    candidates.sort_by(|a, b| by_objective(b, a));
    let settings: Vec<Setting> = candidates.iter().take(best).map(|t| t.setting.clone()).collect();
    let pass = Pass { length, ..Pass::default() };
    let again = screen(rig, progress, &settings, pass)?;
    for t in &again {
        let (mb_per_s, burners) = (t.window.rates()[0], t.window.seen().burners);
        progress.say(&format!(
            "  {:<18} {mb_per_s:6.1} MB/s, burners {:.3} (+-{:.3}) CPU in the mean, objective {:.3}, harms {} ({:.3})",
            t.setting.name(),
            burners.cpu,
            burners.error,
            solo.objective(weights, &t.window),
            if fares(&t) >= 1.0 { "nobody" } else { "somebody" },
            fares(&t)
        ));
    }
    let Some(winner) = again.iter().filter(|t| fares(t) >= 1.0).max_by(by_objective) else { return Ok(None) };
    Ok(screen(rig, progress, std::slice::from_ref(&winner.setting), pass)?.pop())
}

/// What came of a run under Trimtab.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// What the guests did once it had settled.
    pub window: Window,
    /// Its decisions when the window was over, newest first.
    pub decisions: Vec<Decision>,
    /// Numbers of the kept decisions that were in force when the window began.
    pub in_force: Vec<u64>,
    /// From its start until the first kept decision, if any came.
    pub first_kept: Option<Duration>,
    /// How long it took before it was measured.
    pub waited: Duration,
}

impl Tuned {
    /// What was in force while it was measured, for humans.
    pub fn in_force(&self) -> String {
        let named = self.decisions.iter().rev().filter(|d| self.in_force.contains(&d.id)).map(|d| {
            let until = if d.verdict == "kept" { "" } else { " (taken back within the window)" };
            format!("#{} {}{until}", d.id, d.to)
        });
        let named: Vec<String> = named.collect();
        if named.is_empty() { "nothing".to_owned() } else { named.join(", ") }
    }
}

/// How long the daemon may take before what it has reached is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// Longest wait for decisions.
    pub tuning: Duration,
    /// A decision kept and no trial for so long: it has settled.
    pub quiet: Duration,
    /// After `tuning`: longest wait for the verdict on a trial that is still open.
    pub verdict: Duration,
}

/// Starts the daemon in mode enforce with an empty memory, waits until it has settled, measures what it kept, restores, stops
/// it. The window never falls into a trial: what is tried and not kept is no result.
pub fn under_trimtab(
    rig: &Rig,
    progress: &Progress,
    round: usize,
    (patience, length): (Patience, Duration),
) -> Result<Tuned> {
    progress.step(format!("round {round}: Trimtab looks, tries and keeps"));
    let state = rig.host().dir().join(format!("trimtab-state-{round}"));
    let start = Instant::now();
    let trimtab = Trimtab::start(rig.host(), &Start { state_dir: Some(state), ..Start::mode("enforce") })?;
    let first_kept = settle(&trimtab, start, patience)?;
    let waited = start.elapsed();
    let in_force = hold_still(&trimtab)?;
    progress.step(format!("round {round}: under Trimtab"));
    let window = rig.measure(length)?;
    let decisions = trimtab.decisions()?;
    trimtab.restore()?;
    trimtab.stop()?;
    rig.apply(&Setting::untouched())?;
    Ok(Tuned { window, decisions, in_force, first_kept, waited })
}

fn open(decisions: &[Decision]) -> bool {
    decisions.iter().any(|d| d.verdict == "pending")
}

fn kept(decisions: &[Decision]) -> impl Iterator<Item = u64> {
    decisions.iter().filter(|d| d.verdict == "kept").map(|d| d.id)
}

/// Waits until a decision has been kept and no trial has run for a while, or patience is over and the last trial, too.
fn settle(trimtab: &Trimtab, start: Instant, patience: Patience) -> Result<Option<Duration>> {
    let mut first_kept = None;
    let mut quiet_since = Instant::now();
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let decisions = trimtab.decisions()?;
        let waited = start.elapsed();
        if open(&decisions) {
            quiet_since = Instant::now();
        }
        if first_kept.is_none() && kept(&decisions).next().is_some() {
            first_kept = Some(waited);
        }
        let settled = first_kept.is_some() && quiet_since.elapsed() >= patience.quiet;
        let tired = waited >= patience.tuning && !open(&decisions);
        if settled || tired || waited >= patience.tuning + patience.verdict {
            return Ok(first_kept);
        }
    }
}

/// Lets the daemon open no further trial; the numbers of the decisions in force. A pause takes back a trial that is open all the
/// same, keeps what is kept, and a kept decision that turns out to harm somebody is still taken back.
fn hold_still(trimtab: &Trimtab) -> Result<Vec<u64>> {
    trimtab.ctl(&["pause"])?;
    let decisions = wait_for("the end of the open trial", Duration::from_secs(20), || {
        let decisions = trimtab.decisions().map_err(|e| e.to_string())?;
        if open(&decisions) { Err("a decision is pending".to_owned()) } else { Ok(decisions) }
    })?;
    std::thread::sleep(SETTLE);
    Ok(kept(&decisions).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(id: u64, verdict: &str) -> Decision {
        Decision {
            id,
            time: String::new(),
            guest: "writer".into(),
            knob: "priority".into(),
            from: String::new(),
            to: format!("cpu.shares={id}"),
            why: String::new(),
            expected: 0.1,
            before: None,
            after: None,
            verdict: verdict.into(),
            outcome: String::new(),
        }
    }

    #[test]
    fn in_force_is_what_was_kept_when_the_window_began() {
        let guests = [crate::GuestRates { cpu_cores: 0.0, write_mb_per_s: 0.0 }; 3];
        let tuned = |in_force| Tuned {
            window: Window { guests, errors: [0.0; 3], burners_error: 0.0, capacity: 2.0 },
            decisions: vec![decision(3, "kept"), decision(2, "reverted"), decision(1, "kept")],
            in_force,
            first_kept: None,
            waited: Duration::ZERO,
        };
        assert_eq!(tuned(vec![]).in_force(), "nothing");
        assert_eq!(
            tuned(vec![2, 1]).in_force(),
            "#1 cpu.shares=1, #2 cpu.shares=2 (taken back within the window)"
        );
    }
}
