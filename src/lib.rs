//! Port forwarding over AWS Systems Manager Session Manager, one session per connection.
//!
//! The house, from the bottom up; each room knows one thing and looks only down:
//!
//! ```text
//!   printable   text from outside, made fit to be shown
//!   files       bounded reads of files that a person has named
//!   wire        where a byte lies in a message
//!   proto       sequence numbers, acknowledgements, streams, deadlines: pure
//!   network     a byte stream to an outside host
//!   session     AWS: starting and ending a session, signing its upgrade
//!   tunnel      a websocket, a waker, the clock of a tunnel
//!   config      what a person may write, and what it means
//!   telemetry   what can be seen from outside
//!   panics      a panic: reported, caught, counted
//!   forward     a local address, an accepted connection
//!   daemon      all forwards, signals, shutdown
//!   sim         the far side on loopback; knows `wire` and nothing else
//!   cli         arguments, exit codes, sentences for a human
//! ```
//!
//! Follow a byte: `forward::relay` reads it, `tunnel::stream` hands it to the core,
//! `proto::mux` cuts a frame, `proto::channel` numbers a message, `tunnel::driver` sends it.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod daemon;
pub mod files;
pub mod forward;
pub mod network;
pub mod panics;
pub mod printable;
pub mod proto;
pub mod session;
pub mod sim;
pub mod telemetry;
pub mod tunnel;
pub mod wire;
