//! The texts: links, and what they show.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{files, root};

fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    files(root(), "md", &mut pages);
    pages
}

/// The lines of a page that are not in a block of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// The targets of `[text](target)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The anchor that a heading gets on the common hosts of Markdown.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(page).expect("a readable page");
    prose(&text).filter(|line| line.starts_with('#')).map(anchor).collect()
}

/// What is wrong with a link of `page`, if anything is.
fn fault(page: &Path, target: &str) -> Option<String> {
    let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
    if is_elsewhere || target.is_empty() {
        return None;
    }
    let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
    let named = if path.is_empty() {
        page.to_path_buf()
    } else {
        page.parent()?.join(path)
    };
    if !named.exists() {
        return Some(format!("{}: no file {path}", page.display()));
    }
    let is_known = fragment.is_empty() || anchors(&named).contains(fragment);
    (!is_known).then(|| format!("{}: {} has no heading #{fragment}", page.display(), named.display()))
}

#[test]
fn a_link_of_a_page_led_nowhere() {
    let mut faults = Vec::new();
    let mut checked = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a readable page");
        for target in prose(&text).flat_map(links) {
            checked += 1;
            faults.extend(fault(&page, target));
        }
    }
    assert_eq!(faults, Vec::<String>::new());
    assert!(checked > 100, "only {checked} links were found");
}

#[test]
fn a_broken_link_passed_the_check() {
    let page = root().join("README.md");
    assert!(fault(&page, "docs/nowhere.md").is_some());
    assert!(fault(&page, "docs/guide.md#no-such-heading").is_some());
    assert!(fault(&page, "#no-such-heading").is_some());
    assert_eq!(fault(&page, "docs/guide.md#snapshots"), None);
    assert_eq!(anchor("## `a_b` C: what, and why?"), "a_b-c-what-and-why");
}

#[test]
fn the_test_that_the_readme_shows_was_another_than_the_one_that_runs() {
    let readme = fs::read_to_string(root().join("README.md")).expect("a README");
    assert!(readme.contains(include_str!("../readme_example.rs").trim_end()));
}

#[test]
fn the_architecture_grew_into_a_book() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("an ARCHITECTURE");
    assert!(text.lines().count() <= 250, "{} lines", text.lines().count());
}

/// The words in backticks that are paths of files or folders.
fn named_paths(cell: &str) -> impl Iterator<Item = &str> {
    let words = cell.split('`').skip(1).step_by(2);
    words.filter(|word| word.ends_with('/') || [".rs", ".sql"].iter().any(|ending| word.ends_with(ending)))
}

/// The paths of a row of the code map that do not exist. They are relative to the root, to `src`, or to the folder of the row's first path.
fn missing(row: &str) -> Vec<String> {
    let cells: Vec<_> = row.split('|').collect();
    let Some(first) = cells.get(1).and_then(|cell| named_paths(cell).next()) else {
        return Vec::new();
    };
    let folder = first.rfind('/').map_or("", |end| &first[..=end]);
    let bases = ["", "src/", folder, &format!("src/{folder}"), &format!("{folder}src/")].map(|base| root().join(base));
    let paths = cells.iter().skip(1).take(2).flat_map(|cell| named_paths(cell));
    let gone = paths.filter(|path| !bases.iter().any(|base| base.join(path).exists()));
    gone.map(str::to_owned).collect()
}

#[test]
fn the_code_map_named_files_that_are_gone() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("a readable page");
    let map = text
        .split("\n## ")
        .find(|part| part.starts_with("Code map"))
        .expect("a code map");
    let rows: Vec<_> = map.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() > 40, "only {} rows were found", rows.len());
    let gone: Vec<_> = rows.into_iter().flat_map(missing).collect();
    assert_eq!(gone, Vec::<String>::new());
    assert_eq!(missing("| `store/mod.rs`, `nowhere.rs` | |"), ["nowhere.rs"]);
}
