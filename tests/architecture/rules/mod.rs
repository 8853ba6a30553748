//! The rules, one function each.
//!
//! Unit tests are checked for imports (they may import the simulator and the virtual network too),
//! headers, lengths and names only. The other rules apply to shipped code.

use super::kinds::{DISPLAYED, LINT_EXEMPT, PURE};
use super::names::{ADDRESSES, IMPURE, VAGUE_NAMES};
use super::syntax::{Import, Path, starts_with};
use super::tables::{CRATES, MAX_LINES, MODULES, Places, REEXPORTS, TEST_ONLY, TEST_SUPPORT};
use super::{Fault, Source};

mod cycles;
mod manifest;
mod test_only;

pub(super) use cycles::cycles;
pub(super) use manifest::manifest;
pub(super) use test_only::test_only;

/// Finds the violations of one rule.
pub(super) type Rule = fn(&[Source]) -> Vec<Fault>;

/// Applies all rules; reports each line once.
pub(super) fn inspect(sources: &[Source]) -> Vec<Fault> {
    const RULES: &[Rule] = &[
        modules,
        full_names,
        crates,
        manifest,
        purity,
        pure_imports,
        cycles,
        test_only,
        headers,
        lengths,
        names,
        exceptions,
        displayed,
    ];
    let mut faults: Vec<_> = RULES.iter().flat_map(|rule| rule(sources)).collect();
    faults.dedup();
    faults
}

/// A module imports only the modules of its row, and every module has a row.
pub(super) fn modules(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (source, module) in with_module(sources) {
        let Some(below) = row(MODULES, module) else {
            let what = format!("`{module}` is not in the table; add it, or move the file");
            faults.push(source.fault(1, "module", what));
            continue;
        };
        for path in &source.paths {
            let Some(other) = module_of(path) else {
                continue;
            };
            let is_support = TEST_SUPPORT.contains(&other) && !path.ships;
            if other != module && !below.contains(&other) && !is_support {
                let what = format!(
                    "`{module}` may not import `{other}`; move the code to a module that may, or \
                     change the table and ARCHITECTURE.md, section 4"
                );
                faults.push(source.fault(path.line, "module", what));
            }
        }
    }
    faults
}

/// Modules are named by their full path: no groups of modules, no `super` that leaves a module, no
/// re-exports.
pub(super) fn full_names(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (source, module) in with_module(sources) {
        let tokens = source.tokens();
        let groups = (0..tokens.len()).filter(|at| starts_with(&tokens[*at..], CRATE_GROUP));
        faults.extend(groups.map(|at| {
            let what = "`crate::{…}` hides its modules; write one `use crate::module::…` for each";
            source.fault(tokens[at].line, "full name", what.to_owned())
        }));
        for path in &source.paths {
            if let Some(what) = full_name(source, module, path) {
                faults.push(source.fault(path.line, "full name", what));
            }
        }
    }
    faults
}

fn full_name(source: &Source, module: &str, path: &Path) -> Option<String> {
    let names = path.names();
    let imports = path.import != Import::No;
    let parents = parents(path);
    if module == "lib" && imports {
        return Some("`lib.rs` lists the modules and imports nothing; remove it".to_owned());
    }
    if imports && matches!(names[..], ["crate"] | ["crate", "*"]) {
        return Some("name the module: `use crate::module::…`".to_owned());
    }
    if parents > 0 && module != "main" && parents >= source.module().len() + path.depth {
        return Some("`super` leaves the module; write `crate::module::…`".to_owned());
    }
    if path.ships && imports && parents > 0 && names[parents..] == ["*"] {
        return Some("`use super::*` outside tests; name what is used".to_owned());
    }
    let public = path.import == Import::Public;
    let other = module_of(path).filter(|other| public && *other != module)?;
    (!REEXPORTS.contains(&(module, other))).then(|| {
        format!("`pub use` re-exports `{other}` from `{module}`; import it where it is used")
    })
}

