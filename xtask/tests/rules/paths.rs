//! Every path (`a::b::c`) that a source file names, outside what is compiled for tests only.
//!
//! Works on tokens: `use` trees, types, calls and the insides of macros look alike there, and comments and strings are
//! no tokens. `crate`, `self`, `super` and modules declared in the file are resolved to paths that begin with `crate`.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::iter::Peekable;

/// A path and the line it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Segments.
    pub(crate) path: Vec<String>,
    /// Line, from 1.
    pub(crate) line: usize,
}

/// Paths of a file that is the module `module` of its crate (`["sensors", "proc"]`; empty for lib.rs).
///
/// # Panics
/// When the text is not Rust.
pub(crate) fn named(text: &str, module: &[String]) -> Vec<Named> {
    let tokens: TokenStream = text.parse().expect("Rust tokens");
    let mut children = Vec::new();
    declared(tokens.clone(), &mut children);
    let mut found = Vec::new();
    scan(tokens, &[], &mut found);
    found.iter().map(|named| resolve(named, module, &children)).collect()
}

/// The module that a file below a crate's src/ is: `sensors/mod.rs` and `sensors.rs` are `["sensors"]`.
pub(crate) fn module_of(path_in_src: &str) -> Vec<String> {
    let stem = path_in_src.strip_suffix(".rs").unwrap_or(path_in_src);
    let mut parts: Vec<String> = stem.split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

type Tokens = Peekable<proc_macro2::token_stream::IntoIter>;

fn scan(tokens: TokenStream, prefix: &[String], found: &mut Vec<Named>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                if test_only(tokens.peek()) {
                    tokens.next();
                    skip_item(&mut tokens);
                }
            }
            // The new name in a use tree is no path.
            TokenTree::Ident(ident) if ident == "as" && !prefix.is_empty() => {
                tokens.next();
            }
            TokenTree::Ident(ident) => {
                let line = ident.span().start().line;
                let mut path = prefix.to_vec();
                path.push(ident.to_string());
                follow(&mut tokens, path, line, found);
            }
            TokenTree::Group(group) => {
                scan(group.stream(), &[], found);
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// The rest of a path whose first segment was read; a group after `::` is a use tree.
fn follow(tokens: &mut Tokens, mut path: Vec<String>, line: usize, found: &mut Vec<Named>) {
    while colons(tokens) {
        match tokens.next() {
            Some(TokenTree::Ident(ident)) => path.push(ident.to_string()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                scan(group.stream(), &path, found);
                return;
            }
            Some(TokenTree::Punct(punct)) if punct.as_char() == '*' => path.push("*".to_owned()),
            // `::<T>`: the path ends, its arguments are read by the caller.
            _ => break,
        }
    }
    found.push(Named { path, line });
}

/// Eat `::` if it is next.
fn colons(tokens: &mut Tokens) -> bool {
    let is_colon =
        |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    if !is_colon(tokens.peek()) {
        return false;
    }
    // A single colon (a type, a field) is of no use to anybody: it may be eaten.
    tokens.next();
    if !is_colon(tokens.peek()) {
        return false;
    }
    tokens.next();
    true
}

/// `[cfg(test)]`.
fn test_only(attribute: Option<&TokenTree>) -> bool {
    let Some(TokenTree::Group(group)) = attribute else { return false };
    group.stream().to_string().replace(' ', "") == "cfg(test)"
}

/// Skip to the end of an item: its `;` or its braces.
fn skip_item(tokens: &mut Tokens) {
    for token in tokens.by_ref() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ';' => return,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return,
            _ => {}
        }
    }
}

/// Names of `mod NAME;`.
fn declared(tokens: TokenStream, names: &mut Vec<String>) {
    let all: Vec<TokenTree> = tokens.into_iter().collect();
    for three in all.windows(3) {
        if let [TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Punct(end)] = three
            && word == "mod"
            && end.as_char() == ';'
        {
            names.push(name.to_string());
        }
    }
}

fn resolve(named: &Named, module: &[String], children: &[String]) -> Named {
    let mut base: Vec<String> = Vec::from(["crate".to_owned()]);
    let mut rest = named.path.as_slice();
    match rest.first().map(String::as_str) {
        Some("self") if rest.len() > 1 => {
            base.extend_from_slice(module);
            rest = &rest[1..];
        }
        Some("super") => {
            base.extend_from_slice(module);
            while rest.first().is_some_and(|segment| segment == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        Some(first) if rest.len() > 1 && children.iter().any(|child| child == first) => {
            base.extend_from_slice(module);
        }
        _ => base.clear(),
    }
    base.extend_from_slice(rest);
    Named { path: base, line: named.line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str, module: &[&str]) -> Vec<String> {
        let module: Vec<String> = module.iter().map(|part| (*part).to_owned()).collect();
        named(text, &module)
            .into_iter()
            .map(|named| named.path.join("::"))
            .filter(|path| path.contains("::"))
            .collect()
    }

    #[test]
    fn use_trees_and_calls_are_seen() {
        let text = "use std::{fs, io::{self, Read as R}};\nfn f() { let t = std::time::Instant::now(); }";
        assert_eq!(
            paths(text, &[]),
            ["std::fs", "std::io::self", "std::io::Read", "std::time::Instant::now"]
        );
        assert_eq!(
            paths("fn f() { g!(tokio::time::sleep(a.b::<c::D>())) }", &[]),
            ["tokio::time::sleep", "c::D"]
        );
        assert_eq!(paths("use a::*;", &[]), ["a::*"]);
    }

    #[test]
    fn relative_paths_are_resolved() {
        assert_eq!(paths("use super::super::libvirt::X;", &["dbus", "guest"]), ["crate::libvirt::X"]);
        assert_eq!(paths("use self::a::X;", &["dbus"]), ["crate::dbus::a::X"]);
        assert_eq!(paths("mod client;\nuse client::X;", &["libvirt"]), ["crate::libvirt::client::X"]);
    }

    #[test]
    fn comments_strings_and_tests_are_not() {
        let text = "//! std::fs\n/// std::net\nconst A: &str = \"std::fs::read\";\n#[cfg(test)]\nmod tests { use std::fs; }\n\
                    #[cfg(test)]\nuse std::env;\n#[derive(Debug)]\nstruct S { a: std::num::NonZeroU8 }";
        assert_eq!(paths(text, &[]), ["std::num::NonZeroU8"]);
    }

    #[test]
    fn files_are_modules() {
        assert_eq!(module_of("lib.rs"), Vec::<String>::new());
        assert_eq!(module_of("sensors/mod.rs"), ["sensors"]);
        assert_eq!(module_of("sensors/proc.rs"), ["sensors", "proc"]);
    }
}
