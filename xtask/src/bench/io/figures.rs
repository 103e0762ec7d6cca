//! The rates, in MiB/s, in what IOR, iozone and trimtab-bench print and write.
//!
//! May not: run anything, or make a rate out of text that is not one.

use serde_json::Value;
use std::collections::BTreeMap;

/// Columns of iozone's table behind the sizes. Test 8 is in throughput mode only.
const COLUMNS: [&str; 21] = [
    "write",
    "rewrite",
    "read",
    "reread",
    "random-read",
    "random-write",
    "backward-read",
    "record-rewrite",
    "stride-read",
    "fwrite",
    "frewrite",
    "fread",
    "freread",
    "pwrite",
    "repwrite",
    "pread",
    "repread",
    "pwritev",
    "repwritev",
    "preadv",
    "repreadv",
];

/// How many of them a build has: with neither pwrite nor pwritev, with pwrite, with both.
const WIDTHS: [usize; 3] = [13, 17, 21];

/// Where the column pread begins: it has eight places and no space before it, so that 9.5 GiB/s would be read as one number
/// with the column before.
const PREAD: usize = 161;

/// What iozone's throughput mode calls the processes of a test, and our name of it: those that one process does, too, and
/// the one that is only here.
pub(super) const DOERS: [(&str, &str); 5] = [
    ("initial writers", "write"),
    ("rewriters", "rewrite"),
    ("readers", "read"),
    ("re-readers", "reread"),
    ("mixed workload", "mix"),
];
/// Options for the tests of iozone's table: all that it runs in one process. trimtab-bench would also run test 8, the mix, after
/// which the third-level cache holds other parts of the file than when pwrite follows fread, as it does in iozone.
pub(super) const SINGLE_TESTS: [&str; 24] = [
    "-i", "0", "-i", "1", "-i", "2", "-i", "3", "-i", "4", "-i", "5", "-i", "6", "-i", "7", "-i", "9", "-i",
    "10", "-i", "11", "-i", "12",
];
/// Options for the tests of throughput mode.
pub(super) const DOERS_TESTS: [&str; 6] = ["-i", "0", "-i", "1", "-i", "8"];

/// Both of iozone's units are 1024 bytes a second.
fn from_kb(rate: f64) -> f64 {
    rate / 1024.0
}

/// The columns that the original's tables have; all if it printed none. What a build lacks is not a failure of ours.
pub(super) fn columns<'a>(tables: impl Iterator<Item = &'a BTreeMap<String, f64>>) -> Vec<&'static str> {
    let widest = tables.map(BTreeMap::len).max().unwrap_or(COLUMNS.len());
    COLUMNS[..widest.min(COLUMNS.len())].to_vec()
}

/// The first line of iozone's table: two sizes and as many rates as a build has.
pub(super) fn table(text: &str) -> Option<BTreeMap<String, f64>> {
    let numbers = |line: &str| -> Option<Vec<f64>> {
        let (head, tail) = line.split_at_checked(PREAD).unwrap_or((line, ""));
        let words = head.split_whitespace().chain(tail.split_whitespace());
        let all: Result<Vec<u64>, _> = words.map(str::parse).collect();
        Some(all.ok()?.into_iter().map(|n| n as f64).collect())
    };
    let row =
        text.lines().filter_map(numbers).find(|row| WIDTHS.iter().any(|width| row.len() == width + 2))?;
    Some(COLUMNS.iter().zip(&row[2..]).map(|(name, rate)| ((*name).to_owned(), from_kb(*rate))).collect())
}

/// The sums over the processes in iozone's throughput lines.
pub(super) fn throughput(text: &str) -> BTreeMap<String, f64> {
    let figure = |line: &str| {
        let (what, rate) = line.trim().strip_prefix("Children see throughput for")?.split_once('=')?;
        let doers = what.trim().trim_start_matches(|c: char| c.is_ascii_digit()).trim();
        let (_, name) = DOERS.iter().find(|(known, _)| *known == doers)?;
        let rate: f64 = rate.trim().strip_suffix("kB/sec")?.trim().parse().ok()?;
        Some(((*name).to_owned(), from_kb(rate)))
    };
    text.lines().filter_map(figure).collect()
}

