//! The rules, one function each.
//!
//! Unit tests are held to the rooms (with the far side open to them), the headers, the lengths
//! and the names. Doors, purity and windows are about what ships.

use super::syntax::{Import, Path, starts_with};
use super::tables::{
    ADDRESSES, CUPBOARDS, DOORS, Door, FAR_SIDE, IMPURE, LONGEST, PURE, REEXPORTS, ROOMS, SHOWN,
    WINDOWS,
};
use super::{Fault, Source};

mod cycles;

pub(super) use cycles::cycles;

/// From the sources to what is wrong with them.
pub(super) type Rule = fn(&[Source]) -> Vec<Fault>;

/// Every fault of every rule, each line once.
pub(super) fn inspect(sources: &[Source]) -> Vec<Fault> {
    const RULES: &[Rule] = &[
        rooms, detours, doors, manifest, purity, neighbours, cycles, headers, lengths, names,
        windows, shown,
    ];
    let mut faults: Vec<_> = RULES.iter().flat_map(|rule| rule(sources)).collect();
    faults.dedup();
    faults
}

/// A room imports only the rooms below it, and there is no room but those of the table.
pub(super) fn rooms(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (source, room) in with_room(sources) {
        let Some(below) = row(ROOMS, room) else {
            let what = format!("`{room}` is no room; add it to the table or move the file");
            faults.push(source.fault(1, "room", what));
            continue;
        };
        for path in &source.paths {
            let Some(other) = room_of(path) else { continue };
            let far_side = other == FAR_SIDE && !path.ships;
            if other != room && !below.contains(&other) && !far_side {
                let what = format!(
                    "`{room}` may not import `{other}`; move the line to a room that may, or \
                     argue for a new arrow in architecture.md section 4"
                );
                faults.push(source.fault(path.line, "room", what));
            }
        }
    }
    faults
}

/// Rooms are entered by their full name: no groups over rooms, no climbing out, no re-exports.
pub(super) fn detours(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (source, room) in with_room(sources) {
        let tokens = source.tokens();
        let groups = (0..tokens.len()).filter(|at| starts_with(&tokens[*at..], CRATE_GROUP));
        faults.extend(groups.map(|at| {
            let what = "`crate::{…}` hides its rooms; write one `use crate::room::…` for each";
            source.fault(tokens[at].line, "detour", what.to_owned())
        }));
        for path in &source.paths {
            if let Some(what) = detour(source, room, path) {
                faults.push(source.fault(path.line, "detour", what));
            }
        }
    }
    faults
}

fn detour(source: &Source, room: &str, path: &Path) -> Option<String> {
    let names = path.names();
    let imports = path.import != Import::No;
    let climbs = climbs(path);
    if room == "lib" && imports {
        return Some("`lib.rs` lists the rooms and imports nothing; remove it".to_owned());
    }
    if imports && matches!(names[..], ["crate"] | ["crate", "*"]) {
        return Some("name the room: `use crate::room::…`".to_owned());
    }
    if climbs > 0 && room != "main" && climbs >= source.module().len() + path.depth {
        return Some("`super` leaves the room; write `crate::room::…`".to_owned());
    }
    if path.ships && imports && climbs > 0 && names[climbs..] == ["*"] {
        return Some("`use super::*` outside tests; name what is used".to_owned());
    }
    let public = path.import == Import::Public;
    let other = room_of(path).filter(|other| public && *other != room)?;
    (!REEXPORTS.contains(&(room, other))).then(|| {
        format!("`pub use` shows `{other}` as part of `{room}`; import it where it is used")
    })
}

/// An outside crate comes in by its door.
pub(super) fn doors(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (source, path) in shipped(sources) {
        let place = source.place().unwrap_or_default();
        for (name, door) in DOORS {
            if begins_with(path, &name.replace('-', "_")) && !is_open(door, place) {
                let what = format!(
                    "`{name}` may not come in here; its door is {}. Use what the door offers, \
                     or argue for another door in architecture.md section 4, rule 6",
                    describe(door)
                );
                faults.push(source.fault(path.line, "door", what));
            }
        }
    }
    faults
}

