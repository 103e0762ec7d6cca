//! The reasoning of a proposal in words for an admin: bottleneck, CPUs, plan, expectation, floor. May not: decide.

use super::{Plan, State};
use crate::knob::Family;
use crate::model::Prediction;

/// Guests named one by one in a sentence; the others are counted.
const NAMED: usize = 6;

/// Full reasoning of a plan; `host` says which CPUs are over-committed and which are idle.
pub(super) fn why(state: &State, host: &str, plan: &Plan, prediction: &Prediction, expected: f64) -> String {
    let mut text = String::new();
    if let Some(s) = state.subjects.get(&plan.beneficiary) {
        let speed = s
            .found
            .speed
            .map_or_else(String::new, |v| format!(", at an estimated {:.0} % of its speed alone", v * 100.0));
        text.push_str(&format!(
            "{} (weight {}, {}{speed}) {}",
            s.name,
            s.weight,
            s.found.role,
            s.found.reason()
        ));
        if let Some(bps) = s.found.features.disk_bps.filter(|&b| b > 0.0) {
            text.push_str(&format!("; it moves {:.1} MB/s", bps / 1e6));
        }
        text.push_str(". ");
    }
    if plan.family == Family::Placement {
        text.push_str(&format!("On the host, {host}. "));
    }
    text.push_str(&format!("Plan {}: {}. ", plan.recipe, plan.what));
    if let (Some(now), Some(then)) = (state.score.value, prediction.score.value) {
        text.push_str(&format!("Expected: objective {now:.3} -> {then:.3} ({:+.0} %)", expected * 100.0));
    }
    let mut terms: Vec<String> = Vec::new();
    for t in &prediction.score.terms {
        let Some(now) = state.score.term(t.party.guest) else { continue };
        if (t.party.speed - now.party.speed).abs() >= 0.01 {
            let (from, to) = (now.party.speed * 100.0, t.party.speed * 100.0);
            terms.push(format!("{} {from:.0} % -> {to:.0} % of its speed alone", t.party.name));
        }
    }
    if terms.len() > NAMED {
        let more = terms.len() - NAMED;
        terms.truncate(NAMED);
        terms.push(format!("{more} more"));
    }
    if !terms.is_empty() {
        text.push_str(&format!("; {}", terms.join(", ")));
    }
    let tightest = prediction
        .score
        .terms
        .iter()
        .filter(|t| t.floor > 0.0)
        .min_by(|a, b| (a.party.run / a.floor).total_cmp(&(b.party.run / b.floor)));
    if let Some(t) = tightest {
        text.push_str(&format!(
            "; closest to its floor is {} with {:.2} CPU expected of at least {:.2}",
            t.party.name, t.party.run, t.floor
        ));
    }
    text.push('.');
    text
}
