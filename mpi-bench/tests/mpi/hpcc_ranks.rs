//! HPCC on other numbers of ranks than two: suite hpcc with small problems, on grids of one and of two dimensions, with every
//! panel broadcast and look-ahead of HPL in both orders of the ranks; RandomAccess where ranks are no power of two, FFT with a
//! rank that has nothing to do, and PTRANS on the same grids. Every single result must verify.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use crate::launch::{is_mpich, mpirun, run_json, text};

/// HPL's order, no multiple of the block size: the last block is short, and so is that of some process rows and columns.
const N: usize = 50;
const NB: usize = 16;
/// HPL's broadcasts by number (4 and 5 are one here), its look-aheads.
const BCASTS: [&str; 5] = ["1rg", "1rm", "2rg", "2rm", "lng"];
const DEPTHS: [u64; 2] = [0, 1];

/// Ranks, grids (P, Q), and whether the ranks are placed by columns.
type Case = (u32, &'static [(u64, u64)], bool);

/// hpccinf.txt with these grids.
fn input(grids: &[(u64, u64)], column_major: bool) -> String {
    let list = |numbers: Vec<u64>| numbers.iter().fold(String::new(), |text, n| text + &format!("{n} "));
    let (p, q) = grids.iter().copied().unzip();
    let mut text = format!(
        "head\nhead\nHPL.out\n8\n1\n{N} Ns\n1\n{NB} NBs\n{}\n{}\n",
        u8::from(column_major),
        grids.len()
    );
    let _ = write!(text, "{} Ps\n{} Qs\n16.0\n", list(p), list(q));
    text += "1\n2\n1\n4\n1\n2\n1\n1\n";
    let _ = write!(
        text,
        "{}\n{} BCASTs\n2\n0 1 DEPTHs\n",
        BCASTS.len(),
        list((0..BCASTS.len() as u64).collect())
    );
    // PTRANS also with more blocks than there are places, the last one short.
    text + "2\n64\n0\n0\n1\n8\n##### separator #####\n1\n101\n1\n7\n"
}

/// Runs the suite; its rows, all verified.
fn suite(ranks: u32, input: &str) -> Vec<Value> {
    let dir = tempfile::tempdir().expect("tempdir");
    fs::write(dir.path().join("hpccinf.txt"), input).expect("input");
    // One rank has nobody to talk to: b_eff is left out then, and its parameter would be an error.
    let small: &[&str] = if ranks > 1 { &["--param", "bandwidth_bytes=4k"] } else { &[] };
    let mut command = mpirun(ranks);
    command.current_dir(dir.path()).args(["suite", "hpcc", "--json", "out.json", "--timeout", "100"]);
    let output = command.args(small).output();
    let output = output.expect("the launcher starts");
    assert_eq!(output.status.code(), Some(0), "{ranks} ranks: {}", text(&output));
    let json = fs::read_to_string(dir.path().join("out.json")).expect("JSON written");
    let document: Value = serde_json::from_str(&json).expect("valid JSON");
    let rows = document["results"].as_array().expect("results").clone();
    for row in &rows {
        assert_eq!(row["verified"], true, "{ranks} ranks: {row}");
        assert!(row["value"].as_f64().is_some_and(|value| value > 0.0), "{ranks} ranks: {row}");
    }
    rows
}

/// The different values of a parameter list in the rows of a kernel.
fn seen(rows: &[Value], kernel: &str, variant: &str, params: &[&str]) -> BTreeSet<String> {
    let of = rows.iter().filter(|row| row["name"] == kernel && row["variant"] == variant);
    of.map(|row| params.iter().map(|name| format!("{} ", row["params"][name])).collect()).collect()
}

#[test]
fn every_kernel_verifies_on_any_number_of_ranks_and_any_grid() {
    let grids: [Case; 4] = [
        (1, &[(1, 1)], false),
        (3, &[(1, 3), (3, 1)], false),
        (4, &[(2, 2), (1, 4)], true),
        (8, &[(2, 4)], false),
    ];
    if is_mpich() {
        return a_few_grids();
    }
    for (ranks, grids, column_major) in grids {
        let rows = suite(ranks, &input(grids, column_major));
        let order = if column_major { "column" } else { "row" };
        let mut expected = BTreeSet::new();
        for (p, q) in grids {
            for (bcast, depth) in BCASTS.iter().flat_map(|b| DEPTHS.map(move |d| (b, d))) {
                expected.insert(format!("{p} {q} \"{order}\" \"{bcast}\" {depth} "));
            }
        }
        assert_eq!(seen(&rows, "hpl", "mpi", &["p", "q", "pmap", "bcast", "depth"]), expected);
        let expected: BTreeSet<String> = grids.iter().map(|(p, q)| format!("{p} {q} ")).collect();
        assert_eq!(seen(&rows, "ptrans", "mpi", &["p", "q"]), expected);
        for kernel in ["random-access", "random-access-lcg", "fft"] {
            assert_eq!(seen(&rows, kernel, "mpi", &[]).len(), 1, "{kernel} on {ranks}");
        }
        let computing = 1 << ranks.ilog2();
        assert_eq!(seen(&rows, "fft", "mpi", &["ranks"]), BTreeSet::from([format!("{computing} ")]));
        assert_eq!(seen(&rows, "b-eff", "mpi", &[]).is_empty(), ranks == 1);
    }
}

/// MPICH's ranks spin while they wait, so that the whole suite on more ranks than cores takes minutes: one run of each kernel on each
/// kind of grid instead.
fn a_few_grids() {
    for (ranks, p, depth, bcast, order) in
        [(3, "3", "0", "1rm", "row"), (3, "1", "1", "lng", "row"), (4, "2", "0", "2rm", "column")]
    {
        let dir = tempfile::tempdir().expect("tempdir");
        let params =
            [("n", "33"), ("nb", "16"), ("p", p), ("depth", depth), ("bcast", bcast), ("pmap", order)];
        let params: Vec<String> =
            params.iter().map(|(name, value)| format!("--param={name}={value}")).collect();
        let mut args = vec!["run", "hpl", "ptrans", "random-access", "random-access-lcg", "fft"];
        args.extend(["--variant", "mpi", "--size", "16k", "--timeout", "100"]);
        args.extend(params.iter().map(String::as_str));
        let document = run_json(ranks, &args, dir.path(), 0);
        let rows = document["results"].as_array().expect("results");
        assert_eq!(rows.len(), 6, "HPL has two metrics");
        for row in rows {
            assert_eq!(row["verified"], true, "{ranks} ranks: {row}");
        }
    }
}