/// Every crate of the manifest has a door, and every door a crate.
pub(super) fn manifest(sources: &[Source]) -> Vec<Fault> {
    let Some(manifest) = sources.iter().find(|source| source.path == "Cargo.toml") else {
        return Vec::new();
    };
    let listed = dependencies(&manifest.text);
    let without_door = listed.iter().filter(|(_, name)| row(DOORS, name).is_none());
    let mut faults: Vec<_> = without_door
        .map(|(line, name)| {
            let what = format!("`{name}` has no door; say in the table which files may use it");
            manifest.fault(*line, "door", what)
        })
        .collect();
    let crates = DOORS.iter().filter(|(name, _)| !name.contains("::"));
    for (name, _) in crates.filter(|(name, _)| !listed.iter().any(|(_, listed)| listed == name)) {
        let what = format!("`{name}` has a door and is no dependency; remove its row");
        faults.push(manifest.fault(1, "door", what));
    }
    faults
}

/// A pure file decides; it waits for nothing, opens nothing and reads no clock.
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

/// A pure file knows no impure one of its room.
pub(super) fn neighbours(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (source, path) in shipped(sources).filter(|(source, _)| is_pure(source)) {
        let Some(other) = named_file(sources, source, path) else {
            continue;
        };
        if !is_pure(other) {
            let what = format!(
                "a pure file knows the impure {}; move what both need into a pure file",
                other.path
            );
            faults.push(source.fault(path.line, "pure", what));
        }
    }
    faults
}

/// Every file says what it is.
pub(super) fn headers(sources: &[Source]) -> Vec<Fault> {
    let rust = sources.iter().filter(|source| source.path.ends_with(".rs"));
    let silent = rust.filter(|source| {
        let first = source.text.lines().next().unwrap_or_default();
        first
            .strip_prefix("//! ")
            .is_none_or(|text| text.trim().is_empty())
    });
    let what = "open with `//! ` and a noun phrase that says what the file is";
    silent
        .map(|source| source.fault(1, "header", what.to_owned()))
        .collect()
}

/// No file outgrows a reader's patience.
pub(super) fn lengths(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        let lines = source.text.lines().count();
        if lines > LONGEST {
            let what = format!(
                "{lines} lines, {LONGEST} are the bound; move the tests to `tests.rs` beside it, \
                 or find the second thing that it holds"
            );
            faults.push(source.fault(LONGEST + 1, "length", what));
        }
    }
    faults
}

/// A module is named for a thing, not for a cupboard.
pub(super) fn names(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for source in sources {
        for pair in source.tokens().windows(2) {
            if pair[0].text == "mod" && CUPBOARDS.contains(&pair[1].text) {
                let what = format!("`{}` is a cupboard; find the noun for it", pair[1].text);
                faults.push(source.fault(pair[1].line, "name", what));
            }
        }
    }
    faults
}

/// Time, tasks and the environment enter through few files.
pub(super) fn windows(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (source, path) in shipped(sources) {
        let place = source.place().unwrap_or_default();
        let exempt = match path.names()[..] {
            ["clippy", "disallowed_methods"] => lies_in(place, WINDOWS),
            ["clippy", "disallowed_types"] => false,
            _ => true,
        };
        if !exempt {
            let what = "no window here; take `now`, a seed or a `JoinSet` from the caller, or \
                        argue for a window in architecture.md section 4, rule 7";
            faults.push(source.fault(path.line, "window", what.to_owned()));
        }
    }
    faults
}

/// A text that may come from outside is made printable where it enters.
pub(super) fn shown(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (source, path) in shipped(sources) {
        let is_shown = lies_in(source.place().unwrap_or_default(), SHOWN);
        if is_shown && path.names().first() == Some(&"String") {
            let what = "a text that is shown may come from outside; hold a `Printable`";
            faults.push(source.fault(path.line, "shown", what.to_owned()));
        }
    }
    faults
}

