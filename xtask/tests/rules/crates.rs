//! Which of our crates may depend on which (also for tests and builds): as Cargo sees it.

use crate::tree;
use serde_json::Value;
use std::process::Command;

/// Crate and the crates of ours it may depend on. A new crate needs a line here.
const MAY_USE: [(&str, &[&str]); 6] = [
    ("trimtab-policy", &[]),
    ("trimtab-store", &[]),
    ("trimtabd", &["trimtab-policy", "trimtab-store"]),
    ("trimtab-bench", &["trimtab-store"]),
    ("trimtab-tests", &["trimtab-policy", "trimtab-store", "trimtabd", "trimtab-bench"]),
    ("xtask", &[]),
];

/// What the pure core may be linked with: formats and errors, nothing that reaches the system.
const POLICY_LIBRARIES: [&str; 4] = ["serde", "serde_json", "thiserror", "toml"];

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let out = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(tree::root())
        .output()
        .expect("cargo metadata starts");
    serde_json::from_slice(&out.stdout).expect("cargo metadata prints JSON")
}

/// (crate, dependency, kind), kind is empty for an ordinary one.
fn dependencies(metadata: &Value) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for package in metadata["packages"].as_array().expect("packages") {
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            found.push((text(&package["name"]), text(&dependency["name"]), text(&dependency["kind"])));
        }
    }
    found
}

fn violations(all: &[(String, String, String)]) -> Vec<String> {
    let mut findings = Vec::new();
    for (krate, dependency, kind) in all {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| name == krate) else {
            findings.push(format!("{krate} has no line in MAY_USE"));
            continue;
        };
        let ours = MAY_USE.iter().any(|(name, _)| name == dependency);
        // A crate may name itself: its tests, with other features.
        if ours && krate != dependency && !allowed.contains(&dependency.as_str()) {
            findings.push(format!("{krate} may not depend on {dependency}"));
        }
        if krate == "trimtab-policy" && kind.is_empty() && !POLICY_LIBRARIES.contains(&dependency.as_str()) {
            findings.push(format!("{krate} is pure and may not depend on {dependency}"));
        }
    }
    findings
}

#[test]
fn crates_depend_only_on_what_they_may() {
    let all = dependencies(&metadata());
    assert!(all.iter().any(|(krate, dependency, _)| krate == "trimtabd" && dependency == "trimtab-policy"));
    tree::none(&violations(&all), "dependencies between crates (xtask/tests/rules/crates.rs)");
}

#[test]
fn a_forbidden_dependency_is_found() {
    let one = |a: &str, b: &str, kind: &str| violations(&[(a.into(), b.into(), kind.into())]).len();
    assert_eq!(one("trimtabd", "trimtab-store", ""), 0);
    assert_eq!(one("trimtab-bench", "trimtab-bench", "dev"), 0);
    assert_eq!(one("trimtab-store", "trimtab-policy", "dev"), 1);
    assert_eq!(one("trimtab-policy", "tokio", ""), 1);
    assert_eq!(one("newcomer", "serde", ""), 1);
}
