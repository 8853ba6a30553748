//! A local program at the near end of a stream, in memory.
//!
//! It keeps to the contract of the core and asks for no more than that promises: after `Blocked`
//! it does not read again before `Readable`, after `Full` it does not write before `Writable`.
//! A wake that the core forgets is thus a test that never ends.

use ssm_proxyd::proto::{Read, Reason, StreamId, Tunnel, Upload, Write};

/// One local connection.
pub(crate) struct Client {
    id: StreamId,
    script: Vec<u8>,
    written: usize,
    received: Vec<u8>,
    end: Option<End>,
    upload: Option<Upload>,
    reads: bool,
    /// The most that it reads at once.
    chunk: usize,
    readable: bool,
    writable: bool,
    life: Life,
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
            life: Life::Open,
        }
    }

    /// Writes this behind what it writes already.
    pub(crate) fn write(&mut self, data: &[u8]) {
        self.script.extend_from_slice(data);
    }

    /// Closes its writing side once everything is written.
    pub(crate) fn finish(&mut self) {
        if self.life == Life::Open {
            self.life = Life::Finishing;
        }
    }

    /// Stops or begins to read.
    pub(crate) fn set_reads(&mut self, reads: bool) {
        self.reads = reads;
    }

    /// Reads at most so much at once.
    pub(crate) fn read_by(&mut self, chunk: usize) {
        self.chunk = chunk;
    }

    /// Leaves at once. What it wrote so far is on its way.
    pub(crate) fn reset(&mut self, tunnel: &mut Tunnel) {
        self.life = Life::Gone;
        tunnel.reset(self.id);
    }

    /// Leaves at once, and asks for its upload later.
    pub(crate) fn abandon(&mut self, tunnel: &mut Tunnel) {
        self.life = Life::Gone;
        tunnel.leave(self.id);
    }

    pub(crate) fn handle_readable(&mut self) {
        self.readable = true;
    }

    pub(crate) fn handle_writable(&mut self) {
        self.writable = true;
    }

    /// Does all that it can do now. True if that was anything.
    pub(crate) fn drive(&mut self, tunnel: &mut Tunnel) -> bool {
        let moved = self.drive_write(tunnel) | self.drive_read(tunnel);
        if self.life == Life::Finishing && self.written == self.script.len() {
            self.life = Life::Finished;
            tunnel.finish(self.id);
            return true;
        }
        moved
    }

    fn drive_write(&mut self, tunnel: &mut Tunnel) -> bool {
        let mut moved = false;
        while self.writable && self.is_writing() {
            match tunnel.write(self.id, &self.script[self.written..]) {
                Write::Accepted(0) => panic!("a write of something took nothing"),
                Write::Accepted(taken) => self.written += taken,
                Write::Full => self.writable = false,
                Write::Closed => {
                    // Nobody will take the rest, as a broken pipe tells a program.
                    self.script.truncate(self.written);
                }
            }
            moved = true;
        }
        moved
    }

    fn drive_read(&mut self, tunnel: &mut Tunnel) -> bool {
        let mut moved = false;
        while self.reads && self.readable && self.end.is_none() && self.life != Life::Gone {
            match tunnel.read(self.id, self.chunk) {
                Read::Data(data) => {
                    assert!((1..=self.chunk).contains(&data.len()), "{}", data.len());
                    self.received.extend_from_slice(&data);
                }
                Read::Blocked => {
                    self.readable = false;
                    return moved;
                }
                Read::End => self.leave(tunnel, End::Clean),
                Read::Lost(reason) => self.leave(tunnel, End::Lost(reason)),
            }
            moved = true;
        }
        moved
    }

    fn leave(&mut self, tunnel: &mut Tunnel, end: End) {
        self.end = Some(end);
        self.upload = Some(tunnel.upload(self.id));
        self.reset(tunnel);
    }

    fn is_writing(&self) -> bool {
        self.written < self.script.len() && self.life != Life::Gone
    }

    /// The bytes that the tunnel took.
    pub(crate) fn written(&self) -> &[u8] {
        &self.script[..self.written]
    }

    /// All that it read.
    pub(crate) fn received(&self) -> &[u8] {
        &self.received
    }

    /// What had become of its upload when its stream ended.
    pub(crate) fn upload(&self) -> Option<&Upload> {
        self.upload.as_ref()
    }

    /// How its stream ended for it; `None` if it did not, or if it left before.
    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }
}

/// How a stream ended, seen from the local program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The end of the destination, after its last byte.
    Clean,
    /// Whatever else.
    Lost(Reason),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    /// Will be finished once everything is written.
    Finishing,
    Finished,
    Gone,
}
