//! Writes the journal on blocking threads, with a limit on the time that callers wait.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;
use tracing::warn;

use super::{JournalEntry, JournalFile};
use crate::blocking;

/// State shared by the handles of a journal. Files are written on blocking threads, by one writer
/// at a time, which writes the changes of all handles.
#[derive(Debug)]
pub(super) struct Shared {
    /// Changes not yet written, by session: `Some` if it was started, `None` if it has ended. Never
    /// more than the sessions that were active since the disk last responded.
    pub(super) pending: Mutex<JournalChanges>,
    pub(super) journal_file: Arc<tokio::sync::Mutex<JournalFile>>,
    /// A write has timed out. Pending changes are written after it.
    pub(super) is_stuck: AtomicBool,
    /// A failure was logged.
    is_reported: AtomicBool,
}

impl Shared {
    pub(super) fn new(journal_file: JournalFile) -> Self {
        Self {
            pending: Mutex::default(),
            journal_file: Arc::new(tokio::sync::Mutex::new(journal_file)),
            is_stuck: AtomicBool::new(false),
            is_reported: AtomicBool::new(false),
        }
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, JournalChanges> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the end of a session. An unwritten start is removed instead.
    pub(super) fn forget(&self, session: &str) {
        let mut pending = self.pending();
        let is_unwritten = matches!(pending.remove(session), Some(Some(_)));
        if !is_unwritten {
            pending.insert(session.to_owned(), None);
        }
    }

    /// Writes pending changes. Returns after [`TIMEOUT`] at the latest.
    pub(super) async fn write(self: &Arc<Self>) {
        if self.is_stuck.load(Relaxed) {
            return;
        }
        match timeout(TIMEOUT, Arc::clone(self).write_pending()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.report(&error),
            Err(_) => {
                self.handle_timeout();
                self.report(&io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// Lets callers continue without a write, unless the writer has finished in this moment.
    pub(super) fn handle_timeout(&self) {
        // A writer that still has the journal file checks the changes once more, under this lock.
        let _pending = self.pending();
        if self.journal_file.try_lock().is_err() {
            self.is_stuck.store(true, Relaxed);
        }
    }

    pub(super) async fn write_pending(self: Arc<Self>) -> io::Result<()> {
        let mut journal_file = Arc::clone(&self.journal_file).lock_owned().await;
        let writing = blocking::spawn(move || {
            loop {
                let mut pending = self.pending();
                let changes = std::mem::take(&mut *pending);
                if changes.is_empty() {
                    self.release(journal_file, &pending);
                    return Ok(());
                }
                drop(pending);
                if let Err(error) = journal_file.apply(changes) {
                    self.release(journal_file, &self.pending());
                    return Err(error);
                }
                self.is_stuck.store(false, Relaxed);
            }
        });
        writing.await.unwrap_or_else(|error| Err(error.into()))
    }

    /// Ends a writer. Under the lock of the changes, so that a change that is added later is
    /// written by another writer.
    fn release(
        &self,
        journal_file: OwnedMutexGuard<JournalFile>,
        _pending: &MutexGuard<'_, JournalChanges>,
    ) {
        self.is_stuck.store(false, Relaxed);
        drop(journal_file);
    }

    fn report(&self, error: &io::Error) {
        if !self.is_reported.swap(true, Relaxed) {
            warn!(%error, "cannot write the journal of active sessions; they stay active if this process is killed");
        }
    }
}

impl JournalFile {
    /// Takes over entries of former processes. Returns false if they cannot be written now, for
    /// example to a full disk: their sessions are terminated all the same, and the files stay.
    pub(super) fn adopt(&mut self, entries: JournalChanges) -> bool {
        let adopted = self.apply(entries).inspect_err(|error| {
            warn!(%error, "cannot write the sessions of former processes to the journal");
        });
        adopted.is_ok()
    }
}

/// Changes by session: `Some` if it was started, `None` if it has ended.
type JournalChanges = BTreeMap<String, Option<JournalEntry>>;

/// Timeout of a write, after which connections continue without it.
const TIMEOUT: Duration = Duration::from_secs(2);
