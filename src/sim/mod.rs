//! The far side on loopback: what is imitated, and what is not.

pub mod agent;
