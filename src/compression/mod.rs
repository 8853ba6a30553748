//! Compression of flows: what the bytes of a direction look like if the feature is in use.
//!
//! Specified in `docs/relay-protocol.md`, section 13. A direction is a sequence of segments, and may
//! end only between two of them:
//!
//! ```text
//!   segment   0, length (2), bytes      stored
//!             1, zstd frame             window of at most 128 KiB, no dictionary
//! ```
//!
//! [`Encoder`] and [`Decoder`] have no I/O and no clock. Offsets, credit and ends of the flow count the
//! encoded bytes, so the bundle knows nothing of this.
//!
//! - **Latency.** The encoding of each piece can be decoded without what follows.
//! - **Giving up.** [`Mode::Auto`] ends a frame of which 256 KiB shrank by less than 5 %, stores what
//!   follows, and tries again after 16 MiB. Short pieces do not begin a frame.
//! - **Memory.** A frame takes 0.93 MiB in an encoder and 0.6 MiB in a decoder. The caller decides
//!   whether one may begin. Without a frame, both hold a few bytes, and what was received and not
//!   decoded.
//! - **Bombs.** A decoder produces at most 64 KiB for each call, so no more than what is taken.
//! - **Corruption.** Each input is bytes or an error. An end within a segment is an error.

mod decoder;
mod encoder;

pub use decoder::{Decoded, Decoder};
pub use encoder::{Encoder, MAX_PIECE, Mode, OVERHEAD};

/// Why a direction cannot be encoded or decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// Unknown type of segment.
    #[error("unknown segment type {0}")]
    Segment(u8),
    /// A stored segment without bytes.
    #[error("stored segment without bytes")]
    Empty,
    /// The direction ends within a segment.
    #[error("the connection ends within a segment")]
    Truncated,
    /// Error of the library.
    #[error("zstd: {0}")]
    Zstd(&'static str),
}

impl CompressionError {
    fn of(code: usize) -> Self {
        Self::Zstd(zstd::zstd_safe::get_error_name(code))
    }

    fn out_of_memory() -> Self {
        Self::Zstd("out of memory")
    }
}

/// Types of segments.
const STORED: u8 = 0;
const ZSTD: u8 = 1;

/// Base 2 logarithm of the window of a frame, which both ends keep in memory.
const WINDOW_LOG: u32 = 17;

#[cfg(test)]
mod tests;
