//! Encoder of a direction.

use std::fmt;

use zstd::zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};

use super::{CompressionError, STORED, WINDOW_LOG, ZSTD};

/// When an encoder compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As long as it is worth it.
    Auto,
    /// Always.
    Always,
}

/// Encodes a direction of a flow, piece by piece.
#[derive(Debug)]
pub struct Encoder {
    mode: Mode,
    frame: Option<Frame>,
    /// Bytes to store before the next attempt to compress.
    until_retry: usize,
}

impl Encoder {
    /// Creates an encoder of an empty direction.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            frame: None,
            until_retry: 0,
        }
    }

    /// Returns true if a frame is open, which takes memory here and at the peer.
    pub fn is_compressing(&self) -> bool {
        self.frame.is_some()
    }

    /// Returns true if a piece of this length would begin a frame.
    pub fn would_begin(&self, len: usize) -> bool {
        self.frame.is_none() && self.until_retry == 0 && len >= MIN_PIECE
    }

    /// Encodes a piece of at most [`MAX_PIECE`] bytes, to at most [`OVERHEAD`] bytes more. Begins a
    /// frame only if it may.
    ///
    /// # Errors
    /// No memory. The direction cannot be continued.
    pub fn encode(&mut self, piece: &[u8], may_begin: bool) -> Result<Vec<u8>, CompressionError> {
        let mut out = Vec::with_capacity(piece.len() + OVERHEAD);
        if may_begin && self.would_begin(piece.len()) {
            self.frame = Some(Frame::new()?);
            out.push(ZSTD);
        }
        match &mut self.frame {
            Some(frame) => {
                frame.compress(piece, &mut out)?;
                if self.mode == Mode::Auto && frame.is_useless() {
                    self.until_retry = RETRY_AFTER;
                    self.end_frame(&mut out)?;
                }
            }
            None => {
                self.until_retry = self.until_retry.saturating_sub(piece.len());
                store(piece, &mut out);
            }
        }
        Ok(out)
    }

    /// Ends the frame if one is open: the direction may end or pause then, and the memory is
    /// released. Returns at most [`OVERHEAD`] bytes.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn finish(&mut self) -> Result<Vec<u8>, CompressionError> {
        let mut out = Vec::new();
        self.end_frame(&mut out)?;
        Ok(out)
    }

    fn end_frame(&mut self, out: &mut Vec<u8>) -> Result<(), CompressionError> {
        match self.frame.take() {
            Some(mut frame) => frame.end(out),
            None => Ok(()),
        }
    }
}

fn store(piece: &[u8], out: &mut Vec<u8>) {
    for bytes in piece.chunks(MAX_PIECE) {
        let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        out.push(STORED);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(bytes);
    }
}

/// A frame that is not ended.
struct Frame {
    context: CCtx<'static>,
    /// Bytes since the last check whether it is useful.
    taken: usize,
    produced: usize,
}

impl Frame {
    fn new() -> Result<Self, CompressionError> {
        let mut context = CCtx::try_create().ok_or_else(CompressionError::out_of_memory)?;
        let parameters = [
            CParameter::CompressionLevel(LEVEL),
            CParameter::WindowLog(WINDOW_LOG),
        ];
        for parameter in parameters {
            let set = context.set_parameter(parameter);
            set.map_err(CompressionError::of)?;
        }
        Ok(Self {
            context,
            taken: 0,
            produced: 0,
        })
    }

    /// Appends a piece and what the library holds of those before.
    fn compress(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
        let before = out.len();
        let mut input = InBuffer::around(piece);
        let context = &mut self.context;
        append(out, |out| {
            context.compress_stream(out, &mut input)?;
            Ok(piece.len() - input.pos())
        })?;
        append(out, |out| context.flush_stream(out))?;
        self.taken += piece.len();
        self.produced += out.len() - before;
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), CompressionError> {
        append(out, |out| self.context.end_stream(out))
    }

    /// Returns true if the last [`TRIAL`] bytes hardly shrank.
    fn is_useless(&mut self) -> bool {
        if self.taken < TRIAL {
            return false;
        }
        let is_useless = self.produced > self.taken / 100 * MAX_PERCENT;
        (self.taken, self.produced) = (0, 0);
        is_useless
    }
}

/// Calls the library until nothing remains to be written.
fn append(
    out: &mut Vec<u8>,
    mut call: impl FnMut(&mut OutBuffer<'_, Vec<u8>>) -> Result<usize, usize>,
) -> Result<(), CompressionError> {
    loop {
        out.reserve(OVERHEAD);
        let len = out.len();
        let remaining = call(&mut OutBuffer::around_pos(out, len));
        if remaining.map_err(CompressionError::of)? == 0 {
            return Ok(());
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Frame")
    }
}

/// Maximum length of a piece: what takes well under a millisecond, and fits in a stored segment.
pub const MAX_PIECE: usize = u16::MAX as usize;

/// Maximum number of bytes by which the encoding of a piece is longer: header of the segment and of
/// the frame, of up to two blocks, and of the last one.
pub const OVERHEAD: usize = 32;

/// Short pieces are sent alone because nothing follows for now. To compress them gains no time.
const MIN_PIECE: usize = 512;

/// More than this many percent of [`TRIAL`] bytes are not worth it.
const MAX_PERCENT: usize = 95;
const TRIAL: usize = 256 * 1024;

/// Bytes after which compression is tried again: then less than 2 % of what does not shrink is
/// compressed in vain.
const RETRY_AFTER: usize = 16 * 1024 * 1024;

const LEVEL: i32 = 1;

#[cfg(test)]
impl Encoder {
    /// Returns the memory of the library, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.frame
            .as_ref()
            .map_or(0, |frame| frame.context.sizeof())
    }
}
