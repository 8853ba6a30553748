//! Writes a journal on threads that may block, and bounds how long anybody waits for them.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::warn;

use super::{Book, Entry};

/// What the handles of one journal share. Files are written on threads that may block, by one at a
/// time, which writes for all.
#[derive(Debug)]
pub(super) struct Shared {
    /// What is not written yet, by session: it was started, or (`None`) ended. There are never more
    /// than sessions that were open since the disk last answered.
    pub(super) pending: Mutex<BTreeMap<String, Option<Entry>>>,
    pub(super) book: Arc<tokio::sync::Mutex<Book>>,
    /// A write has not returned in time; what is pending is written after it.
    pub(super) is_stuck: AtomicBool,
    /// A failure was logged.
    is_reported: AtomicBool,
}

impl Shared {
    pub(super) fn new(book: Book) -> Self {
        Self {
            pending: Mutex::default(),
            book: Arc::new(tokio::sync::Mutex::new(book)),
            is_stuck: AtomicBool::new(false),
            is_reported: AtomicBool::new(false),
        }
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, BTreeMap<String, Option<Entry>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an end. What was not written needs not be taken back.
    pub(super) fn forget(&self, session: &str) {
        let mut pending = self.pending();
        let is_unwritten = matches!(pending.remove(session), Some(Some(_)));
        if !is_unwritten {
            pending.insert(session.to_owned(), None);
        }
    }

    /// Writes what is pending, within a bound.
    pub(super) async fn write(self: &Arc<Self>) {
        if self.is_stuck.load(Relaxed) {
            return;
        }
        match timeout(PATIENCE, Arc::clone(self).write_pending()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.report(&error),
            Err(_) => {
                self.is_stuck.store(true, Relaxed);
                self.report(&io::ErrorKind::TimedOut.into());
            }
        }
    }

    pub(super) async fn write_pending(self: Arc<Self>) -> io::Result<()> {
        let mut book = Arc::clone(&self.book).lock_owned().await;
        if self.pending().is_empty() {
            return Ok(());
        }
        let writing = spawn_blocking(move || {
            loop {
                let changes = std::mem::take(&mut *self.pending());
                if changes.is_empty() {
                    self.is_stuck.store(false, Relaxed);
                    return Ok(());
                }
                let written = book.apply(changes);
                self.is_stuck.store(false, Relaxed);
                written?;
            }
        });
        writing.await.unwrap_or_else(|error| Err(error.into()))
    }

    fn report(&self, error: &io::Error) {
        if !self.is_reported.swap(true, Relaxed) {
            warn!(%error, "cannot write down which sessions are open; if this process is killed they are left behind");
        }
    }
}

/// How long a write may take before connections go on without it.
const PATIENCE: Duration = Duration::from_secs(2);
