//! The truth of every ending: who closes, how, when, and what the other side sees of it.
//!
//! Each runs over TCP and over a Unix socket, from a real client through the daemon, the simulator
//! and a session to a real destination. At the end no session is open and no rule was broken.
//!
//! ```text
//!   scene.rs     a client and a destination face to face, and their ends in words
//!   closes.rs    either side closes, half or whole, well or badly
//!   queues.rs    either side does not read, and bytes wait
//!   starts.rs    a client that leaves before its session is there, or says nothing
//!   losses.rs    a session that is lost, and one that only seems to be
//!   sockets.rs   the file of a Unix socket, from the daemon's start to its end
//! ```

mod closes;
mod early_close;
mod fixture;
mod session_loss;
mod slow_readers;
mod socket_files;
