//! The source tree as these tests see it.

use std::fs;
use std::path::{Path, PathBuf};

/// Root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ lies in the workspace").to_path_buf()
}

/// Every file below a directory of the workspace with this extension, as (path from the root, text), sorted.
pub(crate) fn files(dir: &str, extension: &str) -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    walk(&root.join(dir), extension, &mut found);
    found.sort();
    let relative = |path: &Path| path.strip_prefix(&root).expect("below the root").display().to_string();
    found.iter().map(|path| (relative(path), fs::read_to_string(path).expect("a readable file"))).collect()
}

fn walk(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Build directories and what belongs to tools is not ours.
        if name.starts_with("target") || name.starts_with('.') || name == "node_modules" {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            walk(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

/// Whether a file is compiled for tests only, by its name: `tests.rs`, or in a directory `tests`.
pub(crate) fn is_test(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs")
}

/// Fails with all the findings at once.
pub(crate) fn none(findings: &[String], rule: &str) {
    assert!(findings.is_empty(), "{rule}\n  {}", findings.join("\n  "));
}
