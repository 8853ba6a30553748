//! Tests of the queue and its thread.

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

/// Creates a writer that pauses until it is told not to, and writes a first line.
fn pausing_writer() -> (Writer, Receiver<Vec<u8>>) {
    let (written, batches) = channel();
    let sink: Sink = Box::new(move |bytes| written.send(bytes.to_vec()).map_err(io::Error::other));
    let writer = Writer::with_pause("test", 1 << 20, sink, |_| {}, Duration::from_secs(3600));
    writer.push(b"first\n".to_vec());
    assert_eq!(next(&batches), b"first\n");
    (writer, batches)
}

fn next(batches: &Receiver<Vec<u8>>) -> Vec<u8> {
    batches.recv_timeout(Duration::from_secs(60)).unwrap()
}

#[test]
fn a_flush_ends_a_pause_and_keeps_the_order() {
    let (writer, batches) = pausing_writer();

    for line in ["a\n", "b\n", "c\n"] {
        writer.push(line.as_bytes().to_vec());
    }
    writer.flush(Duration::from_secs(60));

    assert_eq!(
        batches.try_iter().collect::<Vec<_>>().concat(),
        b"a\nb\nc\n"
    );
}

#[test]
fn a_queue_that_fills_up_ends_a_pause_before_lines_are_dropped() {
    let (writer, batches) = pausing_writer();
    let line = vec![b'x'; 1000];

    for _ in 0..=PAUSE_SIZE / line.len() {
        writer.push(line.clone());
    }

    assert!(next(&batches).starts_with(&line));
    assert_eq!(writer.dropped(), 0);
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
