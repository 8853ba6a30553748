//! Features: bits in HELLO and WELCOME (`docs/relay-protocol.md`, section 12).
//!
//! The daemon offers features, and the relay uses those of them that it knows, in all stripes of the
//! bundle. This module knows their bits only. What they change is outside the bundle.

/// The bytes of each direction of a flow are segments, some of them compressed.
pub const ZSTD: u32 = 1;

/// Also what does not shrink is to be compressed. Only with [`ZSTD`].
pub const ALWAYS: u32 = 2;

/// All features that this program knows.
pub const ALL: u32 = ZSTD | ALWAYS;
