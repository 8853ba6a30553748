//! A bounded queue of log lines, and the thread that writes them.
//!
//! ```text
//!   any thread ─push─▶ queue (at most MAX_SIZE bytes) ─▶ writer thread ─▶ stderr or journald
//!                  └─▶ full: dropped and counted
//! ```
//!
//! [`Writer::push`] never waits for the reader of the log: a full pipe or a hanging journald delays
//! only the writer thread. Once writes succeed again, the number of dropped lines is reported.
//!
//! Waking the thread costs more than a line. A line is written at once, unless others came shortly
//! before: then the thread pauses after each write, and writes together what has come meanwhile. A
//! flush, or a queue that fills up, ends the pause.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock;

/// Writes one batch; may block for any time.
pub(super) type Sink = Box<dyn Fn(&[u8]) -> io::Result<()> + Send + Sync>;

/// Logs the given number of dropped lines.
pub(super) type ReportDropped = fn(u64);

/// Handle of the queue; its thread lives as long as the process.
#[derive(Clone)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// The thread was started; without one, [`Writer::push`] writes directly.
    has_thread: bool,
}

struct Shared {
    queue: Mutex<LineQueue>,
    /// Notified when the queue has the size that the thread waits for.
    filled: Condvar,
    /// Notified when everything has been written.
    emptied: Condvar,
    sink: Sink,
    report: ReportDropped,
    /// Maximum size in bytes of lines written together; 0: each line is written separately.
    batch: usize,
    /// Maximum time for which a line waits for others.
    pause: Duration,
}

struct LineQueue {
    lines: VecDeque<Vec<u8>>,
    /// Queued bytes, including those being written.
    size: usize,
    /// The size from which the thread is notified; `None` if it is not waiting, or was notified.
    notify_from: Option<usize>,
    /// Number of threads that wait until everything is written.
    flushes: usize,
    /// Lines dropped since the process started.
    dropped: u64,
    /// Of these, lines not yet reported.
    unreported: u64,
}

impl Writer {
    /// Starts the thread. `batch` is the maximum size in bytes of whole lines written together.
    pub(super) fn start(name: &str, batch: usize, sink: Sink, report: ReportDropped) -> Self {
        Self::with_pause(name, batch, sink, report, PAUSE)
    }

