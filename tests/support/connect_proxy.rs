//! An HTTP proxy that supports CONNECT only, and the services that names are routed to.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The proxy. Its threads end with the test binary.
#[derive(Debug)]
pub(crate) struct ConnectProxy {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<ProxyRequest>>>,
}

/// A request of a client.
#[derive(Clone, Debug)]
pub(crate) struct ProxyRequest {
    /// Host and port.
    pub(crate) host: String,
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<String>,
}

impl ConnectProxy {
    /// Connects every request to this address, except those that `refusal` answers.
    pub(crate) fn to(
        there: SocketAddr,
        refusal: impl Fn(&ProxyRequest) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        Self::routing(move |_| there, refusal)
    }

    /// Connects each host and port to the service that `route` returns, except those that `refusal`
    /// answers.
    pub(crate) fn routing(
        route: impl Fn(&str) -> SocketAddr + Send + Sync + 'static,
        refusal: impl Fn(&ProxyRequest) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<ProxyRequest>>>::default();
        let (record, choices) = (Arc::clone(&requests), Arc::new((route, refusal)));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (record, choices) = (Arc::clone(&record), Arc::clone(&choices));
                thread::spawn(move || serve(client, &choices.0, &record, &choices.1));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<ProxyRequest> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(
    mut client: TcpStream,
    route: &impl Fn(&str) -> SocketAddr,
    record: &Mutex<Vec<ProxyRequest>>,
    refusal: &impl Fn(&ProxyRequest) -> Option<&'static str>,
) {
    let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
    let Some(Ok(first)) = lines.next() else {
        return;
    };
    let host = first.strip_prefix("CONNECT ").unwrap();
    let mut requests = ProxyRequest {
        host: host.strip_suffix(" HTTP/1.1").unwrap().to_owned(),
        authorization: None,
    };
    for line in lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
    {
        let (name, value) = line.split_once(": ").unwrap();
        if name.eq_ignore_ascii_case("proxy-authorization") {
            requests.authorization = Some(value.to_owned());
        }
    }
    record.lock().unwrap().push(requests.clone());
    if let Some(answer) = refusal(&requests) {
        let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
        let _gone = client.write_all(answer.as_bytes());
        return;
    }
    let server = TcpStream::connect(route(&requests.host)).unwrap();
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        .unwrap();
    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || carry(from, to));
    carry(server, client);
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let _ended = std::io::copy(&mut from, &mut to);
    let _gone = to.shutdown(Shutdown::Write);
}
