//! A data channel between our core and the agent: handshake, order, acknowledgements, ends.
//!
//! ```text
//!   handshake.rs   from the first message to `Ready`
//!   order.rs       acknowledged, duplicate, early, lost, damaged
//!   pace.rs        how fast and how much may leave
//!   streams.rs     what becomes of a connection's bytes, and how it ends
//!   end.rs         how a session ends
//!   versions.rs    agents that are older
//! ```

mod handshake;
mod opening;
mod ordering;
mod rate_limiting;
mod session_end;
mod streams;
mod versions;
