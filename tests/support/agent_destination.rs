//! What an agent dials, in memory.
//!
//! A destination reads what it is given as far as its allowance goes, says its words as fast as
//! the agent takes them, and ends when its ending says so. Its memory is the truth that a test
//! compares with: all that it read and all that it said.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use ssm_proxyd::sim::agent::DestinationEnd;

/// A server behind an agent, for one connection.
pub(crate) struct Destination {
    dial: Dial,
    /// How many more bytes it reads.
    allowance: usize,
    /// What it was given and has not read.
    unread: VecDeque<Bytes>,
    received: Vec<u8>,
    echoes: bool,
    /// What it says once so many bytes were read.
    answer: Option<(usize, Vec<u8>)>,
    data: Vec<u8>,
    sent: usize,
    /// The most that it says at once.
    chunk: usize,
    ending: Ending,
    state: State,
}

impl Destination {
    /// Says what it hears, and never ends.
    pub(crate) fn echo() -> Self {
        Self {
            echoes: true,
            ..Self::sink()
        }
    }

    /// Reads all, and never says or ends anything.
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

    /// Says `data` and ends.
    pub(crate) fn source(data: Vec<u8>) -> Self {
        Self {
            data,
            ending: Ending::WhenSent,
            ..Self::sink()
        }
    }

    /// Says `answer` once it has heard `after` bytes, and ends.
    pub(crate) fn answering(after: usize, answer: Vec<u8>) -> Self {
        Self {
            answer: Some((after, answer)),
            ending: Ending::WhenSent,
            ..Self::sink()
        }
    }

    /// Says `banner` before it hears anything, then what it hears.
    pub(crate) fn greeting(banner: Vec<u8>) -> Self {
        Self {
            data: banner,
            ..Self::echo()
        }
    }

    /// Accepts, and reads nothing until it is let.
    pub(crate) fn stalled() -> Self {
        Self {
            allowance: 0,
            ..Self::sink()
        }
    }

    /// Says `data`, and breaks the connection once it has heard `after` bytes.
    pub(crate) fn abrupt(after: usize, data: Vec<u8>) -> Self {
        Self {
            data,
            ending: Ending::Abrupt { after },
            ..Self::sink()
        }
    }

    /// Cannot be reached.
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

    /// Answers the dial, well or not, after `pause`.
    pub(crate) fn dialled_in(mut self, pause: Duration) -> Self {
        self.dial = match self.dial {
            Dial::Accepts(_) => Dial::Accepts(pause),
            Dial::Refuses(_) => Dial::Refuses(pause),
            Dial::Silent => Dial::Silent,
        };
        self
    }

    /// Says at most so much at once.
    pub(crate) fn in_chunks_of(mut self, chunk: usize) -> Self {
        self.chunk = chunk;
        self
    }

    /// How its dial goes.
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

    /// The agent closed the connection; what is unread is discarded.
    pub(crate) fn handle_closed(&mut self) {
        self.unread.clear();
        if self.state == State::Open {
            self.state = State::Closed;
        }
    }

    /// Reads `more` bytes beyond those allowed so far.
    pub(crate) fn allow(&mut self, more: usize) {
        self.allowance = self.allowance.saturating_add(more);
    }

    /// Stops to read.
    pub(crate) fn stall(&mut self) {
        self.allowance = 0;
    }

    /// Reads what it may. Returns how many bytes.
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

    /// The next words, if there are any.
    pub(crate) fn poll_send(&mut self) -> Option<Bytes> {
        let left = &self.data[self.sent..];
        if left.is_empty() || self.state != State::Open {
            return None;
        }
        let chunk = Bytes::copy_from_slice(&left[..left.len().min(self.chunk)]);
        self.sent += chunk.len();
        Some(chunk)
    }

    /// How it ends, if it does now.
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

    /// All that it read.
    pub(crate) fn received(&self) -> &[u8] {
        &self.received
    }

    /// All that the agent took from it.
    pub(crate) fn sent(&self) -> &[u8] {
        &self.data[..self.sent]
    }

    /// Where in its life it is.
    pub(crate) fn state(&self) -> State {
        self.state
    }
}

/// How a dial goes, and how long that takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dial {
    Accepts(Duration),
    Refuses(Duration),
    Silent,
}

/// The life of a connection, seen from its destination.
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
