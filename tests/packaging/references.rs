//! Paths that workflows, scripts and metadata name.

use std::fs;
use std::path::{Path, PathBuf};

use super::read;

#[test]
fn paths_named_by_workflows_and_packaging_exist() {
    let mut files = vec![PathBuf::from("Cargo.toml"), PathBuf::from("deny.toml")];
    for folder in [
        ".github",
        "packaging",
        "tests/packages",
        "tests/systemd_container",
        "systemd",
    ] {
        walk(Path::new(folder), &mut files);
    }
    let mut found = 0;

    for file in files {
        let text = read(file.to_str().unwrap());
        for path in named_paths(&text) {
            assert!(Path::new(path).exists(), "{} names {path}", file.display());
            found += 1;
        }
    }
    assert!(found > 20, "{found} paths");
}

#[test]
fn actions_are_pinned_to_a_commit_and_say_its_version() {
    let mut files = Vec::new();
    walk(Path::new(".github/workflows"), &mut files);
    let mut found = 0;

    for file in files {
        let text = read(file.to_str().unwrap());
        for line in text.lines() {
            let Some((_, action)) = line.split_once("uses: ") else {
                continue;
            };
            let (_, pin) = action.split_once('@').unwrap_or_default();
            let (commit, version) = pin.split_once(" # v").unwrap_or_default();
            let is_commit = commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
            assert!(
                is_commit && !version.is_empty(),
                "{}: {line}",
                file.display()
            );
            found += 1;
        }
    }
    assert!(found > 5, "{found} actions");
}

#[test]
fn the_packaging_readme_lists_every_file() {
    let readme = read("packaging/README.md");
    let entries = fs::read_dir("packaging").unwrap();

    for entry in entries.map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        let is_listed = readme
            .lines()
            .any(|line| line.starts_with(&format!("| `{name}")));
        assert!(is_listed || name == "README.md", "no row for {name}");
    }
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `"));
    for row in rows {
        let (name, _) = row.split_once('`').unwrap();
        assert!(Path::new("packaging").join(name).exists(), "no {name}");
    }
}

/// The words of a text that begin with a folder of this repository, without patterns and variables.
fn named_paths(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "./_-*$".contains(c)));
    let words = words.map(|word| word.trim_end_matches(['.', '/']));
    words.filter(|word| {
        let is_below = FOLDERS.iter().any(|folder| word.starts_with(folder));
        is_below && !word.contains(['*', '$'])
    })
}

const FOLDERS: &[&str] = &[
    ".ci/",
    ".github/",
    "config/",
    "docs/",
    "packaging/",
    "src/",
    "systemd/",
    "tests/",
];

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
}
