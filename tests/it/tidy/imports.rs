//! Which files import which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{files, root};

/// Pairs that may import each other, each with its reason.
const MUTUAL: [(&str, &str, &str); 5] = [
    (
        "cqrs::snapshot::fingerprint::entries",
        "cqrs::snapshot::fingerprint::shape",
        "one recursive descent",
    ),
    (
        "cqrs::snapshot::fingerprint::shape",
        "cqrs::snapshot::fingerprint::variants",
        "one recursive descent",
    ),
    (
        "error",
        "stream",
        "an error names streams and versions, and a text that is no version is an error",
    ),
    ("query", "stream", "a query names positions, and a condition is a query"),
    (
        "store",
        "testing::personality",
        "with the feature `testing`, the handle of a store has a personality, which opens stores",
    ),
];

/// The most modules that export a path of another, one after the other.
const EXPORTS_MAX: usize = 6;

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

/// The modules of a crate, each with the paths that it exports under names of its own.
type Exports = BTreeMap<String, BTreeMap<String, String>>;

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

/// The source without comments, and without items for tests.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let mut rest = lines.collect::<Vec<_>>().join(" ");
    let mut kept = String::new();
    while let Some(at) = ["#[cfg(test)]", "#[cfg(all(test"]
        .iter()
        .filter_map(|test| rest.find(test))
        .min()
    {
        kept.push_str(&rest[..at]);
        rest = rest[at..].to_owned();
        rest.drain(..end_of_item(&rest));
    }
    kept + &rest
}

/// Where the item ends that begins with an attribute.
fn end_of_item(text: &str) -> usize {
    let body = text.find(']').map_or(0, |end| end + 1);
    let mut depth = 0;
    for (place, byte) in text.bytes().enumerate().skip(body) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return place + 1;
                }
            }
            b';' | b',' if depth == 0 => return place + 1,
            _ => {}
        }
    }
    text.len()
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

/// The paths of a statement `use`, and whether it exports them.
fn used(statement: &str) -> Option<(bool, Vec<String>)> {
    // Texts have the word too.
    let (before, tree) = statement.rsplit_once("use ")?;
    let tree = tree.trim();
    let may_be_in_one = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_:{},*".contains(c);
    let is_tree = tree.chars().all(may_be_in_one) && tree.contains('{') == tree.ends_with('}');
    let is_path = is_tree && tree.starts_with(|c: char| c.is_ascii_lowercase());
    let is_word = before.is_empty() || before.ends_with(char::is_whitespace);
    let is_exported = before.trim_end().ends_with("pub") || before.trim_end().ends_with(')') && before.contains("pub(");
    if !is_path || !is_word {
        return None;
    }
    let mut found = Vec::new();
    leaves("", tree, &mut found);
    Some((is_exported, found))
}

/// The paths that begin with `crate` or `super`: of uses, and within the code.
fn paths(code: &str) -> Vec<String> {
    let uses = code.split(';').filter_map(used).flat_map(|(_, paths)| paths);
    let own = |path: &String| ["crate::", "self::", "super::"].iter().any(|own| path.starts_with(own));
    let mut found: Vec<_> = uses.filter(own).collect();
    for begin in ["crate::", "super::"] {
        for (place, _) in code.match_indices(begin) {
            let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let path: String = code[place..].chars().take_while(|c| is_path(*c)).collect();
            found.push(path);
        }
    }
    found
}

/// The paths that a module exports, by their names there.
fn exports(code: &str) -> BTreeMap<String, String> {
    let exported = code.split(';').filter_map(used).filter(|(is_exported, _)| *is_exported);
    let paths = exported.flat_map(|(_, paths)| paths);
    let named = paths.map(|path| match path.split_once(" as ") {
        Some((path, name)) => (name.trim().to_owned(), path.trim().to_owned()),
        None => (path.rsplit("::").next().unwrap_or_default().to_owned(), path),
    });
    named.collect()
}

