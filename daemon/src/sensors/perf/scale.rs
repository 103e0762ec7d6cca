//! Multiplexing undone: a group that had to share the PMU ran for a part of the time only.
//!
//! Approach: scale what was counted *between two readings* by the share of that time in which the group was on the PMU,
//! and add it up. Scaling the totals instead could make a count fall when the share changes. Times are in ns of the thread
//! running. May not: read counters.

/// Scaled counts of a group of at most `N` events since the events were opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaler<const N: usize> {
    enabled_ns: u64,
    running_ns: u64,
    raw: [u64; N],
    scaled: [f64; N],
}

impl<const N: usize> Default for Scaler<N> {
    fn default() -> Self {
        Self { enabled_ns: 0, running_ns: 0, raw: [0; N], scaled: [0.0; N] }
    }
}

impl<const N: usize> Scaler<N> {
    /// Takes a reading: time enabled, time on the PMU, raw counts. `None` if the thread ran since the last reading but
    /// the group was never on the PMU: what it did then is not known, and is made up for at the next reading that counts.
    pub fn update(&mut self, enabled_ns: u64, running_ns: u64, raw: [u64; N]) -> Option<[f64; N]> {
        let enabled = enabled_ns.saturating_sub(self.enabled_ns);
        let running = running_ns.saturating_sub(self.running_ns);
        if enabled > 0 && running == 0 {
            return None;
        }
        // Never below 1: a group cannot run for longer than it was enabled, but the two clocks are read one by one.
        let factor = if running == 0 { 1.0 } else { (enabled as f64 / running as f64).max(1.0) };
        for ((scaled, raw), before) in self.scaled.iter_mut().zip(raw).zip(self.raw) {
            *scaled += raw.saturating_sub(before) as f64 * factor;
        }
        (self.enabled_ns, self.running_ns, self.raw) = (enabled_ns, running_ns, raw);
        Some(self.scaled)
    }
}
