//! stdin and stdout of every kind: pipes, sockets, files, terminals.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use tokio::time::timeout;

use super::*;

#[tokio::test]
async fn pipes_carry_everything_both_ways_and_are_not_changed() {
    let (input, mut parent_writer) = io::pipe().unwrap();
    let (mut parent_reader, output) = io::pipe().unwrap();
    let (watched, flags) = (output.try_clone().unwrap(), rustix::fs::fcntl_getfl);
    let before = flags(&watched).unwrap();
    let socket = socket(input.into(), output.into());

    parent_writer.write_all(b"up").unwrap();
    assert_eq!(socket.read().await.unwrap(), b"up");
    drop(parent_writer);
    assert_eq!(socket.read().await.unwrap(), b"", "an end is an end");
    let down: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let sent = down.clone();
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        parent_reader.read_to_end(&mut got).unwrap();
        got
    });
    write_all(&socket, &sent).await;

    assert_eq!(flags(&watched).unwrap(), before);
    drop((socket, watched));
    assert!(reader.join().unwrap() == down);
}

#[tokio::test]
async fn a_closed_reader_is_detected_without_a_write() {
    let (input, _parent_writer) = io::pipe().unwrap();
    let (parent_reader, output) = io::pipe().unwrap();
    let socket = socket(input.into(), output.into());
    let looking = timeout(Duration::from_millis(1), socket.read());
    assert!(looking.await.is_err() && !socket.is_closed());

    drop(parent_reader);

    let error = socket.read().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    socket.client_closed().await;
    assert!(socket.is_closed());
}

#[tokio::test]
async fn a_full_pipe_does_not_block_and_its_closed_reader_is_detected() {
    let (input, _parent_writer) = io::pipe().unwrap();
    let (parent_reader, output) = io::pipe().unwrap();
    let socket = socket(input.into(), output.into());
    while socket.write(&[7; 100_000]).await.is_ok() {}

    let waiting = timeout(Duration::from_millis(1), socket.writable());
    assert!(waiting.await.is_err());
    drop(parent_reader);

    socket.client_closed().await;
}

#[tokio::test]
async fn a_pipe_whose_other_end_is_replaced_is_waited_for_without_a_busy_loop() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = |name: &str| {
        let path = directory.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        path
    };
    let open = |path, flags| {
        rustix::fs::open(path, flags | OFlags::NONBLOCK, Mode::empty()).map(File::from)
    };
    let (up, down) = (fifo("up"), fifo("down"));
    let input = open(&up, OFlags::RDONLY).unwrap();
    let mut parent_writer = open(&up, OFlags::WRONLY).unwrap();
    let parent_reader = open(&down, OFlags::RDONLY).unwrap();
    let output = open(&down, OFlags::WRONLY).unwrap();
    let socket = socket(input.into(), output.into());
    while socket.write(&[7; 100_000]).await.is_ok() {}

    // The runtime sees both ends close, and then both are open again.
    parent_writer.write_all(b"one").unwrap();
    drop((parent_writer, parent_reader));
    tokio::task::yield_now().await;
    let mut parent_writer = open(&up, OFlags::WRONLY).unwrap();
    let parent_reader = open(&down, OFlags::RDONLY).unwrap();
    assert_eq!(socket.read().await.unwrap(), b"one");

    for polls in [
        polls(socket.read()).await,
        polls(socket.client_closed()).await,
        polls(socket.writable()).await,
    ] {
        assert!(polls < 20, "{polls} polls although nothing happened");
    }
    parent_writer.write_all(b"two").unwrap();
    assert_eq!(socket.read().await.unwrap(), b"two");
    drop(parent_reader);
    socket.client_closed().await;
}

/// Returns how often a future that stays pending is polled within some time.
async fn polls<T>(future: impl Future<Output = T>) -> u32 {
    let mut future = std::pin::pin!(future);
    let mut polls = 0;
    let counted = std::future::poll_fn(|context| {
        polls += 1;
        future.as_mut().poll(context)
    });
    assert!(timeout(Duration::from_millis(50), counted).await.is_err());
    polls
}

