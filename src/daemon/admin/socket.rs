//! The bound admin socket, and its accepted clients.

use std::fs::File;
use std::io;
use std::path::Path;

use tokio::net::UnixStream;

use crate::forward::{ListenErrorKind, SocketFile};
use crate::network::shortage;
#[cfg(test)]
use crate::virtual_net;

/// The bound socket.
#[derive(Debug)]
pub(super) enum AdminSocket {
    File(SocketFile),
    /// In memory, in virtual time.
    #[cfg(test)]
    Virtual(virtual_net::Listener),
}

/// An accepted client.
#[derive(Debug)]
pub(super) enum AdminStream {
    Unix(UnixStream),
    /// In memory, in virtual time.
    #[cfg(test)]
    Virtual(virtual_net::Stream),
}

impl AdminSocket {
    /// Binds a path. `mode` sets who may connect.
    ///
    /// # Errors
    ///
    /// The reason why the path cannot be bound.
    pub(super) async fn bind(path: &Path, mode: u32) -> Result<Self, ListenErrorKind> {
        #[cfg(test)]
        if virtual_net::is_active() {
            let bound = virtual_net::bind(virtual_net::Address::Unix(path.to_owned()));
            return bound.map(Self::Virtual).map_err(Into::into);
        }
        SocketFile::bind(path, mode).await.map(Self::File)
    }

    /// Accepts a client. A spare descriptor is freed for it if there is no other, so that `status`
    /// works when connections have taken all of them. Cancel safe.
    pub(super) async fn accept(&self, spare: &mut Option<File>) -> io::Result<AdminStream> {
        let socket = match self {
            Self::File(socket) => socket,
            #[cfg(test)]
            Self::Virtual(listener) => return Ok(AdminStream::Virtual(listener.accept().await)),
        };
        if spare.is_none() {
            *spare = File::open("/dev/null").ok();
        }
        let accepted = match socket.accept().await {
            Err(error) if shortage::hint(&error).is_some() && spare.take().is_some() => {
                socket.accept().await
            }
            accepted => accepted,
        };
        accepted.map(AdminStream::Unix)
    }
}
