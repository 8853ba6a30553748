//! The destination that an agent dials, in memory.
//!
//! A destination reads as many bytes as its allowance permits, sends its data as fast as the agent
//! takes them, and ends in the configured way. It records all bytes that it read and sent, so that
//! a test can compare them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use ssm_proxyd::sim::agent::DestinationEnd;

/// The server of one connection behind an agent.
pub(crate) struct Destination {
    dial: Dial,
    /// The number of further bytes that it may read.
    allowance: usize,
    /// Bytes that it was given and has not read.
    unread: VecDeque<Bytes>,
    received: Vec<u8>,
    echoes: bool,
    /// Data that it sends after it has read this number of bytes.
    answer: Option<(usize, Vec<u8>)>,
    data: Vec<u8>,
    sent: usize,
    /// The maximum number of bytes that it sends at once.
    chunk: usize,
    ending: Ending,
    state: State,
}

impl Destination {
    /// An echo: sends what it reads and never ends.
    pub(crate) fn echo() -> Self {
        Self {
            echoes: true,
            ..Self::sink()
        }
    }

    /// A sink: reads everything and never sends or ends.
    pub(crate) fn sink() -> Self {
        Self {
            dial: Dial::Accepts(Duration::ZERO),
            allowance: usize::MAX,
            unread: VecDeque::new(),
            received: Vec::new(),
            echoes: false,
            answer: None,
            data: Vec::new(),
            sent: 0,
            chunk: 4096,
            ending: Ending::Never,
            state: State::Waiting,
        }
    }

    /// Sends `data` and ends.
    pub(crate) fn source(data: Vec<u8>) -> Self {
        Self {
            data,
            ending: Ending::WhenSent,
            ..Self::sink()
        }
    }

    /// Sends `answer` after it has read `after` bytes, and ends.
    pub(crate) fn answering(after: usize, answer: Vec<u8>) -> Self {
        Self {
            answer: Some((after, answer)),
            ending: Ending::WhenSent,
            ..Self::sink()
        }
    }

    /// Sends `banner` before it reads anything, then is an echo.
    pub(crate) fn greeting(banner: Vec<u8>) -> Self {
        Self {
            data: banner,
            ..Self::echo()
        }
    }

    /// Accepts, and reads nothing until it is allowed to.
    pub(crate) fn stalled() -> Self {
        Self {
            allowance: 0,
            ..Self::sink()
        }
    }

    /// Sends `data`, and resets the connection after it has read `after` bytes.
    pub(crate) fn abrupt(after: usize, data: Vec<u8>) -> Self {
        Self {
            data,
            ending: Ending::Abrupt { after },
            ..Self::sink()
        }
    }

    /// Refuses the dial.
    pub(crate) fn refusing() -> Self {
        Self {
            dial: Dial::Refuses(Duration::ZERO),
            ..Self::sink()
        }
    }

    /// Never answers the dial.
    pub(crate) fn black_hole() -> Self {
        Self {
            dial: Dial::Silent,
            ..Self::sink()
        }
    }

    /// Completes or refuses the dial after `pause`.
    pub(crate) fn dialled_in(mut self, pause: Duration) -> Self {
        self.dial = match self.dial {
            Dial::Accepts(_) => Dial::Accepts(pause),
            Dial::Refuses(_) => Dial::Refuses(pause),
            Dial::Silent => Dial::Silent,
        };
        self
    }

    /// Sends at most this number of bytes at once.
    pub(crate) fn in_chunks_of(mut self, chunk: usize) -> Self {
        self.chunk = chunk;
        self
    }

    /// The result of its dial.
    pub(crate) fn dial(&self) -> Dial {
        self.dial
    }

    pub(crate) fn handle_dialled(&mut self) {
        self.state = State::Open;
    }

    /// The agent writes.
    pub(crate) fn handle_write(&mut self, data: Bytes) {
        if self.state == State::Open {
            self.unread.push_back(data);
        }
    }

    /// The agent closed the connection; unread bytes are discarded.
    pub(crate) fn handle_closed(&mut self) {
        self.unread.clear();
        if self.state == State::Open {
            self.state = State::Closed;
        }
    }

    /// Allows it to read `more` bytes.
    pub(crate) fn allow(&mut self, more: usize) {
        self.allowance = self.allowance.saturating_add(more);
    }

    /// Stops reading.
    pub(crate) fn stall(&mut self) {
        self.allowance = 0;
    }

    /// Reads as far as it may. Returns the number of bytes.
    pub(crate) fn poll_read(&mut self) -> usize {
        let before = self.received.len();
        while self.allowance > 0 && self.state == State::Open {
            let Some(front) = self.unread.front_mut() else {
                break;
            };
            let taken = front.split_to(front.len().min(self.allowance));
            self.allowance -= taken.len();
            self.received.extend_from_slice(&taken);
            if self.echoes {
                self.data.extend_from_slice(&taken);
            }
            if front.is_empty() {
                self.unread.pop_front();
            }
        }
        let received = self.received.len();
        if let Some((_, data)) = self.answer.take_if(|(after, _)| received >= *after) {
            self.data.extend(data);
        }
        received - before
    }

    /// The next bytes to send, if there are any.
    pub(crate) fn poll_send(&mut self) -> Option<Bytes> {
        let left = &self.data[self.sent..];
        if left.is_empty() || self.state != State::Open {
            return None;
        }
        let chunk = Bytes::copy_from_slice(&left[..left.len().min(self.chunk)]);
        self.sent += chunk.len();
        Some(chunk)
    }

    /// The way it ends, if it ends now.
    pub(crate) fn poll_end(&mut self) -> Option<DestinationEnd> {
        let silent = self.sent == self.data.len() && self.answer.is_none();
        let how = match self.ending {
            Ending::WhenSent if silent => DestinationEnd::Finished,
            Ending::Abrupt { after } if self.received.len() >= after => DestinationEnd::Broken,
            Ending::Never | Ending::WhenSent | Ending::Abrupt { .. } => return None,
        };
        (self.state == State::Open).then(|| {
            self.state = State::Ended;
            self.unread.clear();
            how
        })
    }

    /// All bytes that it read.
    pub(crate) fn received(&self) -> &[u8] {
        &self.received
    }

    /// All bytes that the agent took from it.
    pub(crate) fn sent(&self) -> &[u8] {
        &self.data[..self.sent]
    }

    /// The state of its connection.
    pub(crate) fn state(&self) -> State {
        self.state
    }
}

/// The result of a dial, and how long it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dial {
    Accepts(Duration),
    Refuses(Duration),
    Silent,
}

/// The state of a connection, seen from its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not connected (yet).
    Waiting,
    Open,
    /// The destination ended it.
    Ended,
    /// The agent ended it.
    Closed,
}

#[derive(Clone, Copy)]
enum Ending {
    Never,
    WhenSent,
    Abrupt { after: usize },
}
