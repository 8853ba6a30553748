//! The documentation: generated pages, links, configurations, commands, images.
//!
//! `src/cli/help/tests.rs` parses every command of this program in the documentation, and
//! `tests/packaged_files.rs` runs those for the simulator.

mod configurations;
mod generated;
mod images;
mod links;
mod manual_pages;
mod quick_start;

use std::fs;
use std::path::{Path, PathBuf};

/// The pages for users and contributors, with their paths.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]
        .map(PathBuf::from)
        .into();
    paths.extend(files_of("docs", "md"));
    paths
        .into_iter()
        .map(|path| (path.clone(), shipped(&path)))
        .collect()
}

/// The files of a folder whose names end in this way.
fn files_of(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|own| own == ending))
        .collect();
    paths.sort_unstable();
    paths
}

fn shipped(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blocks of code in a language, without indentation of the block.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(found) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let content: Vec<&str> = lines
            .by_ref()
            .take_while(|line| line.trim_start() != "```")
            .collect();
        if found == language {
            blocks.push(content.join("\n"));
        }
    }
    blocks
}

/// The text outside of blocks of code.
fn prose(page: &str) -> String {
    let mut is_code = false;
    let outside = page.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    outside.collect::<Vec<_>>().join("\n")
}
