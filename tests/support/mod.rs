//! Helpers shared by several test files.

pub(crate) mod agent_destination;
pub(crate) mod client;
pub(crate) mod connect_process;
pub(crate) mod connect_proxy;
pub(crate) mod core_fixture;
pub(crate) mod credential_endpoints;
pub(crate) mod daemon_process;
pub(crate) mod documents;
pub(crate) mod fake_api;
pub(crate) mod free_address;
pub(crate) mod in_process;
pub(crate) mod login_services;
pub(crate) mod message_builder;
pub(crate) mod official_client;
pub(crate) mod pair;
pub(crate) mod pair_options;
pub(crate) mod payload;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod simulator_process;
pub(crate) mod sshd;
pub(crate) mod tinyproxy;
pub(crate) mod tls;
pub(crate) mod tmux;
pub(crate) mod trace;
pub(crate) mod transfer;
