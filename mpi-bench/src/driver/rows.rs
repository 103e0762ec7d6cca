//! From readings per rank and lap to the rows of the result. Pure. The one place that decides whether a figure may be shown.

use serde_json::Value;

use crate::kernel::{Check, Facts, Join, Reading, Spec, Variant};
use crate::result::{Outcome, Row};
use crate::stats;

/// One lap's readings of all ranks as one, by each metric's rule. Ranks that reported nothing are left out.
pub(super) fn join_ranks(spec: &Spec, ranks: Vec<Vec<Reading>>) -> Vec<Reading> {
    let ranks: Vec<Vec<Reading>> = ranks.into_iter().filter(|r| !r.is_empty()).collect();
    let Some((first, _)) = ranks.split_first() else { return Vec::new() };
    let join = |at: usize, reading: &Reading| {
        let values: Vec<f64> = ranks.iter().filter_map(|rank| rank.get(at)).map(|r| r.value).collect();
        let rule = spec.metrics.iter().find(|m| m.name == reading.metric).map_or(Join::Mean, |m| m.star);
        let sum: f64 = values.iter().sum();
        let value = match rule {
            Join::Mean => sum / values.len() as f64,
            Join::Sum => sum,
            Join::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
            Join::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        };
        Reading { value, ..reading.clone() }
    };
    first.iter().enumerate().map(|(at, reading)| join(at, reading)).collect()
}

/// One lap's verdict: every rank must pass, the worst residual counts. No verdict at all is a failure.
pub(super) fn join_checks(checks: &[Check]) -> Check {
    let passed = !checks.is_empty() && checks.iter().all(|c| c.passed);
    let residual = checks.iter().filter_map(|c| c.residual).reduce(worse);
    let shown = checks.iter().find(|c| !c.passed).or(checks.first());
    Check { passed, residual, detail: shown.map_or_else(|| "no verdict".to_owned(), |c| c.detail.clone()) }
}

/// The larger residual; NaN is worst.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// A reading's parameter; where the laps differ in it (the CPU, the page cache), each of its values once.
fn of_all_laps(laps: &[Vec<Reading>], at: usize, key: &str) -> Value {
    let mut values: Vec<Value> = Vec::new();
    for value in laps.iter().filter_map(|lap| lap.get(at)?.params.get(key)) {
        if !values.contains(value) {
            values.push(value.clone());
        }
    }
    if values.len() == 1 { values.remove(0) } else { values.into() }
}

/// The rows of all laps. If any lap failed, rows carry no value and no samples.
pub(super) fn outcome(
    spec: &'static Spec,
    variant: Variant,
    params: &Facts,
    facts: Facts,
    laps: &[Vec<Reading>],
    checks: &[Check],
) -> Outcome {
    let check = join_checks(checks);
    let first = laps.first().map(Vec::as_slice).unwrap_or_default();
    let row = |(at, reading): (usize, &Reading)| {
        let samples: Vec<f64> = match check.passed {
            true => laps.iter().filter_map(|lap| lap.get(at)).map(|r| r.value).collect(),
            false => Vec::new(),
        };
        let summary = stats::summary(&samples);
        let mut all = params.clone();
        all.extend(reading.params.keys().map(|key| (key.clone(), of_all_laps(laps, at, key))));
        Row {
            name: spec.name.to_owned(),
            variant,
            params: all,
            metric: reading.metric.clone(),
            unit: spec.metrics.iter().find(|m| m.name == reading.metric).map_or("", |m| m.unit).to_owned(),
            value: summary.map(|s| s.mean),
            ci95: summary.and_then(|s| s.ci95()),
            samples,
            verified: check.passed,
            residual: check.residual,
        }
    };
    Outcome {
        spec,
        variant,
        rows: first.iter().enumerate().map(row).collect(),
        facts: if check.passed { facts } else { Facts::new() },
        detail: check.detail,
        verified: check.passed,
        rendered: None,
        charts: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{join_checks, join_ranks, outcome};
    use crate::kernel::{Check, Facts, Family, Join, Metric, Reading, Spec, Variant};

    static SPEC: Spec = Spec {
        name: "x",
        family: Family::Hpcc,
        summary: "",
        source: "",
        variants: &[Variant::Star],
        min_ranks: 1,
        metrics: &[Metric::rate("mean", "GB/s"), Metric::rate("min", "GB/s").star(Join::Min)],
        params: &[],
    };

    fn lap(a: f64, b: f64) -> Vec<Reading> {
        vec![Reading::new("mean", a), Reading::new("min", b)]
    }

    #[test]
    fn ranks_join_by_the_metric_and_silent_ranks_do_not_count() {
        let joined = join_ranks(&SPEC, vec![lap(1.0, 1.0), Vec::new(), lap(3.0, 3.0)]);
        assert_eq!(joined, lap(2.0, 1.0));
    }

    #[test]
    fn nan_and_one_failing_rank_fail_all() {
        assert!(!Check::at_most("residual", f64::NAN, 16.0).passed);
        let checks = [Check::at_most("r", 1.0, 16.0), Check::at_most("r", f64::NAN, 16.0)];
        let joined = join_checks(&checks);
        assert!(!joined.passed && joined.residual.is_some_and(f64::is_nan));
        assert!(!join_checks(&[]).passed);
    }

    #[test]
    fn a_parameter_that_differs_between_laps_shows_all_its_values() {
        let lap = |cpu: u64| vec![Reading::new("mean", 1.0).with("rank", 0).with("cpu", cpu)];
        let checks = vec![Check::exact("elements", 0); 3];
        let laps = [lap(1), lap(3), lap(1)];
        let out = outcome(&SPEC, Variant::Star, &Facts::new(), Facts::new(), &laps, &checks);
        assert_eq!(
            out.rows[0].params,
            Facts::from([("rank".to_owned(), 0.into()), ("cpu".to_owned(), vec![1, 3].into())])
        );
    }

    #[test]
    fn a_failed_lap_leaves_no_figure_at_all() {
        let good = Check::exact("elements", 0);
        let bad = Check::exact("elements", 1);
        let facts = Facts::from([("t".to_owned(), 1.into())]);
        let out = outcome(
            &SPEC,
            Variant::Star,
            &Facts::new(),
            facts,
            &[lap(1.0, 2.0), lap(1.0, 2.0)],
            &[good, bad],
        );
        assert!(!out.verified && out.facts.is_empty());
        for row in &out.rows {
            assert!(row.value.is_none() && row.samples.is_empty() && row.ci95.is_none() && !row.verified);
        }
    }
}
