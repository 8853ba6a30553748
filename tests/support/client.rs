//! The client of a stream, in memory.
//!
//! It keeps to the contract of the core and relies on nothing else: after `Blocked` it does not
//! read before `Readable`, after `Full` it does not write before `Writable`. If the core omits a
//! wake-up, the test does not end.

use ssm_proxyd::proto::{Read, Reason, StreamId, Tunnel, Upload, Write};

/// A client connection.
pub(crate) struct Client {
    id: StreamId,
    script: Vec<u8>,
    written: usize,
    received: Vec<u8>,
    end: Option<End>,
    upload: Option<Upload>,
    reads: bool,
    /// The maximum number of bytes per read.
    chunk: usize,
    readable: bool,
    writable: bool,
    state: State,
}

impl Client {
    pub(crate) fn new(id: StreamId) -> Self {
        Self {
            id,
            script: Vec::new(),
            written: 0,
            received: Vec::new(),
            end: None,
            upload: None,
            reads: true,
            chunk: 16 * 1024,
            readable: true,
            writable: true,
            state: State::Open,
        }
    }

    /// Appends data to write.
    pub(crate) fn write(&mut self, data: &[u8]) {
        self.script.extend_from_slice(data);
    }

    /// Closes its writing side once everything is written.
    pub(crate) fn finish(&mut self) {
        if self.state == State::Open {
            self.state = State::Finishing;
        }
    }

    /// Stops or resumes reading.
    pub(crate) fn set_reads(&mut self, reads: bool) {
        self.reads = reads;
    }

    /// Reads at most this number of bytes at once.
    pub(crate) fn read_by(&mut self, chunk: usize) {
        self.chunk = chunk;
    }

    /// Closes the stream. Data written so far may still be in flight.
    pub(crate) fn reset(&mut self, tunnel: &mut Tunnel) {
        self.state = State::Closed;
        tunnel.reset(self.id);
    }

    /// Closes the stream, and asks for the outcome of its upload later.
    pub(crate) fn abandon(&mut self, tunnel: &mut Tunnel) {
        self.state = State::Closed;
        tunnel.leave(self.id);
    }

    pub(crate) fn handle_readable(&mut self) {
        self.readable = true;
    }

    pub(crate) fn handle_writable(&mut self) {
        self.writable = true;
    }

    /// Reads and writes as far as possible. Returns true if there was progress.
    pub(crate) fn drive(&mut self, tunnel: &mut Tunnel) -> bool {
        let moved = self.drive_write(tunnel) | self.drive_read(tunnel);
        if self.state == State::Finishing && self.written == self.script.len() {
            self.state = State::Finished;
            tunnel.finish(self.id);
            return true;
        }
        moved
    }

    fn drive_write(&mut self, tunnel: &mut Tunnel) -> bool {
        let mut moved = false;
        while self.writable && self.is_writing() {
            match tunnel.write(self.id, &self.script[self.written..]) {
                Write::Accepted(0) => panic!("a write of data took no bytes"),
                Write::Accepted(taken) => self.written += taken,
                Write::Full => self.writable = false,
                Write::Closed => {
                    // The rest cannot be written: like a broken pipe.
                    self.script.truncate(self.written);
                }
            }
            moved = true;
        }
        moved
    }

    fn drive_read(&mut self, tunnel: &mut Tunnel) -> bool {
        let mut moved = false;
        while self.reads && self.readable && self.end.is_none() && self.state != State::Closed {
            match tunnel.read(self.id, self.chunk) {
                Read::Data(data) => {
                    assert!((1..=self.chunk).contains(&data.len()), "{}", data.len());
                    self.received.extend_from_slice(&data);
                }
                Read::Blocked => {
                    self.readable = false;
                    return moved;
                }
                Read::End => self.close(tunnel, End::Clean),
                Read::Lost(reason) => self.close(tunnel, End::Lost(reason)),
            }
            moved = true;
        }
        moved
    }

    fn close(&mut self, tunnel: &mut Tunnel, end: End) {
        self.end = Some(end);
        self.upload = Some(tunnel.upload(self.id));
        self.reset(tunnel);
    }

    fn is_writing(&self) -> bool {
        self.written < self.script.len() && self.state != State::Closed
    }

    /// The bytes that the tunnel took.
    pub(crate) fn written(&self) -> &[u8] {
        &self.script[..self.written]
    }

    /// All bytes that it read.
    pub(crate) fn received(&self) -> &[u8] {
        &self.received
    }

    /// The outcome of its upload when its stream ended.
    pub(crate) fn upload(&self) -> Option<&Upload> {
        self.upload.as_ref()
    }

    /// The way its stream ended; `None` if it did not end, or was closed before.
    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }
}

/// The way a stream ended, seen from the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The end of the destination, after its last byte.
    Clean,
    /// Any other end.
    Lost(Reason),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The writing side will be closed once everything is written.
    Finishing,
    Finished,
    Closed,
}
