//! What a simulator can be told before it starts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::agent;
use super::faults::Faults;
use super::nodes::Nodes;
use super::resolver::Resolver;
use super::signature::Credentials;

/// Every knob. The defaults imitate a healthy service and a current agent, at its own pace.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; a loopback address. Default: `127.0.0.1`, a free port.
    pub listen: SocketAddr,
    /// Where clients reach it, if something stands before it: what `endpoint` and StreamUrl name.
    /// Default: where it listens.
    pub advertised: Option<SocketAddr>,
    /// Serve `https` and `wss` with a certificate made at start. Default: false.
    pub tls: bool,
    /// Have the names of AWS's own endpoints in the region: in the certificate, and in stream URLs.
    /// A proxy must lead there. Default: false.
    pub public_names: bool,
    /// The region that signatures must name. Default: `us-east-1`.
    pub region: String,
    /// The credentials that signatures are verified with. Default: plain dummies.
    pub credentials: Credentials,
    /// Answer an unsigned or wrongly signed request with 403. Default: false; the ledger tells
    /// what came either way.
    pub require_signature: bool,
    /// How the agents behave.
    pub agent: agent::Options,
    /// Where chance begins: tokens, session ids, message ids, readiness. Default: 0.
    pub seed: u64,
    /// What names agents can look up, and which loopback address each one means.
    pub resolver: Resolver,
    /// Documents of the account: name, and the AWS document that it behaves like.
    pub documents: BTreeMap<String, String>,
    /// Managed nodes that can be looked up by their tags. A session may be started on others too.
    pub nodes: Nodes,
    /// Targets whose agent is not connected.
    pub offline: BTreeSet<String>,
    /// How long every API call takes at least. Default: none.
    pub api_delay: Duration,
    /// Bytes of output that the service keeps while no client is attached; what comes on top is
    /// discarded. Default: 1 MiB; 0: discard everything (protocol.md appendix B).
    pub gateway_buffer: usize,
    /// Bytes of input that the service keeps while the agent's own websocket is down; what comes
    /// on top is discarded. Default: 0, so that everything is (protocol.md appendix B).
    pub gateway_input_buffer: usize,
    /// Bytes of input that the service takes ahead of an agent that reads nothing; then it stops
    /// reading the client, and answers no ping. Default: 1 MiB.
    pub gateway_inbox: usize,
    /// Largest message taken from a client, in bytes of the websocket message; a larger one
    /// breaks the websocket. Default: 64 MiB.
    pub max_message: usize,
    /// What goes wrong from the beginning. Default: nothing.
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
            offline: BTreeSet::new(),
            api_delay: Duration::ZERO,
            gateway_buffer: 1 << 20,
            gateway_input_buffer: 0,
            gateway_inbox: 1 << 20,
            max_message: 64 << 20,
            faults: Faults::default(),
        }
    }
}
