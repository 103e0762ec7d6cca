//! Code compiled for an instruction set runs only where all of it was asked for: a CPU, or a hypervisor that hides a part of
//! it, may have AVX-512F without AVX-512VL, and one instruction too many ends the program.

use crate::tree;
use std::collections::BTreeSet;

/// What the compiler takes for granted with a feature, by rustc's table.
const IMPLIED: [(&str, &[&str]); 1] = [("avx512f", &["avx2", "fma", "f16c"])];

/// Beginnings of the names of features that are not in every x86-64.
const OPTIONAL: [&str; 7] = ["avx", "fma", "f16c", "bmi", "lzcnt", "popcnt", "sse4"];

type Features = BTreeSet<String>;

/// The string literals of a piece of code, without comments.
fn literals(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

/// The features that a literal names, as `target_feature` has them; none if it is about something else.
fn features(literal: &str) -> Features {
    let all: Features = literal.split(',').map(str::to_owned).collect();
    // "avx512" alone is a name that people give, not a feature.
    let known = |name: &String| OPTIONAL.iter().any(|start| name.starts_with(start)) && name != "avx512";
    if all.iter().all(known) { all } else { Features::new() }
}

/// Every set of features that something is compiled for and that no single condition of the file asks for.
fn not_asked_for(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let (mut asked, mut used) = (Vec::new(), BTreeSet::new());
    for piece in code.split(['{', '}', ';']) {
        let named: Vec<Features> = literals(piece).map(features).filter(|named| !named.is_empty()).collect();
        if piece.contains("detected!") {
            asked.push(named.into_iter().flatten().collect::<Features>());
        } else {
            used.extend(named);
        }
    }
    let missing = used.into_iter().filter(|used| {
        let mut all = used.clone();
        for (_, with) in IMPLIED.iter().filter(|(feature, _)| used.contains(*feature)) {
            all.extend(with.iter().map(|&name| name.to_owned()));
        }
        !asked.iter().any(|asked| all.is_subset(asked))
    });
    missing.map(|features| features.into_iter().collect::<Vec<_>>().join(",")).collect()
}

#[test]
fn what_is_compiled_for_an_instruction_set_asks_for_all_of_it() {
    let mut findings = Vec::new();
    let mut seen = 0;
    for (path, text) in tree::files("mpi-bench", "rs") {
        if !text.contains("[target_feature(enable") {
            continue;
        }
        seen += 1;
        findings.extend(not_asked_for(&text).iter().map(|features| format!("{path}: {features}")));
    }
    assert!(seen >= 7, "only {seen} files with code for an instruction set");
    tree::none(
        &findings,
        "features used that no one condition of the file asks for (xtask/tests/rules/features.rs)",
    );
}

#[test]
fn a_feature_not_asked_for_is_found() {
    let code = |asked: &str, used: &str| {
        format!("fn f() {{ if {asked} {{ g() }} }}\n#[target_feature(enable = \"{used}\")]\nfn g() {{}}")
    };
    let one = "is_x86_feature_detected!(\"avx512f\")";
    let all = "detected!(\"avx512f\", \"avx2\", \"fma\", \"f16c\")";
    assert_eq!(not_asked_for(&code(one, "avx512f,avx512vl")), ["avx512f,avx512vl"]);
    assert_eq!(not_asked_for(&code(one, "avx512f")), ["avx512f"], "its implied ones are not asked for");
    assert_eq!(not_asked_for(&code(all, "avx512f")), [""; 0]);
    let chain = "is_x86_feature_detected!(\"avx2\") && is_x86_feature_detected!(\"fma\")";
    assert_eq!(not_asked_for(&code(chain, "avx2,fma")), [""; 0]);
}
