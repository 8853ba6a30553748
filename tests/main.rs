//! One test binary; each file beside this one is a module of it.
//!
//! A single binary, because each one would link the AWS SDK. `cfg(test)` always holds here: it
//! tells clippy that the helpers are test code too, where `unwrap` and printing are allowed.

#[cfg(test)]
mod architecture;
#[cfg(test)]
mod aws;
#[cfg(test)]
mod backpressure;
#[cfg(test)]
mod basic_mode;
#[cfg(test)]
mod channel;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod check;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod close_semantics;
#[cfg(test)]
mod config;
#[cfg(test)]
mod connect;
#[cfg(test)]
mod curl;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod documentation;
#[cfg(test)]
mod early;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod forward_and_exec;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod iam_policy;
#[cfg(test)]
mod init;
#[cfg(test)]
mod loopback;
#[cfg(test)]
mod mfa;
#[cfg(test)]
mod model;
#[cfg(test)]
mod packaged_files;
#[cfg(test)]
mod packaging;
#[cfg(test)]
mod plugin;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod reconnect;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod relayed;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod simulate;
#[cfg(test)]
mod single_stream;
#[cfg(test)]
mod socks;
#[cfg(test)]
mod ssh;
#[cfg(test)]
mod support;
#[cfg(test)]
mod targets;
