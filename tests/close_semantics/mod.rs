//! Close semantics: which side closes, how and when, and what the other side sees.
//!
//! Each test runs over TCP and over a Unix socket, from a real client through the daemon, the
//! simulator and a session to a real destination. At the end no session is open and there was no
//! protocol violation.
//!
//! ```text
//!   fixture.rs       a client and a destination, and the outcome of each side
//!   closes.rs        either side closes, one direction or both, cleanly or with a reset
//!   slow_readers.rs  either side does not read, and bytes are queued
//!   early_close.rs   a client that closes before its session is ready, or sends nothing
//!   session_loss.rs  a session that is lost, and one that is only interrupted
//!   socket_files.rs  the file of a Unix socket, from the daemon's start to its end
//! ```

mod closes;
mod early_close;
mod fixture;
mod session_loss;
mod slow_readers;
mod socket_files;
