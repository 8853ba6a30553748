//! curl.

use std::process::Command;

use super::{Offline, Session};

#[tokio::test(flavor = "multi_thread")]
async fn curl_prints_cause_and_remedy() {
    let offline = Offline::new().await;
    let web = offline.address("web");
    let directory = tempfile::tempdir().unwrap();
    let body = directory.path().join("body");
    std::fs::write(&body, vec![b'x'; 16 << 20]).unwrap();
    let upload = format!("@{}", body.display());
    let mut session = Session::default();

    for arguments in [
        &["-i"][..],
        &["-I"],
        &["-i", "-H", "Accept: application/json"],
        &["--fail"],
        &["-i", "-H", "Expect: 100-continue", "-d", "a=b"],
        &["-i", "-H", "Expect:", "--data-binary", &upload],
    ] {
        let mut curl = Command::new("curl");
        curl.args(["-q", "-sS", "--noproxy", "*", "--max-time", "60"]);
        curl.args(arguments).arg(format!("http://{web}/"));
        session.run(&format!("curl {}", arguments.join(" ")), &mut curl);
    }

    session.replace("\r\n", "\n");
    session.replace(&upload, "@16MiB");
    let shown = session.assert_as("curl", &[web]);
    assert_eq!(
        shown.matches("HTTP/1.1 502 Bad Gateway").count(),
        5,
        "{shown}"
    );
    offline.0.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_with_other_protocols_is_reset() {
    let offline = Offline::new().await;
    let web = offline.address("web");

    for arguments in [
        &["--http2-prior-knowledge", &format!("http://{web}/")][..],
        &[&format!("https://{web}/")],
    ] {
        let mut session = Session::default();
        let mut curl = Command::new("curl");
        curl.args(["-q", "-sSi", "--noproxy", "*"]).args(arguments);
        session.run("curl", &mut curl);

        assert!(session.0.contains("reset"), "{}", session.0);
        assert!(!session.0.contains("HTTP/1.1"), "{}", session.0);
    }
    offline.0.end().await;
}
