//! OSU's text: a header of comment lines, then a line per message size. From rows; no communication, no rounding elsewhere.

use std::fmt::Write as _;

use serde_json::Value;

use crate::result::Row;

/// Width of the size column and of every other.
const SIZE_WIDTH: usize = 10;
const WIDTH: usize = 18;

/// OSU's heading of a metric.
fn heading(metric: &str, alone: bool) -> &'static str {
    match metric {
        "latency" => "Latency (us)",
        "bandwidth" if alone => "Bandwidth (MB/s)",
        "bandwidth" => "MB/s",
        "message_rate" => "Messages/s",
        "avg" => "Avg Latency(us)",
        "min" => "Min Latency(us)",
        "max" => "Max Latency(us)",
        _ => "P99 Tail Lat(us)",
    }
}

/// The table of one kernel's verified rows; `None` if there are none.
pub(super) fn table(title: &str, notes: &[&str], rows: &[Row]) -> Option<String> {
    let first = rows.first()?;
    let size = |row: &Row| row.params.get("bytes").and_then(Value::as_u64);
    let mut text = format!("# {title} (trimtab-bench {}, form of OSU 7.4)\n", env!("CARGO_PKG_VERSION"));
    for note in notes {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# {note}");
    }
    let param = |name: &str| first.params.get(name).and_then(Value::as_u64);
    if let (Some(pairs), Some(window)) = (param("pairs"), param("window")) {
        let _ = writeln!(text, "# [ pairs: {pairs} ] [ window size: {window} ]");
    }
    let columns: Vec<&Row> = rows.iter().take_while(|row| size(row) == size(first)).collect();
    match size(first) {
        Some(_) => text += &format!("{:<SIZE_WIDTH$}", "# Size"),
        None => text += "#",
    }
    for row in &columns {
        let _ = write!(text, "{:>WIDTH$}", heading(&row.metric, columns.len() == 1));
    }
    text.push('\n');
    for line in rows.chunks(columns.len()) {
        if let Some(bytes) = size(&line[0]) {
            let _ = write!(text, "{bytes:<SIZE_WIDTH$}");
        }
        for row in line {
            let _ = write!(text, "{:>WIDTH$.2}", row.value?);
        }
        text.push('\n');
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::table;
    use crate::kernel::Variant;
    use crate::result::Row;

    fn row(metric: &str, value: f64, params: &[(&str, u64)]) -> Row {
        Row {
            name: "osu-x".to_owned(),
            variant: Variant::Mpi,
            params: params
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).into()))
                .collect::<BTreeMap<_, _>>(),
            metric: metric.to_owned(),
            unit: "us".to_owned(),
            value: Some(value),
            ci95: None,
            samples: vec![value],
            verified: true,
            residual: None,
        }
    }

    #[test]
    fn columns_are_where_parsers_of_osu_expect_them() {
        let rows =
            [row("latency", 0.583, &[("bytes", 1)]), row("latency", 5630.914, &[("bytes", 4_194_304)])];
        let text = table("OSU MPI Latency Test", &["Datatype: MPI_CHAR."], &rows).expect("rows");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("# OSU MPI Latency Test"));
        assert_eq!(lines[1], "# Datatype: MPI_CHAR.");
        assert_eq!(lines[2], "# Size          Latency (us)");
        assert_eq!(lines[3], "1                       0.58");
        assert_eq!(lines[4], "4194304              5630.91");
    }

    #[test]
    fn several_metrics_share_a_line_and_no_size_needs_no_column() {
        let pairs = [("bytes", 1), ("pairs", 2), ("window", 64)];
        let rows = [row("bandwidth", 3.0, &pairs), row("message_rate", 3e6, &pairs)];
        let text = table("OSU", &[], &rows).expect("rows");
        assert!(text.contains(
            "# [ pairs: 2 ] [ window size: 64 ]\n# Size                  MB/s        Messages/s\n"
        ));
        assert!(text.ends_with("1                       3.00        3000000.00\n"), "{text}");
        let text = table("OSU", &[], &[row("avg", 1.0, &[]), row("min", 0.5, &[])]).expect("rows");
        assert!(
            text.ends_with("#   Avg Latency(us)   Min Latency(us)\n              1.00              0.50\n"),
            "{text}"
        );
        assert_eq!(table("OSU", &[], &[]), None);
    }
}
