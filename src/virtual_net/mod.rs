//! A network in memory, for unit tests in virtual time: listeners and byte streams that end, break,
//! stall and time out as sockets do. Real sockets must not be used while the clock is paused: the
//! runtime advances it although I/O is ready.
//!
//! ```text
//!   bind ─▶ Listener ◀── backlog ── connect ─▶ Stream ══ two pipes ══ Stream
//!                                       │
//!                        Route of the listener's address: open, silent, unreachable; latency
//! ```
//!
//! The network belongs to a thread. It is active between [`install`] and the drop of its guard; the
//! doors of the product (`network`, listeners, the simulator) use it then. Not modelled: packets,
//! loss and reordering within a stream, and name resolution.

mod pipe;
mod route;
mod runtime;
mod stream;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub use self::route::{Reach, Route};
pub use self::runtime::{PollLimit, run, total_polls};
pub use self::stream::Stream;

thread_local! {
    static NET: RefCell<Option<Net>> = const { RefCell::new(None) };
}

/// Activates the network on this thread, until the guard is dropped.
pub fn install() -> Installed {
    NET.set(Some(Net::default()));
    Installed(())
}

/// Returns true if the network is active on this thread.
pub fn is_active() -> bool {
    NET.with_borrow(Option::is_some)
}

/// Deactivates the network when it is dropped.
#[derive(Debug)]
pub struct Installed(());

impl Drop for Installed {
    fn drop(&mut self) {
        NET.take();
    }
}

/// An address of the network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Returns the TCP address.
    ///
    /// # Errors
    ///
    /// If it is a Unix socket.
    pub fn tcp(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(address) => Ok(*address),
            Self::Unix(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

#[derive(Default)]
struct Net {
    listeners: BTreeMap<Address, Weak<Backlog>>,
    routes: BTreeMap<Address, Arc<Route>>,
    /// Counts ports that the network chose, for listeners on port 0 and for clients.
    chosen: u16,
}

impl Net {
    fn port(&mut self) -> u16 {
        self.chosen = (self.chosen + 1) % CHOSEN_PORTS;
        FIRST_CHOSEN_PORT + self.chosen
    }
}

fn with<T>(use_it: impl FnOnce(&mut Net) -> T) -> T {
    NET.with_borrow_mut(|net| use_it(net.as_mut().expect("the virtual network is active")))
}

/// Returns the route to an address, which exists before and after its listener.
pub fn route(to: &Address) -> Arc<Route> {
    with(|net| Arc::clone(net.routes.entry(to.clone()).or_default()))
}

/// Binds an address. Port 0 is a free port.
///
/// # Errors
///
/// `AddrInUse` if there is a listener.
pub fn bind(address: Address) -> io::Result<Listener> {
    with(|net| {
        let address = match address {
            Address::Tcp(tcp) if tcp.port() == 0 => {
                Address::Tcp(SocketAddr::new(tcp.ip(), net.port()))
            }
            address @ (Address::Tcp(_) | Address::Unix(_)) => address,
        };
        let former = net.listeners.get(&address);
        if former.is_some_and(|former| former.strong_count() > 0) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let backlog = Arc::new(Backlog::default());
        net.listeners
            .insert(address.clone(), Arc::downgrade(&backlog));
        Ok(Listener { address, backlog })
    })
}

/// Connects to an address.
///
/// # Errors
///
/// `ConnectionRefused` if nothing listens or the backlog is full, `TimedOut` after two minutes if
/// the address is a black hole.
pub async fn connect(to: &Address) -> io::Result<Stream> {
    let route = route(to);
    let latency = route.latency();
    if !latency.is_zero() {
        tokio::time::sleep(2 * latency).await;
    }
    let mut attempts = 0;
    while route.reach() == Reach::Silent {
        if attempts == SYN_ATTEMPTS {
            return Err(io::ErrorKind::TimedOut.into());
        }
        tokio::time::sleep(Duration::from_secs(1 << attempts)).await;
        attempts += 1;
    }
    if route.reach() == Reach::Refused {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    let (backlog, port) = with(|net| {
        let backlog = net.listeners.get(to).and_then(Weak::upgrade);
        (backlog, net.port())
    });
    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
    let backlog = backlog.ok_or_else(refused)?;
    let client = match to {
        Address::Tcp(to) => Address::Tcp(SocketAddr::new(to.ip(), port)),
        Address::Unix(_) => Address::Unix(PathBuf::new()),
    };
    let (near, far) = Stream::pair(client, to.clone(), &route);
    match backlog.push(far) {
        true => Ok(near),
        false => Err(refused()),
    }
}

/// Accepted streams that wait for their listener.
#[derive(Default)]
struct Backlog(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    streams: VecDeque<Stream>,
    wakers: Vec<Waker>,
}

impl Backlog {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, stream: Stream) -> bool {
        let mut waiting = self.lock();
        if waiting.streams.len() >= BACKLOG {
            return false;
        }
        waiting.streams.push_back(stream);
        let wakers = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        wakers.into_iter().for_each(Waker::wake);
        true
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Stream> {
        let mut waiting = self.lock();
        match waiting.streams.pop_front() {
            Some(stream) => Poll::Ready(stream),
            None => {
                pipe::register(&mut waiting.wakers, cx.waker());
                Poll::Pending
            }
        }
    }
}

/// A bound address. Dropping it resets the streams that were not accepted.
pub struct Listener {
    address: Address,
    backlog: Arc<Backlog>,
}

impl Listener {
    /// Returns the bound address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Waits for a stream. Cancel safe.
    pub async fn accept(&self) -> Stream {
        poll_fn(|cx| self.backlog.poll(cx)).await
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.address)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let streams = std::mem::take(&mut self.backlog.lock().streams);
        streams.iter().for_each(Stream::reset);
    }
}

/// Maximum number of streams that wait for their listener, as on a real listener.
const BACKLOG: usize = 1024;

/// After 1, 2, 4 … seconds, as on Linux: 127 seconds in total.
const SYN_ATTEMPTS: u32 = 7;

/// The range of chosen ports, as on Linux.
const FIRST_CHOSEN_PORT: u16 = 32768;
const CHOSEN_PORTS: u16 = 28_000;
