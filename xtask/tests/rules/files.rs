//! Every source file opens with what it is.

use crate::tree;

#[test]
fn every_source_file_opens_with_its_purpose() {
    let files = tree::files(".", "rs");
    assert!(files.len() > 20, "only {} files found", files.len());
    let bare = files.iter().filter(|(_, text)| !text.starts_with("//!"));
    let findings: Vec<String> = bare.map(|(path, _)| path.clone()).collect();
    tree::none(&findings, "files without `//!` on their first line");
}
