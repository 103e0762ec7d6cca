//! From byte offsets to lines and keys, and back. May not: fail; what cannot be found is absent.

use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Line and column, both from 1, of a byte offset; an offset past the end is the end.
pub(super) fn place(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
    (line, column)
}

/// Where the dotted key is set in the text: its name, not its value.
pub(super) fn span_of(text: &str, key: &str) -> Option<Range<usize>> {
    let root = DeTable::parse(text).ok()?.into_inner();
    let mut table = &root;
    let mut parts = key.split('.').peekable();
    loop {
        let part = parts.next()?;
        let (name, value) = table.iter().find(|(name, _)| name.get_ref() == part)?;
        if parts.peek().is_none() {
            return Some(name.span());
        }
        table = value.get_ref().as_table()?;
    }
}

/// The dotted key whose name or value covers the byte, as deep as there is one.
pub(super) fn key_at(text: &str, offset: usize) -> Option<String> {
    let root = DeTable::parse(text).ok()?.into_inner();
    let path = path_to(&root, offset);
    (!path.is_empty()).then(|| path.join("."))
}

fn path_to(table: &DeTable<'_>, offset: usize) -> Vec<String> {
    for (name, value) in table.iter() {
        let deeper = || value.get_ref().as_table().map(|table| path_to(table, offset)).unwrap_or_default();
        if name.span().contains(&offset) || covers(value, offset) || !deeper().is_empty() {
            let mut path = vec![name.get_ref().to_string()];
            path.extend(deeper());
            return path;
        }
    }
    Vec::new()
}

fn covers(value: &Spanned<DeValue<'_>>, offset: usize) -> bool {
    let span = value.span();
    span.contains(&offset) || span.start == offset
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# é\n[store]\nmax_size_mib = 5\n[policy.trial]\nafter_ms = \"x\"\nunknown = 1\n";

    #[test]
    fn keys_are_found_by_name_and_by_place() {
        let at = TEXT.find("max_size").unwrap();
        assert_eq!(span_of(TEXT, "store.max_size_mib").map(|span| span.start), Some(at));
        assert_eq!(place(TEXT, at), (3, 1));
        assert_eq!(key_at(TEXT, at + 15), Some("store.max_size_mib".to_owned()));
        assert_eq!(key_at(TEXT, TEXT.find("\"x\"").unwrap()), Some("policy.trial.after_ms".to_owned()));
        assert_eq!(key_at(TEXT, TEXT.find("unknown").unwrap()), Some("policy.trial.unknown".to_owned()));
        assert_eq!(span_of(TEXT, "store.nothing"), None);
        assert_eq!(span_of(TEXT, "store.max_size_mib.deeper"), None);
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(place(TEXT, 4), (1, 4));
        assert_eq!(place(TEXT, 10_000), (7, 1));
        assert_eq!(place("", 3), (1, 1));
    }
}
