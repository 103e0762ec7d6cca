//! Documents name what exists: links lead to files, commands and flags in them are those of `cargo xtask`.

use crate::tree;
use std::process::Command;

fn documents() -> Vec<(String, String)> {
    tree::files(".", "md")
}

/// Targets of `[text](target)` that are not addresses.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with(['#', '<']));
    local.map(|target| target.split('#').next().unwrap_or_default().to_owned()).collect()
}

/// Words of every `cargo xtask ...` in code: up to the end of the code span, the line or a comment.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mentions = text.split("cargo xtask ").skip(1);
    let ends = |c: char| matches!(c, '`' | '\n' | '#' | '|' | ';' | ',' | '"' | ')' | '\\');
    let line = |rest: &str| rest.split(ends).next().unwrap_or_default().to_owned();
    let words = |line: String| {
        line.split_whitespace().map(|word| word.trim_matches(['[', ']', '.']).to_owned()).collect()
    };
    mentions.map(line).map(words).filter(|words: &Vec<String>| !words.is_empty()).collect()
}

fn help(command: &str) -> Option<String> {
    let out =
        Command::new(env!("CARGO_BIN_EXE_xtask")).args([command, "--help"]).output().expect("xtask starts");
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

#[test]
fn links_lead_somewhere() {
    let mut findings = Vec::new();
    for (path, text) in documents() {
        let dir = tree::root().join(&path).parent().expect("a directory").to_path_buf();
        let dead = links(&text).into_iter().filter(|link| !link.is_empty() && !dir.join(link).exists());
        findings.extend(dead.map(|link| format!("{path}: {link}")));
    }
    tree::none(&findings, "links that lead nowhere");
}

#[test]
fn commands_in_documents_exist() {
    let mut findings = Vec::new();
    for (path, text) in documents() {
        for words in commands(&text) {
            let Some(help) = help(&words[0]) else {
                findings.push(format!("{path}: cargo xtask {}", words[0]));
                continue;
            };
            // After a lone `--` come another program's flags.
            let flags = words.iter().take_while(|word| *word != "--").filter(|word| word.starts_with("--"));
            for flag in flags.filter(|flag| !help.contains(flag.split('=').next().unwrap_or_default())) {
                findings.push(format!("{path}: cargo xtask {} has no {flag}", words[0]));
            }
        }
    }
    tree::none(&findings, "commands that do not exist");
}

#[test]
fn what_is_looked_for_is_found() {
    assert_eq!(links("[a](b.md#c) ![d](e/f.svg) [g](https://h) [i](#j)"), ["b.md", "e/f.svg"]);
    let text = "run `cargo xtask test --require-live`, or\n    cargo xtask bench [NAME]  # all\n";
    assert_eq!(commands(text), [vec!["test", "--require-live"], vec!["bench", "NAME"]]);
    assert!(help("nonsense").is_none());
}
