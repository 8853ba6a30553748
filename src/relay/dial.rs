//! Connects flows to their destinations.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::destination::{Allowed, DialError, check, denied};
use super::rules::Rules;
use super::socket::Socket;
use crate::blocking;
use crate::bundle::record::{Destination, FailureClass};
use crate::network::{connect_any, shortage};
use crate::printable::Printable;

/// Connects to what the rules allow.
#[derive(Debug)]
pub(super) struct Dialler {
    rules: Rules,
    limit: Duration,
    /// One permit for each thread that resolves a name, which cannot be ended.
    lookups: Arc<Semaphore>,
}

impl Dialler {
    /// Each connection takes at most `limit`.
    pub(super) fn new(rules: Rules, limit: Duration) -> Self {
        let lookups = Arc::new(Semaphore::new(MAX_LOOKUPS));
        Self {
            rules,
            limit,
            lookups,
        }
    }

    /// Connects to a destination, if the rules allow it.
    pub(super) async fn dial(&self, destination: &Destination) -> Result<Socket, DialError> {
        let allowed = check(&self.rules, destination)?;
        let connected = timeout(self.limit, self.connect(destination, allowed)).await;
        connected.unwrap_or_else(|_| {
            let text = format_args!("no answer within {} s", self.limit.as_secs_f32());
            Err((FailureClass::TimedOut, Printable::of(text)))
        })
    }

    async fn connect(
        &self,
        destination: &Destination,
        allowed: Allowed,
    ) -> Result<Socket, DialError> {
        let addresses = match allowed {
            Allowed::Socket(path) => {
                let stream = UnixStream::connect(path).await;
                return stream.map(Socket::Unix).map_err(|error| failure(&error));
            }
            Allowed::Localhost(port) => {
                let both = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
                both.map(|address| SocketAddr::new(address, port)).to_vec()
            }
            Allowed::Address(address, port) => vec![SocketAddr::new(address, port)],
            Allowed::Name(name, port) => self.resolve(destination, name, port).await?,
        };
        let connected = connect_any(addresses).await;
        let socket = connected.and_then(Socket::tcp);
        socket.map_err(|error| failure(&error))
    }

    /// Returns the addresses of a name that the rules allow.
    async fn resolve(
        &self,
        destination: &Destination,
        name: String,
        port: u16,
    ) -> Result<Vec<SocketAddr>, DialError> {
        let permit = Arc::clone(&self.lookups).acquire_owned().await;
        let query = (name.clone(), port);
        let lookup = blocking::spawn(move || {
            let _permit = permit;
            query.to_socket_addrs().map(Vec::from_iter)
        });
        let found = lookup.await.unwrap_or_else(|panic| Err(panic.into()));
        let found = found.map_err(|error| unresolved(&name, shortage::behind(error)))?;
        let permits = |address: &SocketAddr| self.rules.permit_resolved(address.ip(), port);
        let permitted: Vec<_> = found.iter().copied().filter(permits).collect();
        match (permitted.is_empty(), found.first()) {
            (false, _) => Ok(permitted),
            (true, Some(address)) => {
                let ((class, text), address) = (denied(destination), address.ip());
                let text = format_args!("{text}, which resolves to {address}");
                Err((class, Printable::of(text)))
            }
            (true, None) => Err(unresolved(&name, io::ErrorKind::NotFound.into())),
        }
    }
}

fn unresolved(name: &str, error: io::Error) -> DialError {
    let class = match shortage::hint(&error) {
        Some(_) => FailureClass::Limit,
        None => FailureClass::NotResolved,
    };
    (class, Printable::of(format_args!("{name}: {error}")))
}

fn failure(error: &io::Error) -> DialError {
    let classes = [
        (io::ErrorKind::ConnectionRefused, FailureClass::Refused),
        (io::ErrorKind::TimedOut, FailureClass::TimedOut),
        (io::ErrorKind::HostUnreachable, FailureClass::Unreachable),
        (io::ErrorKind::NetworkUnreachable, FailureClass::Unreachable),
        (io::ErrorKind::NetworkDown, FailureClass::Unreachable),
    ];
    let known = classes.iter().find(|(kind, _)| *kind == error.kind());
    let class = match shortage::hint(error) {
        Some(_) => FailureClass::Limit,
        None => known.map_or(FailureClass::Other, |(_, class)| *class),
    };
    (class, Printable::of(error))
}

/// Maximum number of names that are resolved at the same time.
const MAX_LOOKUPS: usize = 64;