impl Imports {
    /// The imports of a crate. A re-export is followed to its module, through at most `exports_max` others.
    fn of(sources: &Path, exports_max: usize) -> Self {
        let mut found = Vec::new();
        files(sources, "rs", &mut found);
        let read = |file: &PathBuf| {
            let text = fs::read_to_string(file).expect("a source");
            (module(sources, file), code(&text))
        };
        let codes: BTreeMap<String, String> = found.iter().map(read).collect();
        let all: Exports = codes.iter().map(|(own, code)| (own.clone(), exports(code))).collect();
        let imports = codes.iter().map(|(own, code)| {
            let paths = paths(code);
            let others = paths.iter().filter_map(|path| named(&all, own, path, exports_max));
            (own.clone(), others.filter(|other| other != own).collect())
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

/// The module that a path names, through at most `left` modules that only export it.
fn named(all: &Exports, own: &str, path: &str, left: usize) -> Option<String> {
    let mut base: Vec<&str> = own.split("::").filter(|part| !part.is_empty()).collect();
    let mut parts: Vec<&str> = path.split_whitespace().next()?.split("::").collect();
    if *parts.first()? == "crate" {
        base.clear();
    }
    while let Some(first) = parts.first().filter(|first| ["crate", "self", "super"].contains(first)) {
        if *first == "super" {
            base.pop();
        }
        parts.remove(0);
    }
    base.extend(parts);
    let lengths = (0..=base.len()).rev();
    let mut modules = lengths.map(|length| (base[..length].join("::"), &base[length..]));
    let (module, rest) = modules.find(|(name, _)| all.contains_key(name))?;
    let exported = rest
        .first()
        .and_then(|name| all[&module].get(*name))
        .filter(|_| left > 0);
    exported
        .and_then(|path| named(all, &module, path, left - 1))
        .or(Some(module))
}

#[test]
fn two_files_imported_each_other() {
    for sources in [
        "src",
        "cli/src",
        "crates/annals-bench/src",
        "crates/annals-cqrs-es/src",
        "crates/annals-jetstream/src",
        "crates/annals-relay/src",
        "crates/annals-mongodb/src",
        "crates/annals-server/src",
    ] {
        let imports = Imports::of(&root().join(sources), EXPORTS_MAX);
        let is_known = |pair: &(&str, &str)| MUTUAL.iter().any(|(one, other, _)| (*one, *other) == *pair);
        let found: Vec<_> = imports.mutual().into_iter().filter(|pair| !is_known(pair)).collect();
        assert_eq!(found, Vec::new(), "in {sources}: move what both need to a third file");
    }
}

#[test]
fn a_part_named_another_that_stands_above_it() {
    // What the crate exports to users is for all of its parts.
    let imports = Imports::of(&root().join("src"), 0);
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

    let empty = BTreeMap::new();
    let exported = BTreeMap::from([("Lane".to_owned(), "log::lane::Lane".to_owned())]);
    let modules = [
        ("store", exported),
        ("store::log", empty.clone()),
        ("store::log::lane", empty),
    ];
    let all: Exports = modules.map(|(name, exports)| (name.to_owned(), exports)).into();
    let named = |own: &str, path: &str| named(&all, own, path, EXPORTS_MAX);
    assert_eq!(named("store::log::lane", "super::Log").as_deref(), Some("store::log"));
    assert_eq!(
        named("store", "crate::store::log::lane::Lane").as_deref(),
        Some("store::log::lane")
    );
    assert_eq!(named("store::log", "super::Lane").as_deref(), Some("store::log::lane"));

    let text = "use a::B; #[cfg(test)] mod tests { use super::C; } pub use self::d::E as F; #[cfg(test)] use crate::G; use crate::H;";
    assert_eq!(paths(&code(text)), ["self::d::E as F", "crate::H", "crate::H"]);
    assert_eq!(
        exports(&code(text)),
        BTreeMap::from([("F".to_owned(), "self::d::E".to_owned())])
    );

    // The known pairs are there to be found.
    let imports = Imports::of(&root().join("src"), EXPORTS_MAX);
    assert_eq!(imports.mutual(), MUTUAL.map(|(one, other, _)| (one, other)));
}
