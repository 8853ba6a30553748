//! Port forwarding over AWS Systems Manager Session Manager, one session per connection.
#![forbid(unsafe_code)]

pub mod config;
pub mod wire;
