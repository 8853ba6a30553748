//! Accepts byte streams and reads their HELLO.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::bundles::Bundles;
use crate::bundle::error::HandshakeError;
use crate::bundle::handshake::{Handshake, HandshakeDecoder, Hello, RefusalClass};
use crate::bundle::limits::GREETING_TIMEOUT;
use crate::network::shortage;
use crate::printable::Printable;

/// Accepts connections, and owns those that have not sent a HELLO.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    bundles: Arc<Bundles>,
    greeting: JoinSet<()>,
    /// The tasks in `greeting`, oldest first, and some that have ended.
    order: VecDeque<AbortHandle>,
    is_short: bool,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, bundles: Arc<Bundles>) -> Self {
        Self {
            listener,
            bundles,
            greeting: JoinSet::new(),
            order: VecDeque::new(),
            is_short: false,
        }
    }

    /// Accepts until the future is dropped, and then continues when it is called again.
    pub(super) async fn run(&mut self) {
        loop {
            tokio::select! {
                biased;
                Some(_) = self.greeting.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        self.is_short = false;
                        self.admit(stream);
                    }
                    Err(error) => self.handle_error(&error).await,
                },
            }
        }
    }

    async fn handle_error(&mut self, error: &std::io::Error) {
        match (shortage::hint(error), self.is_short) {
            (Some(hint), false) => {
                self.is_short = true;
                warn!(%error, hint, "cannot accept connections; trying again");
            }
            (Some(_), true) | (None, _) => debug!(%error, "cannot accept a connection"),
        }
        sleep(ACCEPT_PAUSE).await;
    }

    fn admit(&mut self, stream: TcpStream) {
        self.order.retain(|task| !task.is_finished());
        if self.order.len() >= MAX_GREETING {
            // A daemon sends its HELLO at once, so the oldest is the least likely to be one.
            if let Some(oldest) = self.order.pop_front() {
                debug!("too many connections without a HELLO; closing the oldest");
                oldest.abort();
            }
        }
        let task = greet(stream, Arc::clone(&self.bundles));
        self.order.push_back(self.greeting.spawn(task));
    }
}

/// Reads the HELLO, and passes the stripe to its bundle.
async fn greet(mut stream: TcpStream, bundles: Arc<Bundles>) {
    let read = timeout(GREETING_TIMEOUT, read_hello(&mut stream)).await;
    let (hello, rest) = match read {
        Ok(Ok(read)) => read,
        Ok(Err(NoHello::Invalid(error))) => {
            bundles.metrics.rejected_streams.add(1);
            return debug!(%error, "closing a connection that is not from a daemon");
        }
        Ok(Err(NoHello::Closed)) => return,
        Err(_) => {
            bundles.metrics.rejected_streams.add(1);
            return debug!("closing a connection without a HELLO");
        }
    };
    if let Err(error) = prepare(&stream) {
        return debug!(%error, "cannot prepare a connection");
    }
    if let Err((class, text, stream)) = bundles.accept(&hello, stream, rest) {
        debug!(?class, %text, "refusing a stripe");
        bundles.metrics.refused_stripes.add(1);
        drop(timeout(GREETING_TIMEOUT, refuse(stream, class, text)).await);
    }
}

enum NoHello {
    Closed,
    Invalid(HandshakeError),
}

/// Returns the HELLO and the bytes after it.
async fn read_hello(stream: &mut TcpStream) -> Result<(Hello, Vec<u8>), NoHello> {
    let mut decoder = HandshakeDecoder::default();
    let mut buffer = [0; 1024];
    loop {
        let read = stream.read(&mut buffer).await;
        let len = read.map_err(|_| NoHello::Closed)?;
        if len == 0 {
            return Err(NoHello::Closed);
        }
        let mut input = &buffer[..len];
        match decoder.decode(&mut input).map_err(NoHello::Invalid)? {
            None => {}
            Some(Handshake::Hello(hello)) => return Ok((hello, input.to_vec())),
            Some(Handshake::Welcome(_) | Handshake::Refused(..)) => {
                return Err(NoHello::Invalid(HandshakeError::Unexpected));
            }
        }
    }
}

/// What the kernel holds cannot be overtaken by what is more urgent, so its buffer is small. The
/// bundle limits what is on the way anyway.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_send_buffer_size(SEND_BUFFER)
}

/// Reports the refusal, and lets the peer close.
async fn refuse(mut stream: TcpStream, class: RefusalClass, text: Printable) {
    let refused = Handshake::Refused(class, text).encode();
    if stream.write_all(&refused).await.is_ok() && stream.shutdown().await.is_ok() {
        let mut buffer = [0; 256];
        while stream.read(&mut buffer).await.is_ok_and(|len| len > 0) {}
    }
}

/// Maximum number of connections that have not sent a HELLO.
const MAX_GREETING: usize = 64;

/// Size of the kernel's send buffer of a stripe, which the kernel doubles for its own overhead.
const SEND_BUFFER: usize = 32 * 1024;

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
