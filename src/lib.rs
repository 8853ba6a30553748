//! Port forwarding over AWS Systems Manager Session Manager, one session per connection.
#![forbid(unsafe_code)]

pub mod network;
pub mod proto;
pub mod session;
pub mod sim;
pub mod wire;
