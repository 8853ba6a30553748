//! Errors of listeners, with hints.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::config::Listen;
use crate::error_class::ErrorClass;
use crate::network::shortage;

/// A local address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {kind}")]
pub struct ListenError {
    /// The address.
    pub address: Listen,
    /// The cause.
    pub kind: ListenErrorKind,
}

impl ListenError {
    pub(super) fn new(address: Listen, kind: ListenErrorKind) -> Self {
        Self { address, kind }
    }

    /// Returns the same error, or `OwnListener` if the address is taken by a listener of this
    /// daemon.
    pub(super) fn or_own_listener(
        self,
        own: impl FnOnce(SocketAddr) -> Option<SocketAddr>,
    ) -> Self {
        match (&self.address, &self.kind) {
            (Listen::Tcp(port), ListenErrorKind::InUse) => match own(*port) {
                Some(held) => Self::new(self.address, ListenErrorKind::OwnListener(held)),
                None => self,
            },
            _ => self,
        }
    }

    /// Returns the class of the error.
    pub fn class(&self) -> ErrorClass {
        match &self.kind {
            ListenErrorKind::InUse | ListenErrorKind::OwnListener(_) => {
                ErrorClass::ListenAddressInUse
            }
            ListenErrorKind::System(_)
            | ListenErrorKind::NotASocket
            | ListenErrorKind::NoDirectory
            | ListenErrorKind::Locked(_)
            | ListenErrorKind::NotActivated(_)
            | ListenErrorKind::NotLoopback(_) => ErrorClass::CannotListen,
        }
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> String {
        if let ListenErrorKind::System(error) = &self.kind
            && let Some(hint) = shortage::hint(error)
        {
            return hint.to_owned();
        }
        match &self.address {
            Listen::Localhost(port) => port_hint(*port, &self.kind),
            Listen::Tcp(address) => port_hint(address.port(), &self.kind),
            Listen::Unix(path) => path_hint(path, &self.kind),
            Listen::Systemd(name) => passed_hint(name, &self.kind),
        }
    }

    /// Returns the kind of the system's error, if there is one.
    pub(super) fn kind(&self) -> Option<io::ErrorKind> {
        self.kind.kind()
    }
}

/// Reason why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenErrorKind {
    /// System error.
    #[error("{}", words(.0))]
    System(io::Error),
    /// Another program listens on it.
    #[error("address already in use")]
    InUse,
    /// This daemon itself listens on a conflicting address.
    #[error("this daemon still listens on {0}")]
    OwnListener(SocketAddr),
    /// The path of a Unix socket is not a socket.
    #[error("the path exists and is not a socket")]
    NotASocket,
    /// The directory of a Unix socket does not exist.
    #[error("its directory does not exist")]
    NoDirectory,
    /// Another process of this user holds the lock file of a Unix socket.
    #[error("another process holds its lock file")]
    Locked(PathBuf),
    /// The service manager has passed no socket of that name; lists the names that were passed.
    #[error("no socket of that name was passed{}", available_names(.0))]
    NotActivated(String),
    /// An activated socket listens where other machines can reach it.
    #[error("other machines could connect to {0}")]
    NotLoopback(String),
}

impl ListenErrorKind {
    fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::System(error) => Some(error.kind()),
            Self::InUse | Self::OwnListener(_) => Some(io::ErrorKind::AddrInUse),
            Self::NotASocket
            | Self::NoDirectory
            | Self::Locked(_)
            | Self::NotActivated(_)
            | Self::NotLoopback(_) => None,
        }
    }
}

impl From<io::Error> for ListenErrorKind {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::AddrInUse {
            return Self::InUse;
        }
        Self::System(error)
    }
}