    fn with_pause(
        name: &str,
        batch: usize,
        sink: Sink,
        report: ReportDropped,
        pause: Duration,
    ) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::new(LineQueue {
                lines: VecDeque::new(),
                size: 0,
                notify_from: None,
                flushes: 0,
                dropped: 0,
                unreported: 0,
            }),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            sink,
            report,
            batch,
            pause,
        });
        let writing = Arc::clone(&shared);
        let thread = thread::Builder::new().name(name.to_owned());
        let started = thread.spawn(move || writing.run());
        Self {
            shared,
            has_thread: started.is_ok(),
        }
    }

    /// Queues a line, or drops it if the queue is full.
    pub(super) fn push(&self, mut line: Vec<u8>) {
        if !self.has_thread {
            // Rare: a system that cannot start a thread logs little.
            let written = (self.shared.sink)(&line);
            self.shared.lock().dropped += u64::from(written.is_err());
            return;
        }
        line.shrink_to_fit();
        let mut queue = self.shared.lock();
        let size = cost(&line);
        if queue.size + size > MAX_SIZE {
            queue.dropped += 1;
            queue.unreported += 1;
            return;
        }
        queue.size += size;
        queue.lines.push_back(line);
        if queue.takes_notification() {
            // Not while the queue is locked: the thread would have to wait again.
            drop(queue);
            self.shared.filled.notify_one();
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.shared.lock().dropped
    }

    /// Waits until everything is written, for `timeout` at most.
    pub(super) fn flush(&self, timeout: Duration) {
        let waits = |queue: &mut LineQueue| queue.size > 0;
        let mut queue = self.shared.lock();
        if queue.notify_from.take().is_some() {
            self.shared.filled.notify_one();
        }
        queue.flushes += 1;
        let waited = self
            .shared
            .emptied
            .wait_timeout_while(queue, timeout, waits);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.flushes -= 1;
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl LineQueue {
    /// Returns true if the thread must be notified now.
    fn takes_notification(&mut self) -> bool {
        let size = self.size;
        self.notify_from.take_if(|from| size >= *from).is_some()
    }
}

impl Shared {
    fn run(&self) {
        let mut pace = Pace {
            last: clock::now(),
            is_busy: false,
        };
        loop {
            let batch = self.next(&mut pace);
            let written = (self.sink)(&batch.bytes);
            let mut queue = self.lock();
            if written.is_err() {
                // There is no reader; a report would be lost as well.
                queue.dropped += batch.lines;
            } else if queue.unreported > 0 && queue.size - batch.size <= MAX_SIZE / 2 {
                let dropped = std::mem::take(&mut queue.unreported);
                drop(queue);
                // The report is queued through `push`.
                (self.report)(dropped);
                queue = self.lock();
            }
            queue.size -= batch.size;
            if queue.size == 0 && queue.flushes > 0 {
                self.emptied.notify_all();
            }
        }
    }

    /// Waits for the next batch.
    fn next(&self, pace: &mut Pace) -> Batch {
        let mut queue = self.lock();
        let pauses = pace.is_busy && queue.lines.is_empty();
        if pauses {
            queue = self.pause(queue);
        }
        let has_gathered = pauses && !queue.lines.is_empty();
        queue = self.filled(queue);
        pace.is_busy = has_gathered || clock::since(pace.last) < self.pause;
        pace.last = clock::now();
        let mut batch = Batch::default();
        while let Some(line) = queue.lines.front() {
            if batch.lines > 0 && batch.bytes.len() + line.len() > self.batch {
                break;
            }
            batch.size += cost(line);
            batch.lines += 1;
            batch.bytes.extend_from_slice(line);
            queue.lines.pop_front();
        }
        batch
    }

    /// Waits for the length of a pause; shorter if the queue fills up, or if it is flushed.
    fn pause<'a>(&self, mut queue: MutexGuard<'a, LineQueue>) -> MutexGuard<'a, LineQueue> {
        queue.notify_from = Some(PAUSE_SIZE);
        let pauses = |queue: &mut LineQueue| queue.notify_from.is_some();
        let waited = self.filled.wait_timeout_while(queue, self.pause, pauses);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.notify_from = None;
        queue
    }

    /// Waits for a line.
    fn filled<'a>(&self, mut queue: MutexGuard<'a, LineQueue>) -> MutexGuard<'a, LineQueue> {
        while queue.lines.is_empty() {
            queue.notify_from = Some(0);
            let woken = self.filled.wait(queue);
            queue = woken.unwrap_or_else(PoisonError::into_inner);
        }
        queue.notify_from = None;
        queue
    }

    fn lock(&self) -> MutexGuard<'_, LineQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How fast lines come.
struct Pace {
    /// When the thread last began to write.
    last: Instant,
    /// Several lines came within the length of a pause.
    is_busy: bool,
}

/// Lines that are written together.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
    /// Sum of their [`cost`].
    size: usize,
}

/// Returns the memory used by a queued line.
fn cost(line: &[u8]) -> usize {
    line.len() + OVERHEAD
}

/// Maximum size of the queue in bytes: seconds of a busy log at `trace`.
const MAX_SIZE: usize = 2 << 20;

/// Shorter than anything that the reader of a log notices.
const PAUSE: Duration = Duration::from_millis(20);

/// Size of the queue in bytes that ends a pause.
const PAUSE_SIZE: usize = MAX_SIZE / 8;

/// Overhead in bytes of an allocation and a queue entry.
const OVERHEAD: usize = 64;

#[cfg(test)]
mod tests;
