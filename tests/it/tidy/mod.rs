//! What the texts and the sources of the project must keep, where no compiler checks it.

mod imports;
mod pages;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that have no texts of the project.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", "fixtures"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, extension: &str, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_skipped = SKIPPED.iter().any(|skipped| name == *skipped);
        if path.is_dir() && !is_skipped {
            files(&path, extension, into);
        } else if path.extension().is_some_and(|found| found == extension) {
            into.push(path);
        }
    }
}
