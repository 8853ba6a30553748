//! Documents of our own that fix the destination.

use std::net::SocketAddr;

use ssm_proxyd::sim::{Document, Options};

/// A document that fixes the host `db.internal`.
pub(crate) const HOST: &str = "Our-Host";

/// A document that fixes the host and a port.
pub(crate) const DATABASE: &str = "Our-Database";

/// Adds the documents. They lead to `address` as `db.internal`, at `port`.
pub(crate) fn with_documents(mut options: Options, port: u16, address: SocketAddr) -> Options {
    let resolver = &mut options.resolver;
    resolver.insert("db.internal", Some(port), address).unwrap();
    let host = Document::like("AWS-StartPortForwardingSessionToRemoteHost").unwrap();
    let host = host.fixing("host", "db.internal").unwrap();
    let database = host.clone().fixing("portNumber", &port.to_string());
    options.documents = [(HOST, host), (DATABASE, database.unwrap())]
        .map(|(name, document)| (name.to_owned(), document))
        .into();
    options
}
