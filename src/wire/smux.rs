//! Frames of smux v1, and an incremental decoder for them.
//!
//! The concatenated Output payloads of a direction are one byte stream of frames. A message may
//! hold several frames or part of one, so the decoder keeps its state between messages:
//!
//! ```text
//!   ┌─ 8 bytes ─┐         8 bytes, then `length` bytes of data
//!   │ SYN 3     │ PSH 3 │ hel┆lo │ FIN 3 │         ┆ = end of a message
//! ```
//!
//! All integers are little-endian. Only PSH carries data: receivers do not skip data after any
//! other header (docs/protocol.md, section 8.2). Version 1 has no window updates.

use std::fmt;

use bytes::{Buf, Bytes};

/// The header of a frame: eight bytes before its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Type of the frame.
    pub command: Command,
    /// Number of data bytes that follow; only for PSH.
    pub length: u16,
    /// Stream that the frame belongs to.
    pub stream: StreamId,
}

impl Header {
    /// Length of a header in bytes.
    pub const LEN: usize = 8;

    /// Creates the header of a frame without data.
    pub fn bare(command: Command, stream: StreamId) -> Self {
        Self {
            command,
            length: 0,
            stream,
        }
    }

    /// Creates the header of a PSH frame with `length` bytes of data.
    pub fn push(stream: StreamId, length: u16) -> Self {
        Self {
            command: Command::Psh,
            length,
            stream,
        }
    }

    /// Reads a header.
    ///
    /// # Errors
    ///
    /// Fails on another version or an unknown command. Either is fatal to the whole mux
    /// (docs/protocol.md, section 8.3).
    pub fn decode(bytes: [u8; Self::LEN]) -> Result<Self, FrameError> {
        let [version, command, l0, l1, s0, s1, s2, s3] = bytes;
        if version != VERSION {
            return Err(FrameError::Version { got: version });
        }
        Ok(Self {
            command: Command::from_byte(command)?,
            length: u16::from_le_bytes([l0, l1]),
            stream: StreamId(u32::from_le_bytes([s0, s1, s2, s3])),
        })
    }

    /// Encodes the header.
    pub fn encode(self) -> [u8; Self::LEN] {
        let [l0, l1] = self.length.to_le_bytes();
        let [s0, s1, s2, s3] = self.stream.0.to_le_bytes();
        [VERSION, self.command.to_byte(), l0, l1, s0, s1, s2, s3]
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = match self.command {
            Command::Syn => "SYN",
            Command::Fin => "FIN",
            Command::Psh => "PSH",
            Command::Nop => "NOP",
            Command::Upd => "UPD",
        };
        write!(f, "{command} stream={} {} B", self.stream, self.length)
    }
}

/// Type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// SYN: opens a stream.
    Syn,
    /// FIN: closes both directions of a stream.
    Fin,
    /// PSH: carries data.
    Psh,
    /// NOP: no effect; allowed at any time.
    Nop,
    /// UPD: a window update of version 2. Receivers skip it and the eight bytes after its header.
    Upd,
}

impl Command {
    fn from_byte(byte: u8) -> Result<Self, FrameError> {
        Ok(match byte {
            0 => Self::Syn,
            1 => Self::Fin,
            2 => Self::Psh,
            3 => Self::Nop,
            4 => Self::Upd,
            got => return Err(FrameError::Command { got }),
        })
    }

    fn to_byte(self) -> u8 {
        match self {
            Self::Syn => 0,
            Self::Fin => 1,
            Self::Psh => 2,
            Self::Nop => 3,
            Self::Upd => 4,
        }
    }
}

/// Id of a stream in a mux. Clients use odd numbers from 3 (docs/protocol.md, section 8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One decoded event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameEvent {
    /// A stream was opened.
    Open(StreamId),
    /// A stream was closed in both directions.
    Finish(StreamId),
    /// Data of a stream, never empty. A frame split across messages yields several chunks.
    Data(StreamId, Bytes),
}

impl fmt::Display for FrameEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(stream) => write!(f, "SYN stream={stream}"),
            Self::Finish(stream) => write!(f, "FIN stream={stream}"),
            Self::Data(stream, data) => write!(f, "PSH stream={stream} {} B", data.len()),
        }
    }
}

/// Decodes a byte stream of frames that is split at arbitrary positions.
#[derive(Debug, Default)]
pub struct Decoder {
    input: Bytes,
    header: [u8; Header::LEN],
    /// Number of bytes of `header` received so far.
    known: usize,
    /// Meaning of the bytes after the last complete header.
    body: Body,
}

impl Decoder {
    /// Creates a decoder for the start of a mux.
    pub fn new() -> Self {
        Self::default()
    }

    /// Passes the next bytes. All events of the previous input must have been polled.
    pub fn push(&mut self, input: Bytes) {
        debug_assert!(
            self.input.is_empty(),
            "the previous input was decoded completely"
        );
        self.input = input;
    }

    /// Returns the next event; `None` when the input is exhausted.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not frames of version 1. The decoder cannot resynchronize.
    pub fn poll(&mut self) -> Result<Option<FrameEvent>, FrameError> {
        while !self.input.is_empty() {
            match self.body {
                Body::Data { stream, left } => return Ok(Some(self.data(stream, left))),
                Body::Ignored { left } => self.ignore(left),
                Body::None => {
                    if let Some(piece) = self.header()? {
                        return Ok(Some(piece));
                    }
                }
            }
        }
        Ok(None)
    }

