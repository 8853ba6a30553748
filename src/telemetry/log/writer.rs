//! A bounded queue of log lines, and the thread that writes them.
//!
//! ```text
//!   any thread ─push─▶ queue (at most MAX_SIZE bytes) ─▶ writer thread ─▶ stderr or journald
//!                  └─▶ full: dropped and counted
//! ```
//!
//! [`Writer::push`] never waits for the reader of the log: a full pipe or a hanging journald delays
//! only the writer thread. Once writes succeed again, the number of dropped lines is reported.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

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
    /// Notified when a line is queued.
    filled: Condvar,
    /// Notified when everything has been written.
    emptied: Condvar,
    sink: Sink,
    report: ReportDropped,
    /// Maximum size in bytes of lines written together; 0: each line is written separately.
    batch: usize,
}

#[derive(Default)]
struct LineQueue {
    lines: VecDeque<Vec<u8>>,
    /// Queued bytes, including those being written.
    size: usize,
    /// Lines dropped since the process started.
    dropped: u64,
    /// Of these, lines not yet reported.
    unreported: u64,
}

impl Writer {
    /// Starts the thread. `batch` is the maximum size in bytes of whole lines written together.
    pub(super) fn start(name: &str, batch: usize, sink: Sink, report: ReportDropped) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            sink,
            report,
            batch,
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
    pub(super) fn push(&self, line: Vec<u8>) {
        if !self.has_thread {
            // Rare: a system that cannot start a thread logs little.
            let written = (self.shared.sink)(&line);
            self.shared.lock().dropped += u64::from(written.is_err());
            return;
        }
        let mut queue = self.shared.lock();
        let size = cost(&line);
        if queue.size + size > MAX_SIZE {
            queue.dropped += 1;
            queue.unreported += 1;
            return;
        }
        queue.size += size;
        queue.lines.push_back(line);
        self.shared.filled.notify_one();
    }

    pub(super) fn dropped(&self) -> u64 {
        self.shared.lock().dropped
    }

    /// Waits until everything is written, for `timeout` at most.
    pub(super) fn flush(&self, timeout: Duration) {
        let waits = |queue: &mut LineQueue| queue.size > 0;
        let waited = self
            .shared
            .emptied
            .wait_timeout_while(self.shared.lock(), timeout, waits);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let batch = self.next();
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
            if queue.size == 0 {
                self.emptied.notify_all();
            }
        }
    }

    /// Waits for the next batch.
    fn next(&self) -> Batch {
        let empty = |queue: &mut LineQueue| queue.lines.is_empty();
        let filled = self.filled.wait_while(self.lock(), empty);
        let mut queue = filled.unwrap_or_else(PoisonError::into_inner);
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

    fn lock(&self) -> MutexGuard<'_, LineQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

/// Overhead in bytes of an allocation and a queue entry.
const OVERHEAD: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::SeqCst;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Creates a writer whose reader takes one batch per unit that is sent.
    fn writer(batch: usize, report: ReportDropped) -> (Writer, Sender<()>, Receiver<Vec<u8>>) {
        let (permit, permits) = channel();
        let permits = Mutex::new(permits);
        let (written, batches) = channel();
        let sink: Sink = Box::new(move |bytes| {
            permits.lock().unwrap().recv().map_err(io::Error::other)?;
            written.send(bytes.to_vec()).map_err(io::Error::other)
        });
        (Writer::start("test", batch, sink, report), permit, batches)
    }

    #[test]
    fn lines_dropped_because_of_a_hanging_reader_are_reported_when_it_reads_again() {
        static REPORTED: AtomicU64 = AtomicU64::new(0);
        let (writer, permit, batches) = writer(0, |dropped| {
            REPORTED.fetch_add(dropped, SeqCst);
        });
        let line = vec![b'x'; 1000];

        for _ in 0..10_000 {
            writer.push(line.clone());
        }

        let dropped = writer.dropped();
        let kept = 10_000 - dropped;
        assert_eq!(kept, (MAX_SIZE / (1000 + OVERHEAD)) as u64);
        for _ in 0..kept {
            permit.send(()).unwrap();
        }
        writer.flush(Duration::from_secs(60));
        assert_eq!(REPORTED.load(SeqCst), dropped);
        let written = (0..kept).map(|_| batches.recv().unwrap().len());
        assert!(written.sum::<usize>() > 0);
        assert_eq!(writer.dropped(), dropped);
    }

    #[test]
    fn a_flush_times_out_if_nothing_is_read() {
        let (writer, _permit, _batches) = writer(0, |_| {});
        writer.push(b"line\n".to_vec());

        writer.flush(Duration::from_millis(1));

        assert_eq!(writer.dropped(), 0);
    }

    #[test]
    fn short_lines_are_written_together_and_none_is_split() {
        let (writer, permit, batches) = writer(10, |_| {});
        writer.push(b"first\n".to_vec());
        for line in ["aaa\n", "bbb\n", "ccc\n", "a long line of its own\n"] {
            writer.push(line.as_bytes().to_vec());
        }

        drop((0..9).map(|_| permit.send(())).collect::<Vec<_>>());
        writer.flush(Duration::from_secs(60));

        let written: Vec<Vec<u8>> = batches.try_iter().collect();
        assert_eq!(
            written.concat(),
            b"first\naaa\nbbb\nccc\na long line of its own\n"
        );
        assert!(written.iter().all(|batch| batch.ends_with(b"\n")));
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_not_reported() {
        let (writer, permit, _batches) = writer(0, |_| panic!("reported"));
        drop(permit);

        writer.push(b"line\n".to_vec());
        writer.flush(Duration::from_secs(60));

        assert_eq!(writer.dropped(), 1);
    }
}