fn port_hint(port: u16, kind: &ListenErrorKind) -> String {
    if let ListenErrorKind::OwnListener(_) = kind {
        return "an address and the wildcard address cannot be bound at the same time, so a reload cannot replace one by the other; restart the daemon, or reload once without this `listen` and then with it".to_owned();
    }
    match kind.kind() {
        Some(io::ErrorKind::AddrInUse) => format!(
            "another program uses this port; choose another `listen`, or find it with `ss -ltnp 'sport = :{port}'`"
        ),
        Some(io::ErrorKind::PermissionDenied) if port < FIRST_UNPRIVILEGED_PORT => {
            "ports below 1024 need a privilege; choose a higher one, or grant CAP_NET_BIND_SERVICE"
                .to_owned()
        }
        Some(io::ErrorKind::PermissionDenied) => {
            "a policy of this machine forbids it: SELinux, AppArmor, or the sandbox of the service"
                .to_owned()
        }
        Some(io::ErrorKind::AddrNotAvailable) => {
            "the address is not (yet) assigned to this machine; its addresses are in `ip address`"
                .to_owned()
        }
        Some(_) | None => "choose another `listen`".to_owned(),
    }
}

fn path_hint(path: &Path, kind: &ListenErrorKind) -> String {
    let directory = path.parent().unwrap_or(path).display();
    match kind {
        ListenErrorKind::NotASocket => {
            "only a socket is replaced; move the file away, or choose another path".to_owned()
        }
        ListenErrorKind::NoDirectory => {
            format!("create it: `mkdir {directory}`, or `RuntimeDirectory=` in a systemd unit")
        }
        ListenErrorKind::Locked(lock) => {
            format!(
                "find it with `fuser {}`, and retry when it has exited",
                lock.display()
            )
        }
        ListenErrorKind::InUse => {
            "another program listens there; stop it (`ss -lxp` shows it), or choose another path"
                .to_owned()
        }
        ListenErrorKind::System(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            format!(
                "this user must be able to create files in {directory}, and to replace an existing socket there"
            )
        }
        ListenErrorKind::System(error) if error.kind() == io::ErrorKind::TimedOut => {
            format!("check the disk or network file system of {directory}")
        }
        ListenErrorKind::System(_)
        | ListenErrorKind::OwnListener(_)
        | ListenErrorKind::NotActivated(_)
        | ListenErrorKind::NotLoopback(_) => "choose another path".to_owned(),
    }
}

fn passed_hint(name: &str, kind: &ListenErrorKind) -> String {
    match kind {
        ListenErrorKind::NotLoopback(_) => {
            "give its .socket unit a loopback address, or add `allow_remote_clients = true` if this is intended"
                .to_owned()
        }
        ListenErrorKind::System(_)
        | ListenErrorKind::InUse
        | ListenErrorKind::OwnListener(_)
        | ListenErrorKind::NotASocket
        | ListenErrorKind::NoDirectory
        | ListenErrorKind::Locked(_)
        | ListenErrorKind::NotActivated(_) => format!(
            "a .socket unit passes one with `FileDescriptorName={name}` and `Service=ssm-proxyd.service`; new ones need a restart of the daemon"
        ),
    }
}

/// Formats the list of available names.
fn available_names(names: &str) -> String {
    match names.is_empty() {
        true => String::new(),
        false => format!("; available: {names}"),
    }
}

/// Ports below this one are privileged.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// Returns the system's message without the error number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    words.to_lowercase()
}

/// Returns true for errors that concern one connection and not the listener.
pub(in crate::forward) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotConnected
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn hint(address: &Listen, errno: Errno) -> String {
        ListenError::new(address.clone(), io::Error::from(errno).into()).hint()
    }

    #[test]
    fn a_hint_names_the_obstacle() {
        let low = Listen::Tcp("127.0.0.1:443".parse().unwrap());
        let high = Listen::Tcp("192.0.2.1:5432".parse().unwrap());
        let path = Listen::Unix("/run/x/a.sock".into());
        for (address, errno, expected) in [
            (&high, Errno::MFILE, "LimitNOFILE"),
            (&path, Errno::MFILE, "LimitNOFILE"),
            (&high, Errno::NFILE, "fs.file-max"),
            (&high, Errno::NOBUFS, "memory"),
            (&low, Errno::ACCESS, "CAP_NET_BIND_SERVICE"),
            (&high, Errno::ACCESS, "policy"),
            (&high, Errno::ADDRNOTAVAIL, "ip address"),
            (&high, Errno::ADDRINUSE, "ss -ltnp"),
            (&path, Errno::ACCESS, "create files"),
        ] {
            let hint = hint(address, errno);

            assert!(hint.contains(expected), "{address} {errno}: {hint}");
        }
    }
}
