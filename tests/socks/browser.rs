//! A headless browser through a proxy: a page whose parts it requests over parallel connections.
//!
//! Skipped where no Chromium is installed. The browser resolves no names, and sends every request to
//! the proxy, which permits the hosts of the test alone, so nothing leaves the machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::clients::file_server;
use super::{proxy, simulator};
use crate::cli::ended;
use crate::support::daemon_process::DaemonProcess;
use crate::support::tls::TlsServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_loads_a_page_with_many_parts() {
    let Some(browser) = installed() else {
        return println!("skipped: no headless browser ({})", BROWSERS.join(", "));
    };
    let site = tempfile::tempdir().unwrap();
    write_site(site.path());
    let (_server, address) = file_server(site.path());
    let tls = TlsServer::start(address, &["web.internal"]).await;
    // A page over http:// would not use CONNECT; as SOCKS4, a browser resolves names itself.
    for (scheme, protocols, server) in [
        ("http", &["socks5"][..], address),
        ("https", &["socks5", "http"], tls.address),
    ] {
        let simulator = simulator(&["web.internal", "parts.internal"], server).await;
        let rules = "\"*.internal:80\", \"*.internal:443\"";
        let daemon = DaemonProcess::start(&simulator, &proxy(rules, ""));
        for protocol in protocols {
            let server = format!("{protocol}://{}", daemon.address());
            let page = format!("{scheme}://web.internal/index.html");

            let (code, document, error) = load(browser, &server, &page);

            assert_eq!(code, 0, "{page} through {server}: {error}");
            for part in 0..PARTS {
                let text = format!("part{part} ");
                assert!(document.contains(&text), "{text}: {document}\n{error}");
            }
            assert!(document.contains("image "), "{document}\n{error}");
        }
        daemon.stop(&simulator);
        let started = simulator.ledger().started;
        assert!(
            started > 2,
            "{started} sessions: its connections are parallel"
        );
    }
}

/// A page with an image and scripts, every other one from another host. Each names itself in the
/// document.
fn write_site(directory: &Path) {
    let write = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
    let mut page = "<!doctype html><title>t</title><body><p id=done></p>\
        <img src=image.svg onload=\"document.getElementById('done').append('image ')\">"
        .to_owned();
    for part in 0..PARTS {
        let host = if part % 2 == 0 {
            ""
        } else {
            "//parts.internal/"
        };
        page += &format!("<script async src=\"{host}{part}.js\"></script>");
        let script = format!("document.getElementById('done').append('part{part} ');");
        write(&format!("{part}.js"), &script);
    }
    write("index.html", &page);
    let image = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"/>";
    write("image.svg", image);
}

/// Loads a page. Returns the exit code, the document after its scripts have run, and the log.
fn load(browser: &str, proxy: &str, page: &str) -> (i32, String, String) {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(browser);
    command
        .env("HOME", profile.path())
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
        ])
        .args([
            "--disable-sync",
            "--disable-quic",
            "--ignore-certificate-errors",
        ])
        .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
        .arg(format!("--proxy-server={proxy}"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        // In virtual time: as long as something is being loaded, none passes.
        .args(["--virtual-time-budget=60000", "--dump-dom", page]);
    ended(&mut command)
}

fn installed() -> Option<&'static str> {
    let mut browsers = BROWSERS.into_iter();
    browsers.find(|browser| {
        let version = Command::new(browser).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    })
}

const BROWSERS: [&str; 4] = [
    "chromium-headless-shell",
    "chromium",
    "google-chrome",
    "chrome-headless-shell",
];

/// More than a browser requests at once from one host.
const PARTS: usize = 12;