#[tokio::test]
async fn one_socket_may_be_both() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let input = OwnedFd::from(ours.try_clone().unwrap());
    let socket = socket(input, ours.into());

    theirs.write_all(b"up").unwrap();
    assert_eq!(socket.read().await.unwrap(), b"up");
    write_all(&socket, b"down").await;
    let mut got = [0; 4];
    theirs.read_exact(&mut got).unwrap();
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(socket.read().await.unwrap(), b"");
    assert!(!socket.is_closed(), "half-closed is not gone");
    drop(theirs);

    assert_eq!(&got, b"down");
    socket.client_closed().await;
}

#[tokio::test]
async fn files_are_always_ready() {
    let mut input = tempfile::tempfile().unwrap();
    input.write_all(b"text").unwrap();
    io::Seek::rewind(&mut input).unwrap();
    let output = tempfile::tempfile().unwrap();
    let mut written = output.try_clone().unwrap();
    let socket = socket(input.into(), output.into());

    assert_eq!(socket.read().await.unwrap(), b"text");
    assert_eq!(socket.read().await.unwrap(), b"");
    write_all(&socket, &[7; 100_000]).await;

    io::Seek::rewind(&mut written).unwrap();
    let mut got = Vec::new();
    written.read_to_end(&mut got).unwrap();
    assert_eq!(got, [7; 100_000]);
    assert!(!socket.is_closed());
}

#[tokio::test]
async fn a_full_device_is_a_fault_and_a_closed_reader_is_not() {
    let (input, _parent_writer) = io::pipe().unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let socket = socket(input.into(), full.into());
    let faults = socket.faults();

    assert!(socket.write(b"lost").await.is_err());
    assert!(socket.read().await.is_err(), "nothing more is taken");
    drop(socket);
    let fault = faults.borrow().clone().unwrap();
    assert!(fault.what.starts_with("cannot write to stdout: "));

    let (input, _parent_writer) = io::pipe().unwrap();
    let (parent_reader, output) = io::pipe().unwrap();
    let socket = self::socket(input.into(), output.into());
    let faults = socket.faults();
    drop(parent_reader);
    assert!(socket.write(b"unheard").await.is_err());
    assert!(socket.read().await.is_err());
    assert!(faults.borrow().is_none());
}

#[tokio::test]
async fn an_unread_terminal_does_not_block_the_runtime() {
    let (input, _parent_writer) = io::pipe().unwrap();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let output = rustix::fs::open(name, OFlags::WRONLY | OFlags::NOCTTY, Mode::empty()).unwrap();
    let socket = socket(input.into(), output);

    let writing = write_all(&socket, &[b'x'; 1 << 20]);

    assert!(timeout(Duration::from_secs(1), writing).await.is_err());
    // The thread that writes ends with the terminal.
    drop(terminal);
}

#[tokio::test]
async fn a_cancelled_read_loses_no_bytes() {
    let (input, mut parent_writer) = io::pipe().unwrap();
    let (_parent_reader, output) = io::pipe().unwrap();
    let socket = socket(input.into(), output.into());
    let mut sent = Vec::new();
    let mut got = Vec::new();

    for n in 0..200_u8 {
        parent_writer.write_all(&[n]).unwrap();
        sent.push(n);
        let limit = Duration::from_micros(u64::from(n) * 10);
        if let Ok(read) = timeout(limit, socket.read()).await {
            got.extend(read.unwrap());
        }
    }
    drop(parent_writer);
    loop {
        let read = socket.read().await.unwrap();
        if read.is_empty() {
            break;
        }
        got.extend(read);
    }

    assert_eq!(got, sent);
}

fn socket(input: OwnedFd, output: OwnedFd) -> StdioSocket {
    StdioSocket::new(Stdio { input, output }).unwrap()
}

async fn write_all(socket: &StdioSocket, mut data: &[u8]) {
    while !data.is_empty() {
        match socket.write(data).await {
            Ok(written) => data = &data[written..],
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                socket.writable().await.unwrap();
            }
        }
    }
}
