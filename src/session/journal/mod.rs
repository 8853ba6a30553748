//! What a killed process left behind.
//!
//! A session that is not ended leaves a worker process on its target, until the account's idle
//! timeout takes it. So every process writes down which sessions it has started and ended, in a
//! file of its own that it holds locked. A lock dies with its process: whoever starts next finds
//! the files that nobody holds, and ends what is in them.
//!
//! ```text
//!   {"started":{"session":"me-0123","since":1795618385,"region":"eu-west-1","profile":"prod"}}
//!   {"ended":"me-0123"}
//! ```
//!
//! A line is in the file before its session is used. Nothing in it is secret. When most of it is
//! history it is written anew beside itself, locked, and put in its place.

mod writer;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use tracing::warn;

use self::writer::Shared;
use crate::printable::is_printable;

/// Writes down which sessions are open. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal(Option<Arc<Shared>>);

impl Journal {
    /// Nothing is written down.
    pub fn none() -> Self {
        Self(None)
    }

    /// Begins the file of this process in a directory, which is made if it is not there. Returns
    /// what files that nobody holds tell of; it is in the new file too. `now` is in seconds since
    /// the Unix epoch: what was started a day ago has idled out.
    ///
    /// # Errors
    ///
    /// If the directory cannot be used, or its file system knows no locks.
    pub fn open(directory: &Path, now: u64) -> io::Result<(Self, Vec<Entry>)> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory)?;
        let mut book = Book::begin(directory)?;
        let own = std::mem::take(&mut book.open).into_values();
        let mut left: Vec<_> = own.map(|entry| entry.dated(now)).collect();
        book.apply(started(&left))?;
        for file in abandoned(directory, &book.path)? {
            let path = file.0.clone();
            match book.adopt(file, now) {
                Ok(adopted) => left.extend(adopted),
                Err(error) => {
                    let path = path.display();
                    warn!(%error, %path, "a journal of sessions cannot be taken over");
                }
            }
        }
        let (left, over): (Vec<_>, Vec<_>) = left.into_iter().partition(|e| e.may_live(now));
        book.apply(over.into_iter().map(|e| (e.session, None)).collect())?;
        Ok((Self(Some(Arc::new(Shared::new(book)))), left))
    }

    /// Notes that a session was started. Returns once the disk has it, or after two seconds: a disk
    /// that hangs must not keep connections waiting.
    pub(super) async fn add(&self, entry: Entry) {
        if let Some(shared) = &self.0 {
            shared.pending().insert(entry.session.clone(), Some(entry));
            shared.write().await;
        }
    }

    /// Notes that a session was ended.
    pub(super) async fn remove(&self, session: &str) {
        if let Some(shared) = &self.0 {
            shared.forget(session);
            shared.write().await;
        }
    }

    #[cfg(test)]
    fn book(&self) -> Option<tokio::sync::MutexGuard<'_, Book>> {
        self.0.as_ref()?.book.try_lock().ok()
    }
}

/// An open session, and who can end it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// Its id.
    pub session: String,
    /// When it was started, in seconds since the Unix epoch.
    pub since: u64,
    /// How it was started.
    #[serde(flatten)]
    pub origin: Origin,
}

impl Entry {
    fn may_live(&self, now: u64) -> bool {
        now.saturating_sub(self.since) < MAX_LIFE
    }

    /// The same, as if it was started now if the clock was wrong when it was started, or is now: it
    /// is tried to end it at least once, and not for ever.
    fn dated(self, now: u64) -> Self {
        let is_plausible = (FIRST_DATE..=now).contains(&self.since);
        let since = if is_plausible { self.since } else { now };
        Self { since, ..self }
    }
}

/// Where and as whom a session was started.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The region.
    pub region: String,
    /// The profile, if one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Whether its credentials won over those of the environment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub profile_first: bool,
    /// The role, if one was assumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The endpoint of the API, if another one than AWS's was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Started(Entry),
    Ended(String),
}

/// The file of this process.
#[derive(Debug)]
struct Book {
    path: PathBuf,
    file: File,
    open: BTreeMap<String, Entry>,
    /// Lines of the file.
    lines: usize,
    /// When the newest session was started.
    newest: u64,
    /// The file lacks something, or may end within a line.
    is_stale: bool,
}

impl Book {
    /// The first name that no other process holds. What is in a file of that name is adopted.
    fn begin(directory: &Path) -> io::Result<Self> {
        let pid = std::process::id();
        for n in 0..MAX_NAMES {
            let path = directory.join(format!("{PREFIX}{pid}-{n}{SUFFIX}"));
            let held = match hold(&path, OpenOptions::new().create(true)) {
                Err(error) if fs::symlink_metadata(&path).is_ok() => {
                    let path = path.display();
                    warn!(%error, %path, "the journal of sessions gets another name");
                    None
                }
                held => held?,
            };
            if let Some(file) = held {
                let open = read(&file)?;
                return Ok(Self {
                    path,
                    file,
                    open,
                    lines: 0,
                    newest: 0,
                    // What a killed process was writing.
                    is_stale: true,
                });
            }
        }
        let why = "every name that this process could take is taken";
        Err(io::Error::new(io::ErrorKind::AddrInUse, why))
    }

