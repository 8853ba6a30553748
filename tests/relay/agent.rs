//! In place of sessions and their agents: forwards connections, cuts them, and refuses them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// An agent.
pub(super) struct Agent {
    address: SocketAddr,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    is_offline: AtomicBool,
    connections: Mutex<Vec<AbortHandle>>,
}

impl Agent {
    pub(super) async fn start(relay: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let mut task = JoinSet::new();
        task.spawn(run(listener, relay, Arc::clone(&shared)));
        Self {
            address,
            shared,
            _task: task,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts one of the connections, wherever its bytes are.
    pub(super) fn cut(&self, index: usize) {
        let connections = self.shared.connections.lock().unwrap();
        let alive: Vec<_> = connections
            .iter()
            .filter(|one| !one.is_finished())
            .collect();
        if !alive.is_empty() {
            alive[index % alive.len()].abort();
        }
    }

    /// Cuts all connections.
    pub(super) fn cut_all(&self) {
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }

    /// Refuses new connections, or no longer.
    pub(super) fn set_offline(&self, is_offline: bool) {
        self.shared.is_offline.store(is_offline, Ordering::Relaxed);
    }
}

async fn run(listener: TcpListener, relay: SocketAddr, shared: Arc<Shared>) {
    let mut tasks = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if shared.is_offline.load(Ordering::Relaxed) {
            continue;
        }
        let task = tasks.spawn(forward(client, relay));
        shared.connections.lock().unwrap().push(task);
    }
}

async fn forward(mut client: TcpStream, relay: SocketAddr) {
    if let Ok(mut server) = TcpStream::connect(relay).await {
        // Either end may be cut.
        drop(copy_bidirectional(&mut client, &mut server).await);
    }
}
