//! Which files import which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::{files, root};

/// Pairs that import each other because they are one recursive descent.
const RECURSIVE: [(&str, &str); 2] = [
    (
        "cqrs::snapshot::fingerprint::entries",
        "cqrs::snapshot::fingerprint::shape",
    ),
    (
        "cqrs::snapshot::fingerprint::shape",
        "cqrs::snapshot::fingerprint::variants",
    ),
];

/// What a part must not name: the part, and what it must not import.
const FORBIDDEN: [(&str, &str); 21] = [
    ("store", "journal::file"),
    ("store", "journal::postgres"),
    ("store", "cqrs"),
    ("store", "url"),
    ("journal", "store"),
    ("journal", "cqrs"),
    ("event", "store"),
    ("event", "journal"),
    ("cqrs", "store"),
    ("store::collections", "store::log"),
    ("store::collections", "store::streams"),
    ("store::streams", "store::log"),
    ("store::streams", "store::index"),
    ("store::streams", "store::retention"),
    ("store::log", "store::streams"),
    ("store::log", "store::index"),
    ("store::log", "store::query"),
    ("store::index", "store::streams"),
    ("store::index", "store::query"),
    ("store::query", "store::append"),
    ("store::query", "store::durability"),
];

/// The modules of a crate, each with those that it imports.
struct Imports(BTreeMap<String, BTreeSet<String>>);

/// The module of a file.
fn module(sources: &Path, file: &Path) -> String {
    let path = file
        .strip_prefix(sources)
        .expect("a file of the crate")
        .with_extension("");
    let mut parts: Vec<_> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        parts.pop();
    }
    parts.join("::")
}

/// The source without comments, and without what follows the first item for tests.
fn code(text: &str) -> String {
    let end = ["\n#[cfg(test)]", "\n#[cfg(all(test"]
        .iter()
        .filter_map(|test| text.find(test))
        .min();
    let lines = text[..end.unwrap_or(text.len())].lines();
    lines
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The paths of a `use` tree: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn leaves(prefix: &str, tree: &str, into: &mut Vec<String>) {
    let Some((head, body)) = tree.split_once('{') else {
        into.push(format!("{prefix}{}", tree.trim()));
        return;
    };
    let body = body.trim_end().strip_suffix('}').expect("a closed brace");
    let prefix = format!("{prefix}{}", head.trim());
    let (mut depth, mut start) = (0, 0);
    for (place, byte) in body.bytes().chain([b',']).enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                let item = body[start..place].trim();
                if !item.is_empty() {
                    leaves(&prefix, item, into);
                }
                start = place + 1;
            }
            _ => {}
        }
    }
}

/// The paths that begin with `crate` or `super`: of uses, and within the code.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for statement in code.split(';') {
        // Texts have the word too.
        let tree = statement.rsplit_once("use ").map(|(_, tree)| tree.trim());
        if let Some(tree) = tree.filter(|tree| ["crate::", "self::", "super::"].iter().any(|own| tree.starts_with(own)))
        {
            leaves("", tree, &mut found);
        }
    }
    for begin in ["crate::", "super::"] {
        for (place, _) in code.match_indices(begin) {
            let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let path: String = code[place..].chars().take_while(|c| is_path(*c)).collect();
            found.push(path);
        }
    }
    found
}

impl Imports {
    fn of(sources: &Path) -> Self {
        let mut found = Vec::new();
        files(sources, "rs", &mut found);
        let names: BTreeSet<String> = found.iter().map(|file| module(sources, file)).collect();
        let imports = found.iter().map(|file| {
            let (own, text) = (module(sources, file), fs::read_to_string(file).expect("a source"));
            let all = paths(&code(&text));
            let others = all.iter().filter_map(|path| named(&names, &own, path));
            (own.clone(), others.filter(|other| *other != own).collect())
        });
        Self(imports.collect())
    }

    /// The pairs of files that import each other. A folder and the files in it are one.
    fn mutual(&self) -> Vec<(&str, &str)> {
        let imports = |from: &str, to: &str| self.0.get(from).is_some_and(|all| all.contains(to));
        let pairs = self
            .0
            .iter()
            .flat_map(|(own, all)| all.iter().map(move |other| (own.as_str(), other.as_str())));
        let apart =
            |own: &str, other: &str| !own.starts_with(&format!("{other}::")) && !other.starts_with(&format!("{own}::"));
        let mutual =
            |(own, other): &(&str, &str)| own < other && !own.is_empty() && apart(own, other) && imports(other, own);
        pairs.filter(mutual).collect()
    }
}

/// The module that a path names.
fn named(names: &BTreeSet<String>, own: &str, path: &str) -> Option<String> {
    let mut base: Vec<&str> = own.split("::").filter(|part| !part.is_empty()).collect();
    let mut parts: Vec<&str> = path.split_whitespace().next()?.split("::").collect();
    match *parts.first()? {
        "crate" => base.clear(),
        "self" | "super" => {}
        _ => return None,
    }
    while let Some(first) = parts.first().filter(|first| ["crate", "self", "super"].contains(first)) {
        if *first == "super" {
            base.pop();
        }
        parts.remove(0);
    }
    base.extend(parts);
    let lengths = (1..=base.len()).rev();
    let mut modules = lengths.map(|length| base[..length].join("::"));
    modules.find(|name| names.contains(name))
}

#[test]
fn two_files_imported_each_other() {
    for sources in ["src", "cli/src"] {
        let imports = Imports::of(&root().join(sources));
        let found: Vec<_> = imports
            .mutual()
            .into_iter()
            .filter(|pair| !RECURSIVE.contains(pair))
            .collect();
        assert_eq!(found, Vec::new(), "in {sources}: move what both need to a third file");
    }
}

#[test]
fn a_part_named_another_that_stands_above_it() {
    let imports = Imports::of(&root().join("src"));
    let is_in = |name: &str, part: &str| name == part || name.starts_with(&format!("{part}::"));
    for (part, other) in FORBIDDEN {
        let users = imports
            .0
            .iter()
            .filter(|(own, all)| is_in(own, part) && all.iter().any(|name| is_in(name, other)));
        let users: Vec<_> = users.map(|(own, _)| own).collect();
        assert_eq!(users, Vec::<&String>::new(), "{part} must not name {other}");
    }
}

#[test]
fn an_import_was_overlooked() {
    let mut found = Vec::new();
    leaves("", "super::{a::{B, C}, d}", &mut found);
    assert_eq!(found, ["super::a::B", "super::a::C", "super::d"]);

    let names = ["store", "store::log", "store::log::lane"].map(str::to_owned).into();
    assert_eq!(
        named(&names, "store::log::lane", "super::Log").as_deref(),
        Some("store::log")
    );
    assert_eq!(
        named(&names, "store", "crate::store::log::lane::Lane").as_deref(),
        Some("store::log::lane")
    );
    assert_eq!(named(&names, "store", "std::fmt"), None);

    // The recursive pairs are there to be found.
    let imports = Imports::of(&root().join("src"));
    assert_eq!(imports.mutual(), RECURSIVE);
}
