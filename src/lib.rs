//! Port forwarding over AWS Systems Manager Session Manager, one session per connection.
//!
//! The modules, from the bottom up; each has one purpose and imports only from those above it in
//! this list:
//!
//! ```text
//!   printable   text from outside, made safe to display
//!   error_class classes of failures: name, sentence, remedy, exit code
//!   files       bounded reads of files named by the user
//!   clock       reads the time
//!   blocking    runs work that may block
//!   random      seeds
//!   duration    durations as users write them
//!   quantity    sizes, rates and times as people read them
//!   panics      panics: reported, caught, counted
//!   wire        layout of messages
//!   proto       sequence numbers, acknowledgements, streams, deadlines; no I/O
//!   bundle      many connections over several byte streams, to a relay on the target; no I/O
//!   compression what the bytes of a compressed connection look like; no I/O
//!   bundle_driver  stripes and flows of a bundle: tasks and byte streams
//!   network     byte streams to remote hosts
//!   session     AWS: starts and terminates sessions, signs their websocket upgrade
//!   tunnel      websocket and wakers of a tunnel
//!   config      syntax and meaning of the configuration
//!   telemetry   log, metrics, status
//!   forward     local listeners and accepted connections
//!   daemon      all forwards, signals, shutdown
//!   relay       the end of relay mode on a target
//!   sim         AWS simulator on loopback; imports `wire`, `clock` and `duration` only
//!   cli         arguments, exit codes, output for users
//! ```
//!
//! Path of an upload: `forward::relay` reads it, `tunnel::stream` passes it to the protocol core,
//! `proto::mux` makes a frame, `proto::channel` numbers a message, `tunnel::driver` sends it.
#![forbid(unsafe_code)]

pub mod blocking;
pub mod bundle;
pub mod bundle_driver;
pub mod cli;
pub mod clock;
pub mod compression;
pub mod config;
pub mod daemon;
pub mod duration;
pub mod error_class;
pub mod files;
pub mod forward;
#[cfg(test)]
pub mod mutants;
pub mod network;
pub mod panics;
pub mod printable;
pub mod proto;
pub mod quantity;
pub mod random;
pub mod relay;
pub mod session;
pub mod sim;
pub mod telemetry;
pub mod tunnel;
#[cfg(test)]
pub mod virtual_net;
pub mod wire;
