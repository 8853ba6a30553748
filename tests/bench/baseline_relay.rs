//! A baseline without the protocol: the minimum cost of any relay over a websocket.
//!
//! ```text
//!   client ── TCP ──▶ near end ══ websocket ══▶ far end ── TCP ──▶ destination
//! ```
//!
//! An end splits the bytes of its TCP connection into payloads, puts a header of 120 bytes with
//! their SHA-256 before each, and checks each received message and answers it with one fixed
//! acknowledgement of 296 bytes. It does not number or retain messages and does not wait. Each end
//! is one task that polls all of its sources in turn and flushes once: little could be removed from
//! it.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::{Sink, Stream};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_async_with_config, client_async_with_config};

/// A listening relay.
#[derive(Debug)]
pub(crate) struct BaselineRelay {
    pub(crate) address: SocketAddr,
    tasks: JoinSet<()>,
}

impl BaselineRelay {
    /// A relay to `destination` whose messages carry `payload` bytes at most.
    pub(crate) async fn start(destination: SocketAddr, payload: usize, tls: Option<Tls>) -> Self {
        let far = Self::start_far_end(destination, payload, tls.clone()).await;
        let mut near = Self::start_near_end(far.address, payload, tls).await;
        near.tasks.spawn(async move {
            let mut far = far;
            far.tasks.join_next().await;
        });
        near
    }

    /// The end at the destination alone.
    pub(crate) async fn start_far_end(to: SocketAddr, payload: usize, tls: Option<Tls>) -> Self {
        Self::serve(move |tcp| serve_far_end(tcp, to, payload, tls.clone())).await
    }

    /// The end at the clients alone.
    pub(crate) async fn start_near_end(to: SocketAddr, payload: usize, tls: Option<Tls>) -> Self {
        Self::serve(move |tcp| serve_near_end(tcp, to, payload, tls.clone())).await
    }

    async fn serve<F: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, serve));
        Self { address, tasks }
    }
}

/// Serves every connection, each in a task.
pub(crate) async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> F,
) {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        tcp.set_nodelay(true).unwrap();
        connections.spawn(serve(tcp));
    }
}

async fn serve_near_end(local: TcpStream, service: SocketAddr, payload: usize, tls: Option<Tls>) {
    let tcp = TcpStream::connect(service).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let socket: Box<dyn Socket> = match tls {
        None => Box::new(tcp),
        Some(Tls { connector, .. }) => {
            let name = ServerName::try_from(NAME).unwrap();
            Box::new(connector.connect(name, tcp).await.unwrap())
        }
    };
    let config = Some(config(NEAR_BUFFERS));
    let url = format!("ws://{NAME}/");
    let (websocket, _) = client_async_with_config(url, socket, config).await.unwrap();
    End::new(local, websocket, payload).run().await;
}

async fn serve_far_end(tcp: TcpStream, to: SocketAddr, payload: usize, tls: Option<Tls>) {
    let socket: Box<dyn Socket> = match tls {
        None => Box::new(tcp),
        Some(Tls { acceptor, .. }) => Box::new(acceptor.accept(tcp).await.unwrap()),
    };
    let config = Some(config(FAR_BUFFERS));
    let websocket = accept_async_with_config(socket, config).await.unwrap();
    let destination = TcpStream::connect(to).await.unwrap();
    destination.set_nodelay(true).unwrap();
    End::new(destination, websocket, payload).run().await;
}

fn config(buffers: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(buffers)
        .write_buffer_size(buffers)
}

/// The transport of a websocket.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// One end of the relay.
struct End {
    tcp: TcpStream,
    websocket: WebSocketStream<Box<dyn Socket>>,
    payload: usize,
    /// Bytes from TCP that are not in a message yet.
    input: BytesMut,
    /// Bytes that TCP has not accepted yet.
    output: VecDeque<Bytes>,
    acknowledgement: Bytes,
    /// The number of messages that still need an acknowledgement.
    owed: usize,
}

impl End {
    fn new(tcp: TcpStream, websocket: WebSocketStream<Box<dyn Socket>>, payload: usize) -> Self {
        Self {
            tcp,
            websocket,
            payload,
            input: BytesMut::new(),
            output: VecDeque::new(),
            acknowledgement: Bytes::from(vec![0; ACKNOWLEDGEMENT]),
            owed: 0,
        }
    }