/// The sums over the ranks in our document, if verified.
pub(super) fn ours(document: &Value) -> BTreeMap<String, f64> {
    let rows = document["results"].as_array().map_or(&[][..], Vec::as_slice);
    let sums = rows.iter().filter(|row| row["verified"] == true && row["params"].get("of").is_none());
    sums.filter_map(|row| Some((row["metric"].as_str()?.to_owned(), row["value"].as_f64()?))).collect()
}

/// Medians over the repetitions in IOR's summary; a repetition without a rate leaves none.
pub(super) fn ior(summary: &Value) -> BTreeMap<String, f64> {
    let results = summary["tests"][0]["Results"].as_array().map_or(&[][..], Vec::as_slice);
    let median = |access: &str| {
        let rates = results.iter().filter(|row| row["access"] == access).map(|row| row["bwMiB"].as_f64());
        let mut rates = rates.collect::<Option<Vec<f64>>>()?;
        rates.sort_by(f64::total_cmp);
        Some((access.to_owned(), *rates.get(rates.len() / 2)?))
    };
    ["write", "read"].into_iter().filter_map(median).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_is_as_wide_as_the_build() {
        let head = "\tFile size set to 262144 kB\n              kB  reclen    write  rewrite\n";
        let line = |rates: usize| (0..rates).map(|n| format!(" {}", (n + 1) * 1024)).collect::<String>();
        for width in WIDTHS {
            let text = format!("{head}          262144    1024{}\n\niozone test complete.\n", line(width));
            let rates = table(&text).expect("table");
            assert_eq!((rates.len(), rates["write"], rates["freread"]), (width, 1.0, 13.0));
            assert_eq!(columns([&rates].into_iter()).len(), width);
        }
        assert_eq!(table(&format!("{head} 262144 1024 {}", line(12))), None);
        assert_eq!(columns(std::iter::empty()).len(), 21);
    }

    #[test]
    fn a_pread_that_fills_its_column_is_a_rate_of_its_own() {
        let line = "          262144    1024  4911805  7492372  9248312  9212590  9474317  8429070 10022730  22038361   \
                    9920273  6192136  6424151  9682140  9987587  8481477  873753010018894 10170887  7057525   8608711   \
                    8007582  9735722\n";
        let rates = table(line).expect("table");
        assert_eq!((rates["repwrite"], rates["pread"]), (8_737_530.0 / 1024.0, 10_018_894.0 / 1024.0));
        assert_eq!(rates["repreadv"], 9_735_722.0 / 1024.0);
    }

    #[test]
    fn throughput_is_what_the_children_see() {
        let text = "\tChildren see throughput for  2 initial writers \t= 2097152.50 kB/sec\n\
                    \tParent sees throughput for  2 initial writers \t=  893331.20 kB/sec\n\
                    \tMin throughput per process \t\t\t= 1000000.00 kB/sec \n\
                    \tChildren see throughput for 2 re-readers \t\t= 1024.00 kB/sec\n\
                    \tChildren see throughput for 2 stride readers \t= 3.00 kB/sec\n\
                    \tChildren see throughput for 2 mixed workload \t= nothing\n";
        let rates = throughput(text);
        assert_eq!(rates.len(), 2, "{rates:?}");
        assert_eq!((rates["write"], rates["reread"]), (2_097_152.5 / 1024.0, 1.0));
    }

    #[test]
    fn only_verified_sums_of_ours_count() {
        let row = |metric: &str, verified: bool, params: Value| json!({"metric": metric, "value": 5.0, "verified": verified, "params": params});
        let document = json!({"results": [
            row("read", true, json!({"file": 1})), row("write", false, json!({})), row("mix", true, json!({"of": "min"})),
        ]});
        assert_eq!(ours(&document), BTreeMap::from([("read".to_owned(), 5.0)]));
    }

    #[test]
    fn the_median_of_ior_counts_and_a_withheld_rate_leaves_none() {
        let row = |access: &str, rate: Value| json!({"access": access, "bwMiB": rate, "iops": 1.0});
        let summary = |last: Value| {
            json!({"tests": [{"TestID": 0, "Results": [
                row("write", json!(4.0)), row("read", json!(9.0)), row("write", json!(1.0)), row("write", last),
            ]}]})
        };
        let rates = ior(&summary(json!(2.0)));
        assert_eq!((rates["write"], rates["read"]), (2.0, 9.0));
        assert_eq!(ior(&summary(Value::Null)).get("write"), None);
        assert!(ior(&json!({})).is_empty());
    }
}
