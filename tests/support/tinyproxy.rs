//! tinyproxy, a real proxy.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use tempfile::TempDir;

use super::daemon_process::free_address;
use super::in_process::until;
use super::process::Process;

/// A tinyproxy that passes everything on to another proxy.
#[derive(Debug)]
pub(crate) struct Tinyproxy {
    pub(crate) address: SocketAddr,
    _process: Process,
    _files: TempDir,
}

impl Tinyproxy {
    /// Starts it; `None` if it is not installed.
    pub(crate) async fn start(upstream: SocketAddr) -> Option<Self> {
        let installed = Command::new("tinyproxy").arg("-v").output();
        installed.ok()?;
        let files = tempfile::tempdir().unwrap();
        let path = files.path().join("tinyproxy.conf");
        let address = free_address();
        let text = format!(
            "Port {}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nConnectPort 443\n\
             BasicAuth me s3cret\nUpstream http {upstream}\n",
            address.port()
        );
        fs::write(&path, text).unwrap();
        let mut command = Command::new("tinyproxy");
        let process = Process::start(command.args(["-d", "-c"]).arg(path));
        until("tinyproxy listens", || TcpStream::connect(address).is_ok()).await;
        Some(Self {
            address,
            _process: process,
            _files: files,
        })
    }
}
