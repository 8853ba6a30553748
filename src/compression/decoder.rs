//! Decoder of a direction.
//!
//! ```text
//!            0                    length
//!   Start ──────▶ Length ─────────────────────▶ Stored ─┐
//!    ▲ │ 1                 may begin                    │
//!    │ └────────▶ Header ─────────────────────▶ Frame ──┤ last byte
//!    └──────────────────────────────────────────────────┘
//! ```

use std::fmt;

use bytes::{Buf, Bytes};
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::{CompressionError, STORED, WINDOW_LOG, ZSTD};

/// Decodes a direction of a flow.
#[derive(Debug, Default)]
pub struct Decoder {
    input: Bytes,
    state: State,
}

/// What a decoder returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The next bytes; never empty.
    Data(Bytes),
    /// Everything received was decoded.
    NeedsInput,
    /// A frame begins, which takes memory: call again when it may.
    NeedsFrame,
}

#[derive(Debug, Default)]
enum State {
    /// Between segments.
    #[default]
    Start,
    /// The first byte of the length was received, or none.
    Length(Option<u8>),
    /// So many bytes of the segment are missing.
    Stored(usize),
    /// A frame begins.
    Header,
    Frame(Frame),
}

impl Decoder {
    /// Returns true if all input was decoded. More is passed only then.
    pub fn needs_input(&self) -> bool {
        let is_frame_waiting = match &self.state {
            State::Frame(frame) => frame.has_more,
            State::Header | State::Start | State::Length(_) | State::Stored(_) => false,
        };
        self.input.is_empty() && !is_frame_waiting
    }

    /// Passes the next encoded bytes.
    pub fn push(&mut self, input: Bytes) {
        self.input = input;
    }

    /// Returns true if a frame is open, which takes memory.
    pub fn is_in_frame(&self) -> bool {
        matches!(self.state, State::Frame(_))
    }

    /// Returns up to `max` bytes, at most 64 KiB. Begins a frame only if it may.
    ///
    /// # Errors
    /// The direction is invalid, and cannot be decoded further.
    pub fn decode(&mut self, max: usize, may_begin: bool) -> Result<Decoded, CompressionError> {
        loop {
            if self.needs_input() {
                return Ok(Decoded::NeedsInput);
            }
            match &mut self.state {
                State::Start => {
                    self.state = match self.input.get_u8() {
                        STORED => State::Length(None),
                        ZSTD => State::Header,
                        other => return Err(CompressionError::Segment(other)),
                    }
                }
                State::Length(None) => self.state = State::Length(Some(self.input.get_u8())),
                State::Length(Some(first)) => {
                    let len = u16::from_be_bytes([*first, self.input.get_u8()]);
                    if len == 0 {
                        return Err(CompressionError::Empty);
                    }
                    self.state = State::Stored(usize::from(len));
                }
                State::Stored(missing) => {
                    let len = self.input.len().min(*missing).min(max.max(1));
                    *missing -= len;
                    if *missing == 0 {
                        self.state = State::Start;
                    }
                    return Ok(Decoded::Data(self.input.split_to(len)));
                }
                State::Header if !may_begin => return Ok(Decoded::NeedsFrame),
                State::Header => self.state = State::Frame(Frame::new()?),
                State::Frame(frame) => {
                    let bytes = frame.decompress(&mut self.input, max)?;
                    if frame.is_ended {
                        self.state = State::Start;
                    }
                    if !bytes.is_empty() {
                        return Ok(Decoded::Data(bytes));
                    }
                }
            }
        }
    }

    /// Checks that the direction may end here, after all input was decoded.
    ///
    /// # Errors
    /// It ends within a segment.
    pub fn finish(&self) -> Result<(), CompressionError> {
        match self.state {
            State::Start if self.input.is_empty() => Ok(()),
            State::Start
            | State::Length(_)
            | State::Stored(_)
            | State::Header
            | State::Frame(_) => Err(CompressionError::Truncated),
        }
    }
}

/// A frame that is not ended.
struct Frame {
    context: DCtx<'static>,
    /// True if the last call may have left output in the library.
    has_more: bool,
    is_ended: bool,
}

impl Frame {
    fn new() -> Result<Self, CompressionError> {
        let mut context = DCtx::try_create().ok_or_else(CompressionError::out_of_memory)?;
        let set = context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG));
        set.map_err(CompressionError::of)?;
        Ok(Self {
            context,
            has_more: false,
            is_ended: false,
        })
    }

    fn decompress(&mut self, input: &mut Bytes, max: usize) -> Result<Bytes, CompressionError> {
        let mut out = Vec::with_capacity(max.clamp(1, MAX_OUTPUT));
        let capacity = out.capacity();
        let mut source = InBuffer::around(input);
        let called = self
            .context
            .decompress_stream(&mut OutBuffer::around(&mut out), &mut source);
        let remaining = called.map_err(CompressionError::of)?;
        let taken = source.pos();
        input.advance(taken);
        self.is_ended = remaining == 0;
        self.has_more = !self.is_ended && out.len() == capacity;
        // A short result must not keep the memory of a long one.
        Ok(match out.len() < capacity / 4 {
            true => Bytes::copy_from_slice(&out),
            false => out.into(),
        })
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Frame")
    }
}

/// Maximum number of bytes of one call.
const MAX_OUTPUT: usize = 64 * 1024;

#[cfg(test)]
impl Decoder {
    /// Returns the memory of the library, in bytes.
    pub(super) fn memory(&self) -> usize {
        match &self.state {
            State::Frame(frame) => frame.context.sizeof(),
            State::Start | State::Length(_) | State::Stored(_) | State::Header => 0,
        }
    }
}
