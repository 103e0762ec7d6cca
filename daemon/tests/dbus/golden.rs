//! Golden files in `tests/golden/`. `UPDATE_GOLDEN=1 cargo test` writes them anew.

use std::path::Path;

/// Fails, showing both, if `text` is not what the file holds.
pub(crate) fn check(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{} differs.\nexpected:\n{golden}\nfound:\n{text}", path.display());
}
