//! Text for people: the kernel list and the result tables. Numbers are rounded here and nowhere else.

use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::{Value, json};

use crate::registry::Entry;
use crate::result::{Outcome, Row};

/// Writes to standard output; a reader that went away (`| head`) is no error of ours.
pub fn out(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Every kernel with metrics, units, variants, parameters and source.
#[must_use]
pub fn list(entries: &[Entry], as_json: bool) -> String {
    if as_json {
        let kernels: Vec<Value> = entries.iter().map(describe).collect();
        return format!("{:#}\n", Value::from(kernels));
    }
    let mut text = String::new();
    for entry in entries {
        let spec = entry.spec;
        let variants: Vec<&str> = spec.variants.iter().map(|v| v.name()).collect();
        // Writing to a String cannot fail.
        let _ =
            writeln!(text, "{:<18} {} [{}; {}]", spec.name, spec.summary, variants.join(" "), spec.source);
        let metrics: Vec<String> = spec.metrics.iter().map(|m| format!("{} ({})", m.name, m.unit)).collect();
        let _ = writeln!(text, "{:<18}   {}", "", metrics.join(", "));
        for param in spec.params {
            let _ = writeln!(text, "{:<18}   --param {}: {}", "", param.name, param.help);
        }
    }
    text
}

fn describe(entry: &Entry) -> Value {
    let spec = entry.spec;
    let metrics = spec
        .metrics
        .iter()
        .map(|m| json!({"name": m.name, "unit": m.unit, "higher_is_better": m.higher_is_better}));
    let params = spec.params.iter().map(|p| json!({"name": p.name, "help": p.help}));
    json!({
        "name": spec.name,
        "family": spec.family,
        "summary": spec.summary,
        "source": spec.source,
        "variants": spec.variants,
        "min_ranks": spec.min_ranks,
        "metrics": metrics.collect::<Vec<_>>(),
        "params": params.collect::<Vec<_>>(),
    })
}

/// One outcome: the kernel's own form with the verdict as a comment below, or a line per metric. A result that did not verify
/// shows no figure.
#[must_use]
pub fn outcome(outcome: &Outcome) -> String {
    if let Some(own) = &outcome.rendered {
        return format!("{own}# {}\n", verdict(outcome).trim_start());
    }
    let mut text = String::new();
    for row in &outcome.rows {
        let _ = writeln!(text, "{}", line(row));
    }
    text + &verdict(outcome) + "\n"
}

fn verdict(outcome: &Outcome) -> String {
    let word = if outcome.verified { "verified" } else { "VERIFICATION FAILED, figures withheld" };
    format!("  {} {}: {word} ({})", outcome.spec.name, outcome.variant.name(), outcome.detail)
}

fn line(row: &Row) -> String {
    let params: Vec<String> =
        row.params.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect();
    let figure = match row.value {
        Some(value) => format!("{:>12} {:<8}", significant(value), row.unit),
        None => format!("{:>12} {:<8}", "invalid", ""),
    };
    let spread = match row.ci95 {
        Some([low, high]) => format!(" [{} .. {}]", significant(low), significant(high)),
        None => String::new(),
    };
    let name = format!("{} {}", row.name, row.variant.name());
    format!("{name:<24} {:<14} {figure}{spread}  {}", row.metric, params.join(" "))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Five significant digits without an exponent where that stays readable.
#[must_use]
pub fn significant(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || !(1e-5..1e9).contains(&magnitude) {
        return format!("{value:.4e}");
    }
    let decimals = (4 - magnitude.log10().floor() as i32).clamp(0, 9);
    format!("{value:.*}", usize::try_from(decimals).unwrap_or(0))
}

/// Bytes in the largest binary unit that leaves at least 1: `1 MiB`, `1.5 GiB`.
#[must_use]
pub fn grouped_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value >= 1024.0 {
            (value, unit) = (value / 1024.0, next);
        }
    }
    let decimals = usize::from(value.fract() != 0.0) * 2;
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::{grouped_bytes, significant};

    #[test]
    fn bytes_with_their_unit() {
        for (bytes, text) in [(100, "100 bytes"), (1 << 20, "1 MiB"), (3 << 29, "1.50 GiB")] {
            assert_eq!(grouped_bytes(bytes), text);
        }
    }

    #[test]
    fn five_digits() {
        for (value, text) in
            [(123.456, "123.46"), (0.012345, "0.012345"), (99999.4, "99999"), (0.0, "0.0000e0")]
        {
            assert_eq!(significant(value), text);
        }
        assert_eq!(significant(1.5e12), "1.5000e12");
    }
}
