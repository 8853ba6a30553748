//! Compression of flows (`docs/relay-protocol.md`, section 13), between the bundle and the user of a
//! flow.
//!
//! ```text
//!   write ─▶ Outbound ─▶ bundle          read ◀─ Inbound ◀─ bundle
//!            (encoder)                           (decoder)
//! ```
//!
//! Frames take memory at both ends. A bundle has at most [`MAX_OUTBOUND_FRAMES`] of its own: further
//! flows are not compressed. Of the peer, it reads at most [`MAX_INBOUND_FRAMES`] at the same time:
//! further flows wait. A frame without bytes for [`FRAME_IDLE`] is ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::bundle::features;
use crate::compression::{CompressionError, Decoded, Decoder, Encoder, Mode};

/// The direction of a flow to the peer.
#[derive(Debug)]
pub(super) struct Outbound {
    encoder: Encoder,
    frame: Option<OwnedSemaphorePermit>,
    used_at: Instant,
}

/// The direction of a flow from the peer.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    decoder: Decoder,
    frame: Option<OwnedSemaphorePermit>,
}

/// The frames of a bundle that may be open.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) outbound: Arc<Semaphore>,
    pub(super) inbound: Arc<Semaphore>,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            outbound: Arc::new(Semaphore::new(MAX_OUTBOUND_FRAMES)),
            inbound: Arc::new(Semaphore::new(MAX_INBOUND_FRAMES)),
        }
    }
}

impl Outbound {
    /// Creates an empty direction.
    pub(super) fn new(now: Instant, features: u32) -> Self {
        let mode = match features & features::ALWAYS {
            0 => Mode::Auto,
            _ => Mode::Always,
        };
        Self {
            encoder: Encoder::new(mode),
            frame: None,
            used_at: now,
        }
    }

    /// A piece is to be encoded.
    pub(super) fn handle_use(&mut self, now: Instant) {
        self.used_at = now;
    }

    /// Encodes a piece.
    pub(super) fn encode(
        &mut self,
        piece: &[u8],
        frames: &Frames,
    ) -> Result<Vec<u8>, CompressionError> {
        if self.frame.is_none() && self.encoder.would_begin(piece.len()) {
            self.frame = Arc::clone(&frames.outbound).try_acquire_owned().ok();
        }
        let encoded = self.encoder.encode(piece, self.frame.is_some());
        if !self.encoder.is_compressing() {
            self.frame = None;
        }
        encoded
    }

    /// Ends the frame, if one is open.
    pub(super) fn finish(&mut self) -> Result<Vec<u8>, CompressionError> {
        let end = self.encoder.finish();
        self.frame = None;
        end
    }

    /// Returns true if a frame is open that was not used for some time.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let idle = now.saturating_duration_since(self.used_at);
        self.encoder.is_compressing() && idle >= FRAME_IDLE
    }
}

impl Inbound {
    /// Returns true if all bytes from the peer were decoded.
    pub(super) fn needs_input(&self) -> bool {
        self.decoder.needs_input()
    }

    /// Passes encoded bytes.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.decoder.push(bytes);
    }

    /// Checks that the direction may end here.
    pub(super) fn finish(&self) -> Result<(), CompressionError> {
        self.decoder.finish()
    }

    /// Decodes the next bytes.
    pub(super) fn decode(
        &mut self,
        max: usize,
        frames: &Frames,
    ) -> Result<Decoded, CompressionError> {
        let mut decoded = self.decoder.decode(max, self.frame.is_some())?;
        if decoded == Decoded::NeedsFrame
            && let Ok(frame) = Arc::clone(&frames.inbound).try_acquire_owned()
        {
            self.frame = Some(frame);
            decoded = self.decoder.decode(max, true)?;
        }
        if !self.decoder.is_in_frame() {
            self.frame = None;
        }
        Ok(decoded)
    }

    /// The next frame may begin.
    pub(super) fn permit(&mut self, frame: Option<OwnedSemaphorePermit>) {
        self.frame = frame;
    }
}

/// Frames of a bundle that this end may have open: 15 MiB.
const MAX_OUTBOUND_FRAMES: usize = 16;

/// Frames of the peer that may be read at the same time: 39 MiB.
const MAX_INBOUND_FRAMES: usize = 64;

/// Time without bytes after which a frame is ended.
pub(super) const FRAME_IDLE: Duration = Duration::from_secs(5);
