//! The integration tests, one binary: every other file here is a module of it.

mod config;
