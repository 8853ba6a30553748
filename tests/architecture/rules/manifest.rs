//! The dependencies in `Cargo.toml`.

use super::super::tables::CRATES;
use super::super::{Fault, Source};
use super::row;

/// Every crate of the manifest has a row, and every row has a crate.
pub(crate) fn manifest(sources: &[Source]) -> Vec<Fault> {
    let Some(manifest) = sources.iter().find(|source| source.path == "Cargo.toml") else {
        return Vec::new();
    };
    let listed = dependencies(&manifest.text);
    let unlisted = listed
        .iter()
        .filter(|(_, name)| row(CRATES, name).is_none());
    let mut faults: Vec<_> = unlisted
        .map(|(line, name)| {
            let what = format!("`{name}` has no row; add the files that may use it to the table");
            manifest.fault(*line, "crate", what)
        })
        .collect();
    let crates = CRATES.iter().filter(|(name, _)| !name.contains("::"));
    for (name, _) in crates.filter(|(name, _)| !listed.iter().any(|(_, listed)| listed == name)) {
        let what = format!("`{name}` has a row but is not a dependency; remove the row");
        faults.push(manifest.fault(1, "crate", what));
    }
    faults
}

/// The dependencies of the package without dev-dependencies, each with its line.
fn dependencies(manifest: &str) -> Vec<(usize, &str)> {
    let mut names = Vec::new();
    let mut inside = false;
    for (at, line) in manifest.lines().enumerate() {
        if let Some(section) = line.strip_prefix('[') {
            inside = section.starts_with("dependencies]") || section.contains(".dependencies]");
        } else if let (true, Some((name, _))) = (inside, line.split_once('=')) {
            names.push((at + 1, name.trim()));
        }
    }
    names
}
