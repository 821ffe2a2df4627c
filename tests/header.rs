//! `include/engram.h` is what cbindgen makes of `src/ffi`, and holds the C face alone.
//!
//! `ENGRAM_WRITE_HEADER=1 cargo test --test header` writes it anew.
#![cfg(not(any(loom, miri)))]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The files of the C face in the order of the header; any that is not named here comes after them.
const ORDER: [&str; 12] = [
    "status.rs",
    "arena.rs",
    "alloc.rs",
    "batch.rs",
    "column.rs",
    "persist.rs",
    "metrics.rs",
    "service_config.rs",
    "concept.rs",
    "service.rs",
    "pin.rs",
    "service_metrics.rs",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<PathBuf> {
    let folder = root().join("src/ffi");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("src/ffi")
        .map(|entry| entry.expect("an entry of src/ffi").file_name().into_string().expect("a name in UTF-8"))
        .filter(|name| std::path::Path::new(name).extension().is_some_and(|end| end == "rs") && name != "mod.rs")
        .collect();
    names.sort_by_key(|name| (ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()), name.clone()));
    names.iter().map(|name| folder.join(name)).collect()
}

fn bindings() -> cbindgen::Bindings {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml");
    sources()
        .iter()
        .fold(cbindgen::Builder::new().with_config(config), cbindgen::Builder::with_src)
        .generate()
        .expect("cbindgen reads src/ffi")
}

fn generated() -> String {
    let mut text = Vec::new();
    bindings().write(&mut text);
    let text = String::from_utf8(text).expect("a header in UTF-8");
    let unsigned = unsigned();
    let mut lines: Vec<String> = text.trim_start().lines().map(|line| constant_as_c_wants_it(line, &unsigned)).collect();
    lines.push(String::new());
    lines.join("\n")
}

/// The constants that are unsigned in Rust.
fn unsigned() -> BTreeSet<String> {
    let text = sources().iter().map(|path| std::fs::read_to_string(path).expect("a source file")).collect::<String>();
    let constants = text.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(": u32 = "));
    constants.map(|(name, _)| name.to_owned()).collect()
}

/// What is unsigned in Rust is so in C too, and a negative number in a macro stands in brackets.
fn constant_as_c_wants_it(line: &str, unsigned: &BTreeSet<String>) -> String {
    match line.strip_prefix("#define ").and_then(|rest| rest.split_once(' ')) {
        Some((name, value)) if value.starts_with("(1 << ") => format!("#define {name} {}", value.replace("(1 ", "(1u ")),
        Some((name, value)) if unsigned.contains(name) && value.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("#define {name} {value}u")
        }
        Some((name, value)) if value.starts_with('-') => format!("#define {name} ({value})"),
        _ => line.to_owned(),
    }
}

/// The stored header, written anew first if that is asked for.
fn header() -> &'static str {
    static HEADER: OnceLock<String> = OnceLock::new();
    HEADER.get_or_init(|| {
        let path = root().join("include/engram.h");
        if std::env::var_os("ENGRAM_WRITE_HEADER").is_some() {
            std::fs::write(&path, generated()).expect("include/engram.h can be written");
        }
        std::fs::read_to_string(path).expect("include/engram.h")
    })
}

#[test]
fn the_header_is_what_the_sources_make_of_it() {
    let (made, stored) = (generated(), header());
    let (mut made_lines, mut stored_lines) = (made.lines(), stored.lines());
    for number in 1.. {
        let (made, stored) = (made_lines.next(), stored_lines.next());
        assert!(
            made == stored,
            "include/engram.h line {number} is\n  {}\nbut src/ffi makes it\n  {}\nwrite it anew: ENGRAM_WRITE_HEADER=1 cargo test --test header",
            stored.unwrap_or("(the end)"),
            made.unwrap_or("(the end)")
        );
        if made.is_none() {
            break;
        }
    }
    assert_eq!(made, stored, "they differ in line ends only");
}

#[test]
fn the_header_holds_the_c_face_alone_and_says_something_of_each_item() {
    let body = header().split_once("*/").expect("an opening comment").1;
    let functions: BTreeSet<String> = bindings().dynamic_symbols_names().map(str::to_owned).collect();
    let mut declared = BTreeSet::new();
    let mut before = "";
    for line in body.lines() {
        let documented = before.trim_start().starts_with("//");
        let name = item(line);
        if let Some(name) = name {
            assert!(documented, "no comment above: {line}");
            let of_the_face = ["engram_", "ENGRAM_"].iter().any(|prefix| name.starts_with(prefix));
            assert!(of_the_face || line.starts_with("  "), "not of the face: {line}");
            if line.contains('(') && !line.starts_with(['#', ' ']) {
                declared.insert(name.to_owned());
            }
        }
        before = line;
    }
    assert_eq!(declared, functions);
    assert!(functions.len() >= 35, "the face has at least 35 functions; found {}", functions.len());
    assert!(!body.contains("uintptr_t") && !body.contains("::"), "Rust's own words are not C's");
}

/// The name that a line declares: a constant, a type, a field, or a function (its first line).
fn item(line: &str) -> Option<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if let Some(rest) = line.strip_prefix("#define ") {
        let name = rest.split(' ').next()?;
        return (name != "ENGRAM_H").then_some(name);
    }
    let continued = line.starts_with("   ");
    if line.is_empty() || line.starts_with(['#', '}', '/']) || line.trim_start().starts_with("//") || continued {
        return None;
    }
    if line == "extern \"C\" {" {
        return None;
    }
    let end = line.find(['(', ';', '{']).unwrap_or(line.len());
    let declarator = line[..end].trim_end();
    let declarator = declarator.split('[').next()?;
    declarator.rsplit(|c| !is_word(c)).next()
}
