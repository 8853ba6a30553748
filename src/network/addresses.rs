//! TCP connection to a name with several addresses (RFC 8305).
//!
//! Attempts start 250 ms apart, or when the previous one fails; address families alternate. The
//! first successful attempt is used and the others are dropped. If all fail, the error names the
//! failure of each address.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Endpoint, shortage};

/// Resolves a name and connects to one of its addresses.
pub(super) async fn connect_tcp(endpoint: &Endpoint) -> io::Result<TcpStream> {
    connect_any(resolve(endpoint).await?).await
}

/// Returns the addresses of a name in the order in which they are tried.
pub(super) async fn resolve(endpoint: &Endpoint) -> io::Result<Vec<SocketAddr>> {
    let found = lookup_host((endpoint.host.as_str(), endpoint.port)).await;
    let usable = found
        .map_err(shortage::behind)?
        .filter(|address| !endpoint.loopback_only || is_loopback(address));
    Ok(interleave(usable.collect()))
}

/// Connects to one of these addresses: the first that answers, attempts 250 ms apart.
///
/// # Errors
/// The failure of each address.
pub async fn connect_any(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failures = Vec::new();
    loop {
        let next = waiting.next();
        if let Some(address) = next {
            attempts.spawn(async move { (address, attempt(address).await) });
        }
        let ended = match next {
            Some(_) => tokio::select! {
                ended = attempts.join_next() => ended,
                () = sleep(STAGGER) => continue,
            },
            None => attempts.join_next().await,
        };
        match ended {
            Some(Ok((_, Ok(tcp)))) => return Ok(tcp),
            Some(Ok((address, Err(error)))) => failures.push((address, error)),
            Some(Err(error)) => return Err(io::Error::other(error)),
            None => return Err(all_failed(failures)),
        }
    }
}

async fn attempt(address: SocketAddr) -> io::Result<TcpStream> {
    match timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Alternates the address families, starting with that of the first address.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut alternating = Vec::new();
    loop {
        let before = alternating.len();
        alternating.extend(first.next());
        alternating.extend(second.next());
        if alternating.len() == before {
            return alternating;
        }
    }
}

/// Combines the failures into one error. A single failure is returned as it is; a shortage on this
/// machine is the cause of all failures.
fn all_failed(mut failures: Vec<(SocketAddr, io::Error)>) -> io::Error {
    let short = failures
        .iter()
        .position(|(_, error)| shortage::hint(error).is_some());
    match (short, failures.len()) {
        (_, 0) => io::Error::new(io::ErrorKind::NotFound, "the name has no usable address"),
        (Some(index), _) => failures.swap_remove(index).1,
        (None, 1) => failures.swap_remove(0).1,
        (None, _) => {
            let kind = failures[0].1.kind();
            let texts: Vec<_> = failures
                .iter()
                .map(|(address, error)| format!("{address}: {error}"))
                .collect();
            io::Error::new(kind, texts.join("; "))
        }
    }
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Delay before the next address is tried ("Connection Attempt Delay", RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);

/// Timeout for one address, which is then reported as not answering.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs::File;
    use std::net::{IpAddr, Ipv4Addr};
    use std::process::Command;

    use rustix::io::Errno;

    use socket2::{Domain, Socket, Type};

    /// An address that does not answer: its accept queue is full. Both values must be kept alive.
    fn black_hole(last: u8) -> (SocketAddr, Socket, Vec<Socket>) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0);
        socket.bind(&address.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap();
        let fillers = (0..4).map(|_| {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            drop(filler.connect(&address));
            filler
        });
        let fillers = fillers.collect();
        (address.as_socket().unwrap(), socket, fillers)
    }

    #[tokio::test]
    async fn the_fourth_address_is_reached_although_three_do_not_answer() {
        let holes = [black_hole(2), black_hole(3), black_hole(4)];
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let mut addresses: Vec<_> = holes.iter().map(|hole| hole.0).collect();
        addresses.push(good);

        let tcp = connect_any(addresses).await.unwrap();

        assert_eq!(tcp.peer_addr().unwrap(), good);
    }

    #[tokio::test]
    async fn the_error_names_every_address_that_refuses() {
        let one = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
        let two = std::net::TcpListener::bind("127.0.0.3:0").unwrap();
        let addresses = [one.local_addr().unwrap(), two.local_addr().unwrap()];
        drop((one, two));

        let error = connect_any(addresses.to_vec()).await.unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        for address in addresses {
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
    }

    #[test]
    fn address_families_alternate() {
        let all = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };

        let alternating = interleave(all(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]));

        assert_eq!(
            alternating,
            all(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"])
        );
    }

    /// The limit applies to a process, so the test runs in one of its own.
    #[test]
    fn a_name_that_is_not_resolved_for_lack_of_descriptors_is_not_called_unknown() {
        let tests = std::env::current_exe().unwrap();
        let mut limited = Command::new("sh");
        limited
            .args(["-c", "ulimit -n 100 && exec \"$0\" \"$@\""])
            .arg(tests)
            .args(["--exact", "--include-ignored", "--nocapture"])
            .arg("network::addresses::tests::without_descriptors");

        let outcome = limited.output().unwrap();

        let printed = String::from_utf8_lossy(&outcome.stdout);
        assert!(outcome.status.success(), "{outcome:?}");
        assert!(printed.contains("1 passed"), "{printed}");
    }

    #[tokio::test]
    #[ignore = "runs in a process of its own, started by another test"]
    async fn without_descriptors() {
        let endpoint = Endpoint {
            host: "localhost".to_owned(),
            port: 1,
            tls: false,
            loopback_only: true,
        };
        let mut files = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            files.push(file);
        }

        let error = connect_tcp(&endpoint).await.unwrap_err();

        drop(files);
        assert_eq!(Errno::from_io_error(&error), Some(Errno::MFILE), "{error}");
    }
}
