//! Tests of HTTP responses and of the simulator's own pages.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

#[tokio::test]
async fn the_ledger_is_served_as_json() {
    let simulator = simulator(unpaced()).await;
    start(&simulator, 9).await;
    let mut tcp = TcpStream::connect(simulator.address()).await.unwrap();

    let request = "GET /simulator/ledger HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    tcp.read_to_string(&mut response).await.unwrap();

    let ledger: Value = serde_json::from_str(response.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(ledger["sessions"][0]["target"], "i-0123456789abcdef0");
    assert_eq!(ledger["sessions"][0]["start_signature"], "unsigned");
}

#[tokio::test]
async fn tls_is_served_to_clients_that_trust_the_authority() {
    let simulator = simulator(Options {
        tls: true,
        ..unpaced()
    })
    .await;
    let pem = simulator.certificate_pem().unwrap();
    let authority = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();

    for name in ["localhost", "127.0.0.1"] {
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone()).unwrap();
        let mut tls = connect_tls(&simulator, roots, name).await.unwrap();
        let body = r#"{"Target":"i-0123456789abcdef0","DocumentName":"AWS-StartSSHSession"}"#;
        let request = api_request("StartSession", body);
        tls.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        drop(tls.read_to_end(&mut response).await);

        let response = String::from_utf8(response).unwrap();
        assert!(
            response.contains("\"StreamUrl\":\"wss://127.0.0.1:"),
            "{response}"
        );
    }
    assert!(
        connect_tls(&simulator, RootCertStore::empty(), "localhost")
            .await
            .is_err()
    );
}

async fn connect_tls(
    simulator: &Simulator,
    roots: RootCertStore,
    name: &'static str,
) -> io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(simulator.address()).await?;
    let name = ServerName::try_from(name).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

#[tokio::test]
async fn every_reply_leaves_in_one_write() {
    let simulator = simulator(unpaced()).await;
    for vectored in [true, false] {
        for request in [
            api_request(
                "StartSession",
                r#"{"Target":"i-0123456789abcdef0","DocumentName":"AWS-StartSSHSession"}"#,
            ),
            api_request("StartSession", "{}"),
            "GET /simulator/ledger HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                .to_owned(),
            "GET /v1/data-channel/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
        ] {
            let (mut near, far) = tokio::io::duplex(1 << 20);
            let writes = Arc::new(AtomicUsize::new(0));
            let counting = Counting {
                io: far,
                writes: Arc::clone(&writes),
                vectored,
            };

            let serve = serve(Arc::clone(&simulator.service), TokioIo::new(counting));
            near.write_all(request.as_bytes()).await.unwrap();
            let mut response = String::new();
            let (served, read) = tokio::join!(serve, near.read_to_string(&mut response));

            served.unwrap();
            assert!(read.unwrap() > 0);
            assert_eq!(writes.load(Ordering::Relaxed), 1, "{request}");
        }
    }
}

/// Counts the writes to a connection.
struct Counting {
    io: tokio::io::DuplexStream,
    writes: Arc<AtomicUsize>,
    vectored: bool,
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        b: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write(cx, b)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let joined: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        Pin::new(&mut self.io).poll_write(cx, &joined)
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
