//! Options of the simulator.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::agent;
use super::documents::Document;
use super::ecs::Ecs;
use super::faults::Faults;
use super::nodes::Nodes;
use super::resolver::Resolver;
use super::signature::Credentials;

/// Options of the simulator. Defaults: a healthy service and a current agent at its own pace.
#[derive(Clone, Debug)]
pub struct Options {
    /// Listen address; must be loopback. Default: `127.0.0.1`, a free port.
    pub listen: SocketAddr,
    /// Address for clients, in `endpoint` and StreamUrl, if a proxy is in front of the simulator.
    /// Default: the listen address.
    pub advertised: Option<SocketAddr>,
    /// Serve `https` and `wss` with a certificate generated at start. Default: false.
    pub tls: bool,
    /// Use the names of AWS's own endpoints in the region, in the certificate and in stream URLs.
    /// Requires a proxy that forwards these names to the simulator. Default: false.
    pub public_names: bool,
    /// Expected region of signatures. Default: `us-east-1`.
    pub region: String,
    /// Credentials for signature verification. Default: dummy values.
    pub credentials: Credentials,
    /// Reject unsigned and wrongly signed requests with 403. Default: false; the ledger records the
    /// result either way.
    pub require_signature: bool,
    /// Options of the agents.
    pub agent: agent::Options,
    /// Random seed for tokens, session ids, message ids and readiness. Default: 0.
    pub seed: u64,
    /// Names that agents can resolve, with their loopback addresses.
    pub resolver: Resolver,
    /// Custom documents, by name.
    pub documents: BTreeMap<String, Document>,
    /// Managed nodes for lookups by tags. Sessions may be started on other nodes too.
    pub nodes: Nodes,
    /// Services of ECS.
    pub ecs: Ecs,
    /// Targets whose agent is offline.
    pub offline: BTreeSet<String>,
    /// Existing directory for the keys of SendSSHPublicKey: a file for each user, in the format of
    /// sshd's `AuthorizedKeysFile`. Default: none.
    pub authorized_keys: Option<PathBuf>,
    /// Minimum duration of every API call. Default: none.
    pub api_delay: Duration,
    /// Bytes of output held while no client is attached; output beyond is discarded. 0 discards
    /// everything (docs/protocol.md, appendix B). Default: 1 MiB.
    pub gateway_buffer: usize,
    /// Bytes of input kept while the agent's own websocket is down; input beyond is discarded.
    /// Default: 0, which discards everything (docs/protocol.md, appendix B).
    pub gateway_input_buffer: usize,
    /// Bytes of input buffered for an agent that reads nothing. Beyond it, the client is not read
    /// and pings are not answered. Default: 1 MiB.
    pub gateway_inbox: usize,
    /// Maximum length of a client's websocket message in bytes; a longer one breaks the websocket.
    /// Default: 64 MiB.
    pub max_message: usize,
    /// Initial faults. Default: none.
    pub faults: Faults,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertised: None,
            tls: false,
            public_names: false,
            region: "us-east-1".to_owned(),
            credentials: Credentials::default(),
            require_signature: false,
            agent: agent::Options::default(),
            seed: 0,
            resolver: Resolver::default(),
            documents: BTreeMap::new(),
            nodes: Nodes::new(),
            ecs: Ecs::default(),
            offline: BTreeSet::new(),
            authorized_keys: None,
            api_delay: Duration::ZERO,
            gateway_buffer: 1 << 20,
            gateway_input_buffer: 0,
            gateway_inbox: 1 << 20,
            max_message: 64 << 20,
            faults: Faults::default(),
        }
    }
}