    /// Takes over what another file tells of, and removes it.
    fn adopt(&mut self, (path, file): (PathBuf, File), now: u64) -> io::Result<Vec<Entry>> {
        let left: Vec<_> = read(&file)?.into_values().map(|e| e.dated(now)).collect();
        self.apply(started(&left))?;
        fs::remove_file(path)?;
        Ok(left)
    }

    /// Writes what has changed: a session was started, or (`None`) ended.
    fn apply(&mut self, changes: BTreeMap<String, Option<Entry>>) -> io::Result<()> {
        let mut lines = Vec::new();
        for (session, entry) in changes {
            match entry {
                Some(entry) => {
                    self.newest = self.newest.max(entry.since);
                    self.open.insert(session, entry.clone());
                    lines.push(Line::Started(entry));
                }
                None if self.open.remove(&session).is_some() => lines.push(Line::Ended(session)),
                None => {}
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        self.lines += lines.len();
        if self.is_stale || self.lines > self.open.len() + MAX_HISTORY.max(2 * self.open.len()) {
            return self.rewrite();
        }
        self.is_stale = true;
        write_lines(&mut self.file, &lines)?;
        self.is_stale = false;
        Ok(())
    }

    /// Leaves out what is over.
    fn rewrite(&mut self) -> io::Result<()> {
        self.is_stale = true;
        let path = self.path.with_extension("new");
        let Some(mut file) = hold(&path, OpenOptions::new().create(true))? else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        file.set_len(0)?;
        // What could not be ended has idled out.
        let newest = self.newest;
        self.open.retain(|_, entry| entry.may_live(newest));
        let lines: Vec<_> = self.open.values().cloned().map(Line::Started).collect();
        let written = write_lines(&mut file, &lines).and_then(|()| fs::rename(&path, &self.path));
        if let Err(error) = written {
            // Before the lock is given back: another process would end the sessions in it.
            fs::remove_file(&path)?;
            return Err(error);
        }
        self.file = file;
        self.lines = lines.len();
        self.is_stale = false;
        Ok(())
    }
}

fn started(entries: &[Entry]) -> BTreeMap<String, Option<Entry>> {
    let entries = entries.iter().cloned();
    entries.map(|e| (e.session.clone(), Some(e))).collect()
}

impl Drop for Book {
    fn drop(&mut self) {
        if self.open.is_empty() {
            // Nothing is lost if it stays: the next process removes it.
            let _removed = fs::remove_file(&self.path);
        }
    }
}

/// Opens and locks a file; `None` if another process has, or has replaced it meanwhile.
///
/// # Errors
///
/// What the system says; `PermissionDenied` if it is not a regular file of this user. What another
/// user wrote names sessions, roles and endpoints that must not be used, and a lock on a file that
/// others can open could be theirs.
fn hold(path: &Path, options: &mut OpenOptions) -> io::Result<Option<File>> {
    // Without NONBLOCK, opening a FIFO could wait for ever.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    let own = rustix::process::geteuid().as_raw();
    if !metadata.is_file() || metadata.uid() != own || metadata.nlink() > 1 {
        let why = "it is not a regular file of this user, under one name";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let is_same = fs::metadata(path).is_ok_and(|there| {
        let held = file.metadata();
        held.is_ok_and(|held| (held.dev(), held.ino()) == (there.dev(), there.ino()))
    });
    Ok(is_same.then_some(file))
}

/// The files of processes that are no more, each held by us now.
fn abandoned(directory: &Path, ours: &Path) -> io::Result<Vec<(PathBuf, File)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let is_journal = name.is_some_and(|name| name.starts_with(PREFIX));
        if !is_journal || path == ours {
            continue;
        }
        match hold(&path, &mut OpenOptions::new()) {
            Ok(Some(file)) => files.push((path, file)),
            // Another process lives, or was faster.
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // It must not keep this process from its own journal.
            Err(error) => {
                let path = path.display();
                warn!(%error, %path, "a journal of sessions is left alone");
            }
        }
    }
    Ok(files)
}

/// The sessions that were started and not ended. What cannot be read was being written when its
/// process was killed, or was never ours.
fn read(file: &File) -> io::Result<BTreeMap<String, Entry>> {
    let mut text = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut text)?;
    let mut open = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            // An id of the service has nothing else; others can write to the directory.
            Ok(Line::Started(entry)) if !entry.session.chars().all(is_printable) => {}
            Ok(Line::Started(entry)) => drop(open.insert(entry.session.clone(), entry)),
            Ok(Line::Ended(session)) => drop(open.remove(&session)),
            Err(_) => {}
        }
    }
    Ok(open)
}

/// In one call, so that a kill leaves all of it or nothing.
fn write_lines(file: &mut File, lines: &[Line]) -> io::Result<()> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    file.write_all(&text)
}

/// Seconds that a session may live whose client is dead: the longest idle timeout is an hour, and
/// the longest duration that an account can set is a day.
const MAX_LIFE: u64 = 24 * 3600;

/// 2020-01-01: no clock that is right says less.
const FIRST_DATE: u64 = 1_577_836_800;

/// Bytes that are read of a file.
const MAX_FILE: u64 = 64 << 20;

/// How the files are called.
const PREFIX: &str = "sessions-";
const SUFFIX: &str = ".journal";

/// Processes with the same number, as in containers that share a directory.
const MAX_NAMES: u32 = 100;

/// Lines of history that are not worth a new file.
const MAX_HISTORY: usize = 4096;

#[cfg(test)]
mod tests;
