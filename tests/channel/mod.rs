//! A data channel between our core and the agent: handshake, order, acknowledgements, ends.
//!
//! ```text
//!   handshake.rs      from the first message to `Ready`
//!   opening.rs        agents that discard messages before they are ready
//!   ordering.rs       acknowledged, duplicate, early, lost and damaged messages
//!   rate_limiting.rs  rate and number of messages that may be sent
//!   streams.rs        the bytes of a connection, and its end
//!   refused_dials.rs  dials that the destination refuses
//!   session_end.rs    the end of a session
//!   versions.rs       older agents
//! ```

mod handshake;
mod opening;
mod ordering;
mod rate_limiting;
mod refused_dials;
mod session_end;
mod streams;
mod versions;