/// An external crate is named only in its allowed places.
pub(super) fn crates(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (source, path) in shipped(sources) {
        let place = source.place().unwrap_or_default();
        for (name, places) in CRATES {
            if begins_with(path, &name.replace('-', "_")) && !is_open(places, place) {
                let what = format!(
                    "`{name}` may not be named here, only in {}. Use what these offer, or change \
                     the table and ARCHITECTURE.md, section 4",
                    describe(places)
                );
                faults.push(source.fault(path.line, "crate", what));
            }
        }
    }
    faults
}

/// A pure file does not wait, does no I/O and does not read the clock.
pub(super) fn purity(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (source, path) in shipped(sources) {
        if is_pure(source) && is_impure(path) {
            let name = path.segments.join("::");
            let what = format!(
                "a pure file names `{name}`; take the time, the bytes or the decision as an \
                 argument, and act in an impure file"
            );
            faults.push(source.fault(path.line, "pure", what));
        }
    }
    faults
}

/// A pure file imports no impure file of its module.
pub(super) fn pure_imports(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (source, path) in shipped(sources).filter(|(source, _)| is_pure(source)) {
        let Some(other) = named_file(sources, source, path) else {
            continue;
        };
        if !is_pure(other) {
            let what = format!(
                "a pure file imports the impure {}; move what both need into a pure file",
                other.path
            );
            faults.push(source.fault(path.line, "pure", what));
        }
    }
    faults
}

/// Every file begins with a description.
pub(super) fn headers(sources: &[Source]) -> Vec<Fault> {
    let rust = sources.iter().filter(|source| source.path.ends_with(".rs"));
    let silent = rust.filter(|source| {
        let first = source.text.lines().next().unwrap_or_default();
        first
            .strip_prefix("//! ")
            .is_none_or(|text| text.trim().is_empty())
    });
    let what = "begin with `//! ` and a noun phrase that describes the file";
    silent
        .map(|source| source.fault(1, "header", what.to_owned()))
        .collect()
}

/// No file is longer than the maximum.
pub(super) fn lengths(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        let lines = source.text.lines().count();
        if lines > MAX_LINES {
            let what = format!(
                "{lines} lines, the maximum is {MAX_LINES}; move the tests to `tests.rs` beside it, \
                 or split the file"
            );
            faults.push(source.fault(MAX_LINES + 1, "length", what));
        }
    }
    faults
}

/// The name of a module describes its content.
pub(super) fn names(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for source in sources {
        for pair in source.tokens().windows(2) {
            if pair[0].text == "mod" && VAGUE_NAMES.contains(&pair[1].text) {
                let what = format!(
                    "`{}` does not describe the module; name it for its content",
                    pair[1].text
                );
                faults.push(source.fault(pair[1].line, "name", what));
            }
        }
    }
    faults
}

/// Only a few files may use the methods that `.clippy.toml` forbids.
pub(super) fn exceptions(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (source, path) in shipped(sources) {
        let place = source.place().unwrap_or_default();
        let exempt = match path.names()[..] {
            ["clippy", "disallowed_methods"] => is_in(place, LINT_EXEMPT),
            ["clippy", "disallowed_types"] => false,
            _ => true,
        };
        if !exempt {
            let what = "no exception is allowed here; take the time from `clock`, and a `JoinSet` \
                        or a value of the environment from the caller";
            faults.push(source.fault(path.line, "exception", what.to_owned()));
        }
    }
    faults
}

/// A displayed text that may come from outside has the type `Printable`.
pub(super) fn displayed(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (source, path) in shipped(sources) {
        let is_displayed = is_in(source.place().unwrap_or_default(), DISPLAYED);
        if is_displayed && path.names().first() == Some(&"String") {
            let what = "a displayed text may come from outside; use `Printable`";
            faults.push(source.fault(path.line, "displayed", what.to_owned()));
        }
    }
    faults
}

