//! Journal of active sessions, so that the next process can terminate those of a killed one.
//!
//! A session that is not terminated keeps a worker process on its target until the account's idle
//! timeout. Each process therefore records the sessions it starts and terminates in its own file,
//! which it keeps locked. The lock ends with the process: the next process to start finds the
//! unlocked files and terminates the sessions in them.
//!
//! ```text
//!   {"started":{"session":"me-0123","since":1795618385,"region":"eu-west-1","profile":"prod"}}
//!   {"ended":"me-0123"}
//! ```
//!
//! A line is written before its session is used. The file contains no secrets. When most of it is
//! outdated, it is rewritten to a new file, which is locked and renamed over the old one.

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

/// Records which sessions are active. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal(Option<Arc<Shared>>);

impl Journal {
    /// Returns a journal that records nothing.
    pub fn none() -> Self {
        Self(None)
    }

    /// Creates the file of this process in `directory`, which is created if it does not exist.
    /// Returns the active sessions in unlocked files, which are copied to the new file. `now` is in
    /// seconds since the Unix epoch; sessions started a day or longer ago have reached the idle
    /// timeout and are left out.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be used, or its file system does not support locks.
    pub fn open(directory: &Path, now: u64) -> io::Result<(Self, Vec<JournalEntry>)> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory)?;
        let mut journal_file = JournalFile::begin(directory)?;
        let own = std::mem::take(&mut journal_file.open).into_values();
        let mut left: Vec<_> = own.map(|entry| entry.dated(now)).collect();
        journal_file.adopt(started(&left));
        for file in abandoned(directory, &journal_file.path)? {
            let path = file.0.clone();
            match journal_file.take_over(file, now) {
                Ok(adopted) => left.extend(adopted),
                Err(error) => {
                    let path = path.display();
                    warn!(%error, %path, "cannot take over the session journal of a former process");
                }
            }
        }
        let (left, expired): (Vec<_>, Vec<_>) = left.into_iter().partition(|e| e.may_live(now));
        journal_file.adopt(expired.into_iter().map(|e| (e.session, None)).collect());
        Ok((Self(Some(Arc::new(Shared::new(journal_file)))), left))
    }

    /// Records the start of a session. Returns once it is written, or after two seconds: a hanging
    /// disk must not delay connections.
    pub(super) async fn add(&self, entry: JournalEntry) {
        if let Some(shared) = &self.0 {
            shared.pending().insert(entry.session.clone(), Some(entry));
            shared.write().await;
        }
    }

    /// Records the end of a session.
    pub(super) async fn remove(&self, session: &str) {
        if let Some(shared) = &self.0 {
            shared.forget(session);
            shared.write().await;
        }
    }

    /// Blocks all writes until the result is dropped.
    #[cfg(test)]
    pub(super) fn block_writes(&self) -> impl Sized + '_ {
        self.locked_file().unwrap()
    }

    #[cfg(test)]
    fn locked_file(&self) -> Option<tokio::sync::MutexGuard<'_, JournalFile>> {
        self.0.as_ref()?.journal_file.try_lock().ok()
    }
}

/// An active session and its origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The session id.
    pub session: String,
    /// When it was started, in seconds since the Unix epoch.
    pub since: u64,
    /// How it was started.
    #[serde(flatten)]
    pub origin: Origin,
}

impl JournalEntry {
    fn may_live(&self, now: u64) -> bool {
        now.saturating_sub(self.since) < MAX_LIFE
    }

    /// Replaces an implausible start time by `now` (the clock was wrong then, or is now), so that a
    /// termination is attempted at least once, but not indefinitely.
    fn dated(self, now: u64) -> Self {
        let is_plausible = (FIRST_DATE..=now).contains(&self.since);
        let since = if is_plausible { self.since } else { now };
        Self { since, ..self }
    }
}

/// Region, identity and endpoint with which a session was started.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The region.
    pub region: String,
    /// The profile, if one was configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Whether its credentials had priority over those of the environment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub profile_first: bool,
    /// The role, if one was assumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The endpoint of the SSM API, if it is not the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum JournalLine {
    Started(JournalEntry),
    Ended(String),
}

/// The file of this process.
#[derive(Debug)]
struct JournalFile {
    path: PathBuf,
    file: File,
    open: BTreeMap<String, JournalEntry>,
    /// Lines in the file.
    lines: usize,
    /// Start time of the most recent session.
    newest: u64,
    /// The file is incomplete, or may end within a line.
    is_stale: bool,
}

impl JournalFile {
    /// Uses the first file name that no other process has locked. Sessions in an existing file of
    /// that name are adopted.
    fn begin(directory: &Path) -> io::Result<Self> {
        let pid = std::process::id();
        for n in 0..MAX_NAMES {
            let path = directory.join(format!("{PREFIX}{pid}-{n}{SUFFIX}"));
            let locked = match lock(&path, OpenOptions::new().create(true)) {
                Err(error) if fs::symlink_metadata(&path).is_ok() => {
                    let path = path.display();
                    warn!(%error, %path, "cannot use this session journal; trying another file name");
                    None
                }
                locked => locked?,
            };
            if let Some(file) = locked {
                let open = read(&file)?;
                return Ok(Self {
                    path,
                    file,
                    open,
                    lines: 0,
                    newest: 0,
                    // It may end in a partial line of a killed process.
                    is_stale: true,
                });
            }
        }
        let why = "all file names of this process are in use";
        Err(io::Error::new(io::ErrorKind::AddrInUse, why))
    }

