//! What the pure core (policy/) may not name: files, network, processes, threads, clocks, globals, async.

use crate::{paths, tree};

/// Beginnings of forbidden paths.
const FORBIDDEN: [&[&str]; 15] = [
    &["std", "fs"],
    &["std", "net"],
    &["std", "os"],
    &["std", "io"],
    &["std", "env"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["std", "time", "*"],
    &["std", "sync", "atomic"],
    &["std", "sync", "Mutex"],
    &["std", "sync", "OnceLock"],
    &["std", "sync", "LazyLock"],
    &["tokio"],
];

fn impure(text: &str) -> Vec<(usize, String)> {
    let found = paths::named(text, &[]).into_iter().filter(|named| {
        let path: Vec<&str> = named.path.iter().map(String::as_str).collect();
        let macros = path == ["thread_local"] || path == ["println"] || path == ["eprintln"];
        macros || FORBIDDEN.iter().any(|forbidden| path.starts_with(forbidden))
    });
    found.map(|named| (named.line, named.path.join("::"))).collect()
}

#[test]
fn the_policy_is_pure() {
    let files = tree::files("policy/src", "rs");
    assert!(!files.is_empty());
    let findings: Vec<String> = files
        .iter()
        .filter(|(path, _)| !tree::is_test(path))
        .flat_map(|(path, text)| {
            impure(text).into_iter().map(move |(line, what)| format!("{path}:{line}: {what}"))
        })
        .collect();
    tree::none(&findings, "the policy is pure (xtask/tests/rules/purity.rs)");
}

#[test]
fn impurity_is_found() {
    assert_eq!(impure("use std::time::Duration;").len(), 0);
    assert_eq!(impure("use std::time::{Duration, Instant};").len(), 1);
    assert_eq!(impure("fn f() { std::fs::read(p); println!(\"x\"); }").len(), 2);
    assert_eq!(impure("use tokio::sync::mpsc;").len(), 1);
}
