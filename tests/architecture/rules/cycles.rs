//! Import cycles between files.

use std::collections::BTreeMap;

use super::super::syntax::{Import, Path};
use super::super::{Fault, Source};
use super::{absolute, shipped};

/// An import: the index of the imported file, and the line.
type Edges = BTreeMap<usize, usize>;

/// Files import each other in one direction only.
///
/// A module and the modules within it may import each other. An item that a module re-exports is
/// an import of the file that the module has it from.
pub(crate) fn cycles(sources: &[Source]) -> Vec<Fault> {
    let imports: Vec<_> = (0..sources.len()).map(|_| Edges::new()).collect();
    let imports = shipped(sources).fold(imports, |mut imports, (source, path)| {
        let at = position(sources, &source.module());
        let to = imported(sources, source, path);
        if let (Some(at), Some(to)) = (at, to)
            && !nested(&sources[at], &sources[to])
        {
            imports[at].entry(to).or_insert(path.line);
        }
        imports
    });
    let mut faults = Vec::new();
    let mut reported = Vec::new();
    for at in 0..sources.len() {
        let Some(cycle) = shortest_cycle(&imports, at) else {
            continue;
        };
        let mut members = cycle.clone();
        members.sort_unstable();
        if reported.contains(&members) {
            continue;
        }
        reported.push(members);
        let names: Vec<_> = cycle
            .iter()
            .chain([&at])
            .map(|at| sources[*at].path.as_str())
            .collect();
        let next = cycle.get(1).unwrap_or(&at);
        let what = format!(
            "these files import each other: {}; move what they share into one of them, or into a \
             third file",
            names.join(" -> ")
        );
        faults.push(sources[at].fault(imports[at][next], "cycle", what));
    }
    faults
}

/// The file that defines what a path names.
fn imported(sources: &[Source], from: &Source, path: &Path) -> Option<usize> {
    let mut target: Vec<String> = absolute(from, path)?
        .iter()
        .map(ToString::to_string)
        .collect();
    // Each round follows one re-export.
    for _ in 0..MAX_REEXPORTS {
        let module: Vec<_> = target.iter().map(String::as_str).collect();
        let mut lengths = (1..=module.len()).rev();
        let (len, at) = lengths.find_map(|len| Some((len, position(sources, &module[..len])?)))?;
        let Some(item) = module.get(len) else {
            return Some(at);
        };
        let owner = &sources[at];
        let reexport = owner.paths.iter().find(|path| {
            path.ships
                && path.import != Import::No
                && path.segments.last().is_some_and(|last| last == item)
        });
        let defined = reexport.and_then(|path| {
            let names = path.names();
            let is_local = !matches!(names.first(), Some(&("crate" | "self" | "super")));
            match is_local {
                true => Some([owner.module(), names].concat()),
                false => absolute(owner, path),
            }
        });
        match defined {
            Some(defined)
                if defined != module
                    && position(sources, &defined[..defined.len() - 1])
                        .is_some_and(|to| to != at) =>
            {
                target = defined.iter().map(ToString::to_string).collect();
            }
            _ => return Some(at),
        }
    }
    None
}

fn position(sources: &[Source], module: &[&str]) -> Option<usize> {
    let mut all = sources.iter();
    all.position(|file| file.place().is_some() && file.module() == module)
}

fn nested(one: &Source, other: &Source) -> bool {
    let (one, other) = (one.module(), other.module());
    one.starts_with(&other) || other.starts_with(&one)
}

/// The shortest way from a file back to itself, without the last step.
fn shortest_cycle(imports: &[Edges], start: usize) -> Option<Vec<usize>> {
    let mut ways = vec![vec![start]];
    let mut seen = vec![false; imports.len()];
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in &ways {
            for next in imports[*way.last()?].keys() {
                if *next == start {
                    return Some(way.clone());
                }
                if !seen[*next] {
                    seen[*next] = true;
                    longer.push([way.as_slice(), &[*next]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

/// Maximum length of a chain of re-exports.
const MAX_REEXPORTS: usize = 8;

#[test]
fn files_that_import_each_other_are_found() {
    let parent = "//! X.\nmod one;\nmod two;\nmod three;\npub(super) use self::one::One;\n";
    let files = |one| {
        [
            Source::new("src/forward/mod.rs", parent),
            Source::new("src/forward/one.rs", one),
            Source::new("src/forward/two.rs", "//! X.\nuse super::three::Three;\n"),
            Source::new("src/forward/three.rs", "//! X.\n\nuse super::One;\n"),
        ]
    };

    let faults = cycles(&files("//! X.\nuse super::two::{Other, Two};\n"));

    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(
        (faults[0].path.as_str(), faults[0].line),
        ("src/forward/one.rs", 2)
    );
    let cycle = "src/forward/one.rs -> src/forward/two.rs -> src/forward/three.rs -> \
                 src/forward/one.rs";
    assert!(faults[0].what.contains(cycle), "{}", faults[0]);
    let tests = "//! X.\n#[cfg(test)]\nmod tests { use super::super::two::Two; }\n";
    for clean in ["//! X.\nuse super::Context;\n", tests] {
        assert_eq!(cycles(&files(clean)), []);
    }
}
