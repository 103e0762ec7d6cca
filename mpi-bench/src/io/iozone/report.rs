//! iozone's own forms of its figures: the table (kB/s), the throughput lines, the spreadsheet blocks; and the surfaces.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::ops::{self, Op, TESTS};
use crate::result::Row;
use crate::svg::{Chart, Plot};

/// What a row is about.
struct Cell<'a> {
    op: &'static Op,
    file: u64,
    record: u64,
    /// `min`, `avg`, `max`, `parent`; `None`: the sum over the ranks.
    of: Option<&'a str>,
    mib_per_second: f64,
}

fn cells(rows: &[Row]) -> Vec<Cell<'_>> {
    let cell = |row: &'_ Row| -> Option<_> {
        let number = |key: &str| row.params.get(key)?.as_u64();
        Some((ops::find(&row.metric)?, number("file")?, number("record")?, row.value?))
    };
    let with_of = |row| {
        let (op, file, record, mib_per_second) = cell(row)?;
        let of = row.params.get("of").and_then(|v| v.as_str());
        Some(Cell { op, file, record, of, mib_per_second })
    };
    rows.iter().filter_map(with_of).collect()
}

fn kb(mib_per_second: f64) -> f64 {
    mib_per_second * 1024.0
}

/// The text of all rows; `None` if there are none.
pub(super) fn text(rows: &[Row]) -> Option<String> {
    let first = rows.first()?;
    let flag = |key: &str| first.params.get(key).and_then(serde_json::Value::as_bool).unwrap_or(false);
    let ranks = first.params.get("ranks").and_then(serde_json::Value::as_u64).unwrap_or(1);
    let cells = cells(rows);
    let mut text = String::from("\tOutput is in kBytes/sec\n");
    for (wanted, note) in [
        ("time_sync", "Include fsync in write timing"),
        ("time_close", "Include close in write timing"),
        ("sync", "SYNC Mode."),
        ("direct", "O_DIRECT feature enabled"),
    ] {
        if flag(wanted) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\t{note}");
        }
    }
    match ranks {
        1 => table(&mut text, &cells),
        _ => throughput(&mut text, &cells, ranks),
    }
    if flag("excel") {
        excel(&mut text, &cells);
    }
    Some(text)
}

/// The measurements that occur, in iozone's order.
fn occurring(cells: &[Cell<'_>]) -> Vec<&'static Op> {
    let occurs = |op: &&Op| cells.iter().any(|cell| cell.op.name == op.name);
    TESTS.iter().flat_map(|ops| ops.iter()).filter(occurs).collect()
}

/// A line per pair of sizes, a column per measurement.
fn table(text: &mut String, cells: &[Cell<'_>]) {
    let columns = occurring(cells);
    let _ = write!(text, "{:>16}{:>8}", "kB", "reclen");
    for op in &columns {
        let _ = write!(text, "{:>15}", op.name);
    }
    text.push('\n');
    let pairs: BTreeSet<(u64, u64)> = cells.iter().map(|cell| (cell.file, cell.record)).collect();
    for (file, record) in pairs {
        let _ = write!(text, "{:>16}{:>8}", file >> 10, record >> 10);
        for op in &columns {
            match value(cells, op, file, record) {
                Some(rate) => {
                    let _ = write!(text, "{:>15.0}", kb(rate));
                }
                None => text.push_str(&" ".repeat(15)),
            }
        }
        text.push('\n');
    }
}

fn value(cells: &[Cell<'_>], op: &Op, file: u64, record: u64) -> Option<f64> {
    let same = |cell: &&Cell<'_>| {
        cell.op.name == op.name && (cell.file, cell.record) == (file, record) && cell.of.is_none()
    };
    cells.iter().find(same).map(|cell| cell.mib_per_second)
}

/// Five lines per measurement, as iozone's `-t` prints them.
fn throughput(text: &mut String, cells: &[Cell<'_>], ranks: u64) {
    let _ = writeln!(text, "\tThroughput test with {ranks} processes");
    let mut shown = None;
    for cell in cells {
        if cell.of.is_none() && shown != Some((cell.file, cell.record)) {
            shown = Some((cell.file, cell.record));
            let (file, record) = (cell.file >> 10, cell.record >> 10);
            let _ = writeln!(text, "\tEach process writes a {file} kByte file in {record} kByte records\n");
        }
        let name = match cell.of {
            None => format!("Children see throughput for {ranks:>2} {}", cell.op.doers),
            Some("min") => "Min throughput per process".to_owned(),
            Some("avg") => "Avg throughput per process".to_owned(),
            Some("max") => "Max throughput per process".to_owned(),
            Some(_) => format!("Parent sees throughput for {ranks:>2} {}", cell.op.doers),
        };
        let _ = writeln!(text, "\t{name:<47} = {:>11.2} kB/sec", kb(cell.mib_per_second));
    }
}

/// A block per measurement: file sizes down, record sizes across, all in kB.
fn excel(text: &mut String, cells: &[Cell<'_>]) {
    let records: BTreeSet<u64> = cells.iter().map(|cell| cell.record).collect();
    let files: BTreeSet<u64> = cells.iter().map(|cell| cell.file).collect();
    for op in occurring(cells) {
        let _ = writeln!(text, "\n\"{} report\"", op.title);
        let heads: Vec<String> = records.iter().map(|record| format!("\"{}\"", record >> 10)).collect();
        let _ = writeln!(text, "        {}", heads.join("  "));
        for &file in &files {
            let rates = records.iter().filter_map(|&record| value(cells, op, file, record));
            let rates: Vec<String> = rates.map(|rate| format!("{:.0}", kb(rate))).collect();
            let _ = writeln!(text, "\"{}\"   {} ", file >> 10, rates.join("  "));
        }
    }
}

/// A surface per measurement of a sweep.
pub(super) fn charts(rows: &[Row]) -> Vec<Chart> {
    let cells = cells(rows);
    let sorted = |of: fn(&Cell<'_>) -> u64| cells.iter().map(of).collect::<BTreeSet<u64>>();
    let (files, records) = (sorted(|cell| cell.file), sorted(|cell| cell.record));
    if files.len() < 2 || records.len() < 2 {
        return Vec::new();
    }
    let axis =
        |name: &str, sizes: &BTreeSet<u64>| (name.to_owned(), sizes.iter().map(|&n| n as f64).collect());
    let chart = |op: &'static Op| Chart {
        name: format!("iozone-{}", op.name),
        title: format!("iozone: {}", op.title),
        unit: "MiB/s".to_owned(),
        plot: Plot::Surface {
            x: axis("file", &files),
            z: axis("record", &records),
            values: records
                .iter()
                .map(|&record| files.iter().map(|&file| value(&cells, op, file, record)).collect())
                .collect(),
        },
    };
    occurring(&cells).into_iter().map(chart).collect()
}
