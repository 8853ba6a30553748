//! Compares the source with the rules of `ARCHITECTURE.md`, section 4.
//!
//! It reads tokens and not types, so it sees what is written: which module, crate or part of `std`
//! a file names. `.clippy.toml` covers names hidden behind re-exports and methods. A violation is
//! reported as `file:line: rule: fault; remedy`.
//!
//! ```text
//!     tables.rs     the allowed imports
//!     kinds.rs      the kinds of files
//!     names.rs      names that the rules forbid or permit
//!     syntax.rs     parses a text into the paths it names
//!     rules/        one function for each rule
//!     self_test.rs  one violation for each rule, which must be found
//! ```

mod kinds;
mod names;
mod rules;
mod self_test;
mod syntax;
mod tables;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use syntax::Token;

#[test]
fn the_source_follows_the_rules() {
    let faults = rules::inspect(&sources());

    let list: Vec<_> = faults.iter().map(Fault::to_string).collect();
    assert!(
        list.is_empty(),
        "{} violations:\n{}",
        list.len(),
        list.join("\n")
    );
}

#[test]
fn every_path_in_the_tables_exists() {
    let sources = sources();

    assert_eq!(rules::stale_places(&sources, &[]), [] as [&str; 0]);
    assert_eq!(
        rules::stale_places(&sources, &["proto/none"]),
        ["proto/none"]
    );
}

/// A parsed file.
struct Source {
    /// The path from the root of the package, with `/`.
    path: String,
    text: String,
    /// Every path that the file names; paths in a test file are marked as not shipped.
    paths: Vec<syntax::Path>,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let mut paths = syntax::paths(&syntax::tokens(text));
        for named in &mut paths {
            named.ships &= !is_test(path);
        }
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            paths,
        }
    }

    /// The name of a file of `src` in the tables; `None` for other files.
    fn place(&self) -> Option<&str> {
        self.path.strip_prefix("src/")?.strip_suffix(".rs")
    }

    /// The top-level module of a file of `src`: the first part of its name in the tables.
    fn top_level(&self) -> Option<&str> {
        self.place()?.split('/').next()
    }

    /// The modules above this file and its own: `wire/mod` is `[wire]`.
    fn module(&self) -> Vec<&str> {
        let place = self.place().unwrap_or_default();
        let mut names: Vec<_> = place.split('/').collect();
        if matches!(names.last(), Some(&("mod" | "lib" | "main"))) {
            names.pop();
        }
        names
    }

    fn tokens(&self) -> Vec<Token<'_>> {
        syntax::tokens(&self.text)
    }

    fn fault(&self, line: usize, rule: &'static str, what: String) -> Fault {
        let path = self.path.clone();
        Fault {
            path,
            line,
            rule,
            what,
        }
    }
}

/// A violation, and its remedy.
#[derive(Debug, PartialEq)]
struct Fault {
    path: String,
    line: usize,
    rule: &'static str,
    what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            rule,
            what,
        } = self;
        write!(f, "{path}:{line}: {rule}: {what}")
    }
}

/// True for `x/tests.rs`, all files in a folder `tests`, and those of [`tables::TEST_ONLY`].
fn is_test(path: &str) -> bool {
    let place = path
        .strip_prefix("src/")
        .and_then(|path| path.strip_suffix(".rs"));
    let is_listed = place.is_some_and(|place| rules::is_in(place, tables::TEST_ONLY));
    let mut parts = path.split('/');
    is_listed || parts.any(|part| matches!(part, "tests" | "tests.rs"))
}

/// The package as it is on disk: its manifest and every Rust file of `src` and `tests`.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("Cargo.toml")];
    walk(&root.join("src"), &mut files);
    walk(&root.join("tests"), &mut files);
    files.sort();
    files.iter().map(|file| read(root, file)).collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(root: &Path, file: &Path) -> Source {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    let path = file.strip_prefix(root).unwrap().to_str().unwrap();
    Source::new(&path.replace('\\', "/"), &text)
}
