//! Connects flows to their destinations.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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
    lookups: Arc<Semaphore>,
}

/// The names that one bundle has resolved, so that it leaves threads to others. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct BundleLookups {
    of_bundle: Arc<Semaphore>,
    /// One permit for each thread that resolves a name, which cannot be ended.
    of_all: Arc<Semaphore>,
}

impl BundleLookups {
    /// Waits until a name may be resolved.
    async fn acquire(&self) -> (OwnedSemaphorePermit, OwnedSemaphorePermit) {
        (acquire(&self.of_bundle).await, acquire(&self.of_all).await)
    }
}

async fn acquire(permits: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let permit = Arc::clone(permits).acquire_owned().await;
    permit.expect("the semaphore is never closed")
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

    /// Returns the lookups of a new bundle.
    pub(super) fn lookups_of_a_bundle(&self) -> BundleLookups {
        BundleLookups {
            of_bundle: Arc::new(Semaphore::new(MAX_BUNDLE_LOOKUPS)),
            of_all: Arc::clone(&self.lookups),
        }
    }

    /// Connects to a destination, if the rules allow it.
    pub(super) async fn dial(
        &self,
        destination: &Destination,
        lookups: &BundleLookups,
    ) -> Result<Socket, DialError> {
        let allowed = check(&self.rules, destination)?;
        let connecting = self.connect(destination, allowed, lookups);
        let connected = timeout(self.limit, connecting).await;
        connected.unwrap_or_else(|_| {
            let text = format_args!("no answer within {} s", self.limit.as_secs_f32());
            Err((FailureClass::TimedOut, Printable::of(text)))
        })
    }

    async fn connect(
        &self,
        destination: &Destination,
        allowed: Allowed,
        lookups: &BundleLookups,
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
            Allowed::Name(name, port) => self.resolve(destination, name, port, lookups).await?,
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
        lookups: &BundleLookups,
    ) -> Result<Vec<SocketAddr>, DialError> {
        let permits = lookups.acquire().await;
        let query = (name.clone(), port);
        let lookup = blocking::spawn(move || {
            let _permits = permits;
            query.to_socket_addrs().map(Vec::from_iter)
        });
        let found = lookup.await.unwrap_or_else(|panic| Err(panic.into()));
        let found = found.map_err(|error| unresolved(&name, shortage::behind(error)))?;
        let permits = |address: &SocketAddr| {
            let address = address.ip();
            self.rules.permit_resolved(address, port, is_own(address))
        };
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

/// Returns true if an address is one of this machine, or may be: the kernel would send from it to
/// itself. Connecting a UDP socket sends nothing.
fn is_own(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, DISCARD_PORT))?;
        socket.local_addr()
    });
    match source {
        Ok(source) => source.ip() == address,
        // Without a route it cannot be connected either.
        Err(error) => ![
            io::ErrorKind::NetworkUnreachable,
            io::ErrorKind::HostUnreachable,
            io::ErrorKind::NetworkDown,
        ]
        .contains(&error.kind()),
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

/// Maximum number of those for one bundle.
const MAX_BUNDLE_LOOKUPS: usize = 16;

/// Any port: nothing is sent to it.
const DISCARD_PORT: u16 = 9;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_bundle_leaves_lookups_to_others() {
        let rules = Rules::new(Vec::new());
        let dialler = Dialler::new(rules, Duration::from_secs(1));
        let (greedy, other) = (dialler.lookups_of_a_bundle(), dialler.lookups_of_a_bundle());
        let mut running = Vec::new();
        for _ in 0..MAX_BUNDLE_LOOKUPS {
            running.push(greedy.clone().acquire().await);
        }

        let pause = Duration::from_secs(60);
        assert!(timeout(pause, greedy.acquire()).await.is_err());
        assert!(timeout(pause, other.acquire()).await.is_ok());
        running.pop();
        assert!(timeout(pause, greedy.acquire()).await.is_ok());
    }

    #[test]
    fn an_address_of_this_machine_is_recognized() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_own(address.parse().unwrap()), expected, "{address}");
        }
    }
}