    /// Copies the active sessions of another file, and removes that file.
    fn take_over(
        &mut self,
        (path, file): (PathBuf, File),
        now: u64,
    ) -> io::Result<Vec<JournalEntry>> {
        let left: Vec<_> = read(&file)?.into_values().map(|e| e.dated(now)).collect();
        if self.adopt(started(&left)) {
            fs::remove_file(path)?;
        }
        Ok(left)
    }

    /// Writes changes by session: `Some` if it was started, `None` if it has ended.
    fn apply(&mut self, changes: BTreeMap<String, Option<JournalEntry>>) -> io::Result<()> {
        let mut lines = Vec::new();
        for (session, entry) in changes {
            match entry {
                Some(entry) => {
                    self.newest = self.newest.max(entry.since);
                    self.open.insert(session, entry.clone());
                    lines.push(JournalLine::Started(entry));
                }
                None if self.open.remove(&session).is_some() => {
                    lines.push(JournalLine::Ended(session));
                }
                None => {}
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        #[cfg(test)]
        crate::blocking::virtual_disk::check_space().inspect_err(|_| self.is_stale = true)?;
        self.lines += lines.len();
        if self.is_stale || self.lines > self.open.len() + MAX_HISTORY.max(2 * self.open.len()) {
            return self.rewrite();
        }
        self.is_stale = true;
        write_lines(&mut self.file, &lines)?;
        self.is_stale = false;
        Ok(())
    }

    /// Rewrites the file with only the active sessions.
    fn rewrite(&mut self) -> io::Result<()> {
        self.is_stale = true;
        let path = self.path.with_extension("new");
        let Some(mut file) = lock(&path, OpenOptions::new().create(true))? else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        file.set_len(0)?;
        // Sessions that could not be terminated have reached the idle timeout.
        let newest = self.newest;
        self.open.retain(|_, entry| entry.may_live(newest));
        let lines: Vec<_> = self
            .open
            .values()
            .cloned()
            .map(JournalLine::Started)
            .collect();
        let written = write_lines(&mut file, &lines).and_then(|()| fs::rename(&path, &self.path));
        if let Err(error) = written {
            // Before the lock is released: another process would terminate the sessions in it.
            fs::remove_file(&path)?;
            return Err(error);
        }
        self.file = file;
        self.lines = lines.len();
        self.is_stale = false;
        Ok(())
    }
}

fn started(entries: &[JournalEntry]) -> BTreeMap<String, Option<JournalEntry>> {
    let entries = entries.iter().cloned();
    entries.map(|e| (e.session.clone(), Some(e))).collect()
}

impl Drop for JournalFile {
    fn drop(&mut self) {
        if self.open.is_empty() {
            // If this fails, the next process removes it.
            let _removed = fs::remove_file(&self.path);
        }
    }
}

/// Opens and locks a file. Returns `None` if another process has locked it, or has replaced it
/// meanwhile.
///
/// # Errors
///
/// The I/O error; `PermissionDenied` if it is not a regular file of this user with a single link. A
/// file written by another user could name sessions, roles and endpoints that must not be used, and
/// others could hold the lock on a file that they can open.
fn lock(path: &Path, options: &mut OpenOptions) -> io::Result<Option<File>> {
    // Without NONBLOCK, opening a FIFO could block indefinitely.
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
        let why = "not a regular file of this user with a single link";
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

/// Opens and locks the files of processes that have ended.
fn abandoned(directory: &Path, ours: &Path) -> io::Result<Vec<(PathBuf, File)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let is_journal = name.is_some_and(|name| name.starts_with(PREFIX));
        if !is_journal || path == ours {
            continue;
        }
        match lock(&path, &mut OpenOptions::new()) {
            Ok(Some(file)) => files.push((path, file)),
            // The other process is running, or locked it first.
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Must not prevent this process from having its own journal.
            Err(error) => {
                let path = path.display();
                warn!(%error, %path, "ignoring a session journal");
            }
        }
    }
    Ok(files)
}

/// Returns the sessions that were started and have not ended. Invalid lines are ignored: they were
/// being written when their process was killed, or were not written by this program.
fn read(file: &File) -> io::Result<BTreeMap<String, JournalEntry>> {
    let mut text = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut text)?;
    let mut open = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            // Ids from AWS are always printable, but others may be able to write to the directory.
            Ok(JournalLine::Started(entry)) if !entry.session.chars().all(is_printable) => {}
            Ok(JournalLine::Started(entry)) => drop(open.insert(entry.session.clone(), entry)),
            Ok(JournalLine::Ended(session)) => drop(open.remove(&session)),
            Err(_) => {}
        }
    }
    Ok(open)
}

/// Writes all lines in one call, so that a kill leaves either all of them or none.
fn write_lines(file: &mut File, lines: &[JournalLine]) -> io::Result<()> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    file.write_all(&text)
}

/// Maximum lifetime of a session whose client is dead, in seconds: the longest idle timeout is one
/// hour, and the longest duration that an account can configure is one day.
const MAX_LIFE: u64 = 24 * 3600;

/// 2020-01-01: an earlier time means that the clock is wrong.
const FIRST_DATE: u64 = 1_577_836_800;

/// Maximum number of bytes read from a file.
const MAX_FILE: u64 = 64 << 20;

/// Parts of the file names.
const PREFIX: &str = "sessions-";
const SUFFIX: &str = ".journal";

/// Maximum number of processes with the same id, as in containers that share a directory.
const MAX_NAMES: u32 = 100;

/// Outdated lines that do not yet cause a rewrite.
const MAX_HISTORY: usize = 4096;

#[cfg(test)]
mod tests;