    /// Runs until one of the connections has ended.
    async fn run(mut self) {
        let ended = std::future::poll_fn(|cx| self.poll(cx)).await;
        drop(ended);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        for _ in 0..MAX_ROUNDS {
            match self.round(cx) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(ended) => return Poll::Ready(ended),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One step of each kind. Each returns false if there was no progress.
    fn round(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        Ok(self.receive(cx)? | self.write(cx)? | self.read(cx)? | self.send(cx)?)
    }

    /// Handles the messages received on the websocket.
    fn receive(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        while self.output.len() < MAX_OUTPUT {
            match Pin::new(&mut self.websocket).poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(Message::Binary(message)))) => self.take(&message),
                Poll::Ready(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
            moved = true;
        }
        Ok(moved)
    }

    fn take(&mut self, message: &Bytes) {
        if message[0] == DATA {
            let payload = message.slice(HEADER..);
            assert_eq!(Sha256::digest(&payload).as_slice(), &message[DIGEST]);
            self.output.push_back(payload);
            self.owed += 1;
        }
    }

    /// Writes received bytes to TCP, many pieces at once.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        while !self.output.is_empty() {
            let mut slices = [io::IoSlice::new(&[]); MAX_SLICES];
            let pieces = self.output.len().min(MAX_SLICES);
            for (slice, piece) in slices.iter_mut().zip(&self.output) {
                *slice = io::IoSlice::new(piece);
            }
            match Pin::new(&mut self.tcp).poll_write_vectored(cx, &slices[..pieces]) {
                Poll::Ready(written) => self.written(written?),
                Poll::Pending => break,
            }
            moved = true;
        }
        Ok(moved)
    }

    fn written(&mut self, mut len: usize) {
        while let Some(mut piece) = self.output.pop_front() {
            if len < piece.len() {
                self.output.push_front(piece.split_off(len));
                return;
            }
            len -= piece.len();
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.input.len() >= self.payload {
            return Ok(false);
        }
        self.input.reserve(BUFFER);
        let read = pin!(self.tcp.read_buf(&mut self.input));
        match read.poll(cx)? {
            Poll::Ready(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(_) => Ok(true),
            Poll::Pending => Ok(false),
        }
    }

    /// Writes acknowledgements and data to the websocket, and flushes it.
    fn send(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        while self.owed > 0 || !self.input.is_empty() {
            if Pin::new(&mut self.websocket).poll_ready(cx).is_pending() {
                return Ok(moved);
            }
            let message = self.next_message();
            Pin::new(&mut self.websocket)
                .start_send(Message::Binary(message))
                .map_err(io::Error::other)?;
            moved = true;
        }
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.websocket).poll_flush(cx) {
            return Err(io::Error::other(error));
        }
        Ok(moved)
    }

    fn next_message(&mut self) -> Bytes {
        if self.owed > 0 {
            self.owed -= 1;
            return self.acknowledgement.clone();
        }
        let len = self.input.len().min(self.payload);
        let payload = self.input.split_to(len);
        let mut message = BytesMut::with_capacity(HEADER + len);
        message.resize(HEADER, 0);
        message[0] = DATA;
        message[DIGEST].copy_from_slice(&Sha256::digest(&payload));
        message.extend_from_slice(&payload);
        message.freeze()
    }
}

/// Both sides of TLS with a temporary certificate.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Tls {
    pub(crate) fn new() -> Self {
        let names = vec![NAME.to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        }
    }
}

const NAME: &str = "localhost";

/// The first byte of a message with data; an acknowledgement has another one.
const DATA: u8 = 1;
/// Length of the header before a payload.
const HEADER: usize = 120;
/// Offset of the digest in the header.
const DIGEST: Range<usize> = 80..112;
/// Length of an acknowledgement, header included.
const ACKNOWLEDGEMENT: usize = 296;

/// The buffers of a websocket: those of the daemon, and those of the simulator.
const NEAR_BUFFERS: usize = 16 * 1024;
const FAR_BUFFERS: usize = 64 * 1024;
/// Bytes per read from TCP.
const BUFFER: usize = 64 * 1024;
/// Pieces per write.
const MAX_SLICES: usize = 64;
/// Maximum number of messages queued for TCP.
const MAX_OUTPUT: usize = 256;
/// Rounds before the task yields.
const MAX_ROUNDS: usize = 16;