/// The places of the tables, and of `more`, that are neither a file nor a folder: a row that names
/// nothing protects nothing.
pub(super) fn stale_places<'a>(sources: &[Source], more: &[&'a str]) -> Vec<&'a str> {
    let doors = DOORS.iter().flat_map(|(_, door)| match door {
        Door::At(places) | Door::AnywhereBut(places) => places.iter(),
    });
    let tables = doors.chain(PURE).chain(WINDOWS).chain(SHOWN).chain(more);
    let exists = |known: &str| {
        let mut places = sources.iter().filter_map(Source::place);
        places.any(|place| lies_in(place, &[known]))
    };
    tables.copied().filter(|known| !exists(known)).collect()
}

fn with_room(sources: &[Source]) -> impl Iterator<Item = (&Source, &str)> {
    sources
        .iter()
        .filter_map(|source| Some((source, source.room()?)))
}

/// The shipped paths of `src`, each with its file.
fn shipped(sources: &[Source]) -> impl Iterator<Item = (&Source, &Path)> {
    let all = with_room(sources).flat_map(|(source, _)| {
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

/// The room that a path enters by its full name.
fn room_of(path: &Path) -> Option<&str> {
    match path.names()[..] {
        ["crate" | "ssm_proxyd", room, ..] => Some(room),
        _ => None,
    }
}

/// True if a path begins with a crate, or with a part of `std`. A name alone counts in a `use`.
fn begins_with(path: &Path, name: &str) -> bool {
    let parts: Vec<_> = name.split("::").collect();
    path.names().starts_with(&parts) && (path.segments.len() > 1 || path.import != Import::No)
}

fn is_open(door: &Door, place: &str) -> bool {
    match door {
        Door::At(places) => lies_in(place, places),
        Door::AnywhereBut(places) => !lies_in(place, places),
    }
}

fn describe(door: &Door) -> String {
    match door {
        Door::At(places) => places.join(", "),
        Door::AnywhereBut(places) => format!("anywhere but {}", places.join(", ")),
    }
}

fn lies_in(place: &str, places: &[&str]) -> bool {
    places.iter().any(|known| match known.strip_suffix('*') {
        Some(beginning) => place.starts_with(beginning),
        None => place
            .strip_prefix(known)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    })
}

fn is_pure(source: &Source) -> bool {
    source.place().is_some_and(|place| lies_in(place, PURE))
}

fn is_impure(path: &Path) -> bool {
    let names = path.names();
    let clock = names.len() > 1 && names.last() == Some(&"now");
    let network = match names[..] {
        ["std", "net"] => path.import != Import::No,
        ["std", "net", name, ..] => !ADDRESSES.contains(&name),
        _ => false,
    };
    let named = |word: &str| names.starts_with(&word.split("::").collect::<Vec<_>>());
    clock || network || IMPURE.iter().any(|word| named(word))
}

/// The file of the same room that a path leads into, but for the room's door.
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

/// The module path that a path means, from the root of the crate.
fn absolute<'a>(from: &'a Source, path: &'a Path) -> Option<Vec<&'a str>> {
    let names = path.names();
    let (mut module, known) = match *names.first()? {
        "crate" => (Vec::new(), 1),
        "self" if path.depth == 0 => (from.module(), 1),
        "super" => (from.module(), climbs(path)),
        _ => return None,
    };
    let outwards = climbs(path).saturating_sub(path.depth);
    module.truncate(module.len().saturating_sub(outwards));
    module.extend(&names[known..]);
    Some(module)
}

/// How many `super` a path begins with.
fn climbs(path: &Path) -> usize {
    let names = path.names();
    names.iter().take_while(|name| **name == "super").count()
}

/// The crates that the package ships with, each with its line.
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

const CRATE_GROUP: &[&str] = &["crate", "::", "{"];