/// Returns the places of the tables, and of `more`, that are neither a file nor a folder. Such a
/// row would have no effect.
pub(super) fn stale_places<'a>(sources: &[Source], more: &[&'a str]) -> Vec<&'a str> {
    let crates = CRATES.iter().flat_map(|(_, places)| match places {
        Places::At(places) | Places::AnywhereBut(places) => places.iter(),
    });
    let tables = crates
        .chain(PURE)
        .chain(LINT_EXEMPT)
        .chain(DISPLAYED)
        .chain(TEST_ONLY)
        .chain(more);
    let exists = |known: &str| {
        let mut places = sources.iter().filter_map(Source::place);
        places.any(|place| is_in(place, &[known]))
    };
    tables.copied().filter(|known| !exists(known)).collect()
}

fn with_module(sources: &[Source]) -> impl Iterator<Item = (&Source, &str)> {
    sources
        .iter()
        .filter_map(|source| Some((source, source.top_level()?)))
}

/// The paths in shipped code of `src`, each with its file.
fn shipped(sources: &[Source]) -> impl Iterator<Item = (&Source, &Path)> {
    let all = with_module(sources).flat_map(|(source, _)| {
        let paths = source.paths.iter();
        paths.map(move |path| (source, path))
    });
    all.filter(|(_, path)| path.ships)
}

fn row<'a, T>(table: &'a [(&str, T)], name: &str) -> Option<&'a T> {
    table
        .iter()
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// The top-level module that a full path names.
fn module_of(path: &Path) -> Option<&str> {
    match path.names()[..] {
        ["crate" | "ssm_proxyd", module, ..] => Some(module),
        _ => None,
    }
}

/// True if a path begins with a crate, or with a part of `std`. A single name counts in a `use`
/// only.
fn begins_with(path: &Path, name: &str) -> bool {
    let parts: Vec<_> = name.split("::").collect();
    path.names().starts_with(&parts) && (path.segments.len() > 1 || path.import != Import::No)
}

fn is_open(places: &Places, place: &str) -> bool {
    match places {
        Places::At(places) => is_in(place, places),
        Places::AnywhereBut(places) => !is_in(place, places),
    }
}

fn describe(places: &Places) -> String {
    match places {
        Places::At(places) => places.join(", "),
        Places::AnywhereBut(places) => format!("anywhere but {}", places.join(", ")),
    }
}

pub(super) fn is_in(place: &str, places: &[&str]) -> bool {
    places.iter().any(|known| match known.strip_suffix('*') {
        Some(prefix) => place.starts_with(prefix),
        None => place
            .strip_prefix(known)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    })
}

fn is_pure(source: &Source) -> bool {
    source.place().is_some_and(|place| is_in(place, PURE))
}

fn is_impure(path: &Path) -> bool {
    let names = path.names();
    let clock = names.len() > 1 && names.last() == Some(&"now");
    let network = match names[..] {
        ["std", "net"] => path.import != Import::No,
        ["std", "net", name, ..] => !ADDRESSES.contains(&name),
        _ => false,
    };
    let named = |name: &str| names.starts_with(&name.split("::").collect::<Vec<_>>());
    clock || network || IMPURE.iter().any(|name| named(name))
}

/// The file of the same module that a path names, except the `mod.rs` of the module.
fn named_file<'a>(sources: &'a [Source], from: &Source, path: &Path) -> Option<&'a Source> {
    let target = absolute(from, path)?;
    if target.first() != from.module().first() {
        return None;
    }
    let deepest_first = (2..=target.len()).rev();
    deepest_first
        .filter_map(|len| sources.iter().find(|file| file.module() == target[..len]))
        .next()
}

/// The module path that a path refers to, from the root of the crate.
fn absolute<'a>(from: &'a Source, path: &'a Path) -> Option<Vec<&'a str>> {
    let names = path.names();
    let (mut module, known) = match *names.first()? {
        "crate" => (Vec::new(), 1),
        "self" if path.depth == 0 => (from.module(), 1),
        "super" => (from.module(), parents(path)),
        _ => return None,
    };
    let outwards = parents(path).saturating_sub(path.depth);
    module.truncate(module.len().saturating_sub(outwards));
    module.extend(&names[known..]);
    Some(module)
}

/// The number of leading `super` segments of a path.
fn parents(path: &Path) -> usize {
    let names = path.names();
    names.iter().take_while(|name| **name == "super").count()
}

const CRATE_GROUP: &[&str] = &["crate", "::", "{"];
