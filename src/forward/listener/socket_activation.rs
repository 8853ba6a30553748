//! Sockets bound by the service manager and passed by name (`LISTEN_FDS`).
//!
//! They outlive the daemon: a connection between a stop and the next start waits in their backlog.
//! The service manager removes the file of a Unix socket, and sets its permissions.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use listenfd::ListenFd;
use tracing::warn;

use super::Listener;

/// Listening sockets that are not registered with the runtime yet.
#[derive(Debug, Default)]
pub struct InheritedSockets(Vec<(String, Socket)>);

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl InheritedSockets {
    /// Takes the sockets passed to this process. Must be called once, before other threads exist.
    /// `names` is `LISTEN_FDNAMES`.
    ///
    /// # Errors
    ///
    /// If a passed descriptor is not a listening socket.
    pub fn take(names: &str) -> io::Result<Self> {
        let mut passed = ListenFd::from_env();
        let mut names = names.split(':');
        let mut sockets = Vec::new();
        for index in 0..passed.len() {
            let name = names.next().filter(|name| !name.is_empty());
            let name = name.unwrap_or(UNNAMED).to_owned();
            let socket = match passed.take_tcp_listener(index) {
                Ok(tcp) => tcp.map(Socket::Tcp),
                Err(_) => passed.take_unix_listener(index)?.map(Socket::Unix),
            };
            sockets.extend(socket.map(|socket| (name, socket)));
        }
        Ok(Self(sockets))
    }
}

/// Activated sockets by name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ActivatedSockets(Arc<BTreeMap<String, Vec<Arc<Listener>>>>);

impl ActivatedSockets {
    /// Registers the passed sockets with the runtime.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub fn new(sockets: InheritedSockets) -> io::Result<Self> {
        let mut by_name = BTreeMap::<String, Vec<Arc<Listener>>>::new();
        for (name, socket) in sockets.0 {
            let listener = match socket {
                Socket::Tcp(tcp) => {
                    tcp.set_nonblocking(true)?;
                    Listener::Tcp(tokio::net::TcpListener::from_std(tcp)?)
                }
                Socket::Unix(unix) => {
                    unix.set_nonblocking(true)?;
                    Listener::Activated(tokio::net::UnixListener::from_std(unix)?)
                }
            };
            by_name.entry(name).or_default().push(Arc::new(listener));
        }
        Ok(Self(Arc::new(by_name)))
    }

    pub(super) fn of(&self, name: &str) -> Option<&Vec<Arc<Listener>>> {
        self.0.get(name)
    }

    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        names.join(", ")
    }

    /// Logs a warning for each socket that no forward uses. `used` lists the names in use.
    pub fn warn_of_others(&self, used: &[&str]) {
        for name in self.0.keys().filter(|name| !used.contains(&name.as_str())) {
            warn!(
                name,
                hint = "write `listen = \"systemd:NAME\"` in a forward, or remove its .socket unit",
                "no forward uses this passed socket; connections to it hang"
            );
        }
    }
}

/// Name of a socket if the service manager passes no names. systemd passes the unit's name for a
/// socket without `FileDescriptorName=`.
const UNNAMED: &str = "unknown";