    fn data(&mut self, stream: StreamId, left: usize) -> FrameEvent {
        let chunk = self.input.split_to(left.min(self.input.len()));
        self.body = match left - chunk.len() {
            0 => Body::None,
            left => Body::Data { stream, left },
        };
        FrameEvent::Data(stream, chunk)
    }

    fn ignore(&mut self, left: usize) {
        let skipped = left.min(self.input.len());
        self.input.advance(skipped);
        self.body = match left - skipped {
            0 => Body::None,
            left => Body::Ignored { left },
        };
    }

    fn header(&mut self) -> Result<Option<FrameEvent>, FrameError> {
        let missing = &mut self.header[self.known..];
        let taken = missing.len().min(self.input.len());
        self.input.copy_to_slice(&mut missing[..taken]);
        self.known += taken;
        if self.known < Header::LEN {
            return Ok(None);
        }
        self.known = 0;
        let Header {
            command,
            length,
            stream,
        } = Header::decode(self.header)?;
        Ok(match command {
            Command::Syn => Some(FrameEvent::Open(stream)),
            Command::Fin => Some(FrameEvent::Finish(stream)),
            Command::Nop => None,
            Command::Upd => {
                self.body = Body::Ignored { left: UPDATE_LEN };
                None
            }
            Command::Psh => {
                if length > 0 {
                    self.body = Body::Data {
                        stream,
                        left: usize::from(length),
                    };
                }
                None
            }
        })
    }
}

/// Error of decoding a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not version 1.
    #[error("mux frame version {got}, expected {VERSION}")]
    Version {
        /// Version found.
        got: u8,
    },
    /// Not a command of version 1.
    #[error("unknown mux command {got}")]
    Command {
        /// Command found.
        got: u8,
    },
}

#[derive(Clone, Copy, Debug, Default)]
enum Body {
    #[default]
    None,
    Data {
        stream: StreamId,
        left: usize,
    },
    Ignored {
        left: usize,
    },
}

const VERSION: u8 = 1;

/// Bytes after a UPD header.
const UPDATE_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const WORKED: &[u8] = &[
        1, 0, 0, 0, 3, 0, 0, 0, // SYN 3
        1, 2, 5, 0, 3, 0, 0, 0, b'h', b'e', b'l', b'l', b'o', // PSH 3
        1, 3, 0, 0, 0, 0, 0, 0, // NOP
        1, 4, 0, 0, 3, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, // UPD, skipped
        1, 2, 0, 0, 3, 0, 0, 0, // PSH without data
        1, 1, 0, 0, 3, 0, 0, 0, // FIN 3
    ];

    fn pieces(cuts: impl Iterator<Item = Bytes>) -> Result<Vec<FrameEvent>, FrameError> {
        let mut decoder = Decoder::new();
        let mut pieces = Vec::new();
        for cut in cuts {
            decoder.push(cut);
            while let Some(piece) = decoder.poll()? {
                pieces.push(piece);
            }
        }
        Ok(pieces)
    }

    fn joined(pieces: Vec<FrameEvent>) -> (Vec<u8>, Vec<FrameEvent>) {
        let mut data = Vec::new();
        let mut rest = Vec::new();
        for piece in pieces {
            match piece {
                FrameEvent::Data(StreamId(3), chunk) => data.extend_from_slice(&chunk),
                other @ (FrameEvent::Open(_) | FrameEvent::Finish(_) | FrameEvent::Data(..)) => {
                    rest.push(other);
                }
            }
        }
        (data, rest)
    }

    #[test]
    fn the_worked_examples_are_encoded() {
        let stream = StreamId(3);

        assert_eq!(Header::bare(Command::Syn, stream).encode(), WORKED[..8]);
        assert_eq!(Header::push(stream, 5).encode(), WORKED[8..16]);
        assert_eq!(
            Header::bare(Command::Fin, stream).encode(),
            WORKED[WORKED.len() - 8..]
        );
    }

    #[test]
    fn frames_are_found_in_every_cut() {
        for size in 1..=WORKED.len() {
            let cuts = WORKED.chunks(size).map(Bytes::from_static);

            let (data, rest) = joined(pieces(cuts).unwrap());

            assert_eq!(data, b"hello", "cut every {size}");
            assert_eq!(
                rest,
                [
                    FrameEvent::Open(StreamId(3)),
                    FrameEvent::Finish(StreamId(3))
                ]
            );
        }
    }

    #[test]
    fn data_is_a_slice_and_not_a_copy() {
        let whole = Bytes::from_static(&WORKED[8..21]);
        let mut decoder = Decoder::new();
        decoder.push(whole.clone());

        let Some(FrameEvent::Data(_, chunk)) = decoder.poll().unwrap() else {
            panic!("data")
        };

        assert_eq!(chunk.as_ptr(), whole[8..].as_ptr());
    }

    #[test]
    fn another_version_or_command_is_an_error() {
        let one = |bytes: &'static [u8]| pieces([Bytes::from_static(bytes)].into_iter());

        assert_eq!(
            one(&[2, 0, 0, 0, 3, 0, 0, 0]),
            Err(FrameError::Version { got: 2 })
        );
        assert_eq!(
            one(&[1, 5, 0, 0, 3, 0, 0, 0]),
            Err(FrameError::Command { got: 5 })
        );
    }
}
