//! Sockets that the service manager has bound, and passes on by name (`LISTEN_FDS`).
//!
//! They outlive us: a connection that comes between a stop and the next start waits in their
//! backlog. The manager removes the file of a Unix socket, and says who may connect to it.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use listenfd::ListenFd;
use tracing::warn;

use super::Listener;

/// Sockets that listen, and are not known to the runtime yet.
#[derive(Debug, Default)]
pub struct InheritedSockets(Vec<(String, Socket)>);

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl InheritedSockets {
    /// Takes what was passed to this process, once; to be called before there are other threads.
    /// `names` is `LISTEN_FDNAMES`.
    ///
    /// # Errors
    ///
    /// If something was passed that is no socket for connections.
    pub fn take(names: &str) -> io::Result<Self> {
        let mut passed = ListenFd::from_env();
        let mut names = names.split(':');
        let mut sockets = Vec::new();
        for place in 0..passed.len() {
            let name = names.next().filter(|name| !name.is_empty());
            let name = name.unwrap_or(NAMELESS).to_owned();
            let socket = match passed.take_tcp_listener(place) {
                Ok(tcp) => tcp.map(Socket::Tcp),
                Err(_) => passed.take_unix_listener(place)?.map(Socket::Unix),
            };
            sockets.extend(socket.map(|socket| (name, socket)));
        }
        Ok(Self(sockets))
    }
}

/// The same, by name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ActivatedSockets(Arc<BTreeMap<String, Vec<Arc<Listener>>>>);

impl ActivatedSockets {
    /// Makes listeners of what was passed: hands them to the runtime.
    ///
    /// # Errors
    ///
    /// What the system says.
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
                    Listener::Passed(tokio::net::UnixListener::from_std(unix)?)
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

    /// Tells of sockets on which nobody would accept, given the names that are listened on.
    pub fn warn_of_others(&self, used: &[&str]) {
        for name in self.0.keys().filter(|name| !used.contains(&name.as_str())) {
            warn!(
                name,
                hint = "write `listen = \"systemd:NAME\"` in a forward, or remove its .socket unit",
                "a socket was passed on which no forward listens; connections to it hang"
            );
        }
    }
}

/// What systemd calls a socket without `FileDescriptorName=` is the name of its unit; a manager that
/// passes no names means this.
const NAMELESS: &str = "unknown";
