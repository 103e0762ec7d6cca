//! mdtest with every parameter: what it says it did, and the rows that it prints.

use serde_json::{Value, json};

use crate::launch::{mpirun, run_json, text};

/// mdtest's names of the rows in their order.
const ROWS: [(&str, &str); 10] = [
    ("tree-create", "Tree creation"),
    ("dir-create", "Directory creation"),
    ("dir-stat", "Directory stat"),
    ("dir-rename", "Directory rename"),
    ("dir-remove", "Directory removal"),
    ("file-create", "File creation"),
    ("file-stat", "File stat"),
    ("file-read", "File read"),
    ("file-remove", "File removal"),
    ("tree-remove", "Tree removal"),
];

#[test]
fn every_parameter_is_followed_and_verified() {
    let cases: [(&str, Value); 3] = [
        (
            "unique=yes branch=2 depth=2 stride=1 bytes=3901 sync=yes",
            json!({"unique": true, "branch": 2, "depth": 2, "stride": 1, "bytes": 3901, "sync": true}),
        ),
        ("unique=yes stride=0 bytes=8", json!({"unique": true, "stride": 0, "depth": 0, "sync": false})),
        // One more than there are ranks: the same as 1.
        ("branch=3 depth=1 stride=4 bytes=600", json!({"unique": false, "branch": 3, "stride": 1})),
    ];
    for (params, expected) in cases {
        let dir = tempfile::tempdir().expect("tempdir");
        let at = dir.path().display().to_string();
        let mut args = vec!["run", "mdtest", "--param", "items=20", "--dir", &at, "--timeout", "60"];
        args.extend(params.split(' ').flat_map(|param| ["--param", param]));
        let document = run_json(3, &args, dir.path(), 0);
        let rows = document["results"].as_array().expect("results");
        let metrics: Vec<&str> = rows.iter().filter_map(|row| row["metric"].as_str()).collect();
        assert_eq!(metrics, ROWS.map(|(metric, _)| metric), "{params}");
        for row in rows {
            assert_eq!(row["verified"], true, "{params}: {row}");
            for (name, value) in expected.as_object().expect("an object") {
                assert_eq!(&row["params"][name], value, "{params}: {name}");
            }
        }
        let left: Vec<_> = std::fs::read_dir(dir.path()).expect("directory").flatten().collect();
        assert_eq!(left.len(), 1, "only the JSON is left: {left:?}");
    }
}

#[test]
fn the_rows_are_those_of_mdtest() {
    let dir = tempfile::tempdir().expect("tempdir");
    let json = dir.path().join("out.json");
    let mut command = mpirun(2);
    command.args(["run", "mdtest", "--param", "items=20", "--repeat", "3", "--timeout", "60", "--dir"]);
    let output = command.arg(dir.path()).arg("--json").arg(&json).output().expect("the launcher starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let document: Value =
        serde_json::from_str(&std::fs::read_to_string(&json).expect("JSON")).expect("valid JSON");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = shown.lines().skip_while(|line| !line.contains("SUMMARY rate (in ops/sec)"));
    let mut lines = lines.skip(1);
    let head: Vec<&str> = lines.next().expect("a heading").split_whitespace().collect();
    assert_eq!(head, ["Operation", "Max", "Min", "Mean", "Std", "Dev"]);
    for (metric, name) in ROWS {
        let line = lines.next().unwrap_or_default();
        assert!(line.trim_start().starts_with(name), "{name}: {line}");
        let figures: Vec<f64> = line.trim_start()[name.len()..]
            .split_whitespace()
            .map(|f| f.parse().expect("a number"))
            .collect();
        let rows = document["results"].as_array().expect("results");
        let row = rows.iter().find(|row| row["metric"] == metric).expect("its row");
        let samples: Vec<f64> =
            row["samples"].as_array().expect("samples").iter().filter_map(Value::as_f64).collect();
        let most = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
        let mean = samples.iter().sum::<f64>() / samples.len() as f64;
        assert_eq!((samples.len(), figures.len()), (3, 4), "{line}");
        for (found, expected) in figures.iter().zip([most, least, mean]) {
            assert!((found - expected).abs() <= 0.001, "{line}: {samples:?}");
        }
        assert!(figures[3] >= 0.0, "{line}");
    }
}
