//! What several test files stand on.

pub(crate) mod api;
pub(crate) mod bytes;
pub(crate) mod connect_proxy;
pub(crate) mod desk;
pub(crate) mod destination;
pub(crate) mod errand;
pub(crate) mod far;
pub(crate) mod forge;
pub(crate) mod journal;
pub(crate) mod link;
pub(crate) mod local;
pub(crate) mod login;
pub(crate) mod machine;
pub(crate) mod official_client;
pub(crate) mod pair;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod running;
pub(crate) mod screen;
pub(crate) mod setup;
pub(crate) mod sshd;
pub(crate) mod stage;
pub(crate) mod tinyproxy;
pub(crate) mod tls;
pub(crate) mod transfer;
