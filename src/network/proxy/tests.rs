//! Tests of the supported proxy URLs and of CONNECT requests.

use std::time::Duration;

use tokio::net::TcpListener;

use super::*;
use crate::network::Network;

fn https(host: &str) -> Endpoint {
    Endpoint {
        host: host.to_owned(),
        port: 443,
        tls: true,
        loopback_only: false,
    }
}

fn proxy(url: &str) -> Result<Proxy, ProxyError> {
    Proxy::new(url, "").map(|proxy| proxy.expect("not every host is exempt"))
}

#[test]
fn a_proxy_url_needs_only_a_host() {
    for (url, plain, exposed) in [
        (
            "http://proxy.corp:3128",
            "http://proxy.corp:3128",
            "http://proxy.corp:3128",
        ),
        (
            "proxy.corp:3128",
            "http://proxy.corp:3128",
            "http://proxy.corp:3128",
        ),
        (
            "HTTP://proxy.corp/",
            "http://proxy.corp:80",
            "http://proxy.corp:80",
        ),
        (
            "http://[::1]:8080",
            "http://[::1]:8080",
            "http://[::1]:8080",
        ),
        (
            "http://me@10.0.0.7",
            "http://10.0.0.7:80",
            "http://me@10.0.0.7:80",
        ),
        (
            "http://me:s%3Ac%40r%2F@p:1",
            "http://p:1",
            "http://me:s%3Ac%40r%2F@p:1",
        ),
        ("http://me:a@b@p:1", "http://p:1", "http://me:a%40b@p:1"),
        (
            "http://me:^ä|@p:1",
            "http://p:1",
            "http://me:%5E%C3%A4%7C@p:1",
        ),
    ] {
        let proxy = proxy(url).unwrap();

        assert_eq!(proxy.to_string(), plain, "{url}");
        assert_eq!(proxy.expose(), exposed, "{url}");
    }
}

#[test]
fn invalid_proxy_urls_are_rejected_without_quoting_secrets() {
    for bad in [
        "",
        "http://",
        "http://:80",
        "http://p:0",
        "http://p:x",
        "http://p/path",
        "http://p?q",
        "http://[x]:1",
        "http://me:s3cret@",
        "a s3cret://p",
    ] {
        assert_eq!(proxy(bad).unwrap_err(), ProxyError::Malformed, "{bad}");
    }
    for scheme in ["https", "socks5", "socks5h"] {
        let error = proxy(&format!("{scheme}://me:s3cret@p:1")).unwrap_err();

        assert_eq!(error, ProxyError::Scheme(scheme.into()));
        assert!(!error.to_string().contains("s3cret"));
    }
}

#[test]
fn a_request_names_the_host_and_the_credentials_of_the_proxy() {
    let to = https("ssmmessages.eu-west-1.amazonaws.com");

    assert_eq!(
        proxy("http://p:1").unwrap().request(&to),
        "CONNECT ssmmessages.eu-west-1.amazonaws.com:443 HTTP/1.1\r\n\
         Host: ssmmessages.eu-west-1.amazonaws.com:443\r\n\r\n"
    );
    for (user, encoded) in [
        ("Aladdin:open%20sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ("Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ("me", "bWU6"),
        ("me:a@b", "bWU6YUBi"),
        ("me:100%", "bWU6MTAwJQ=="),
    ] {
        let request = proxy(&format!("http://{user}@p:1")).unwrap().request(&to);
        let header = format!("\r\nProxy-Authorization: Basic {encoded}\r\n\r\n");
        assert!(request.ends_with(&header), "{user}: {request}");
    }
}

#[test]
fn loopback_and_exempt_hosts_bypass_the_proxy() {
    let proxy = Proxy::new("http://p:1", ".corp,10.0.0.0/8")
        .unwrap()
        .unwrap();

    for direct in [
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "127.8.8.8",
        "::1",
        "::ffff:127.0.0.1",
        "x.corp",
        "10.1.1.1",
    ] {
        assert!(!proxy.applies_to(&https(direct)), "{direct}");
    }
    for with_proxy in [
        "ssm.eu-west-1.amazonaws.com",
        "192.0.2.1",
        "localhost.evil.com",
    ] {
        assert!(proxy.applies_to(&https(with_proxy)), "{with_proxy}");
    }
    let plain = Endpoint {
        tls: false,
        ..https("192.0.2.1")
    };
    assert!(!proxy.applies_to(&plain));
}

#[test]
fn a_list_exempts_the_same_hosts_as_in_curl() {
    for (list, host, is_exempt) in [
        ("", "a.com", false),
        ("*", "a.com", true),
        ("*", "10.0.0.7", true),
        ("b,*", "10.0.0.7", true),
        ("a.com", "a.com", true),
        ("a.com", "A.COM.", true),
        ("A.COM.", "a.com", true),
        ("a.com", "b.a.com", true),
        ("a.com", "b.a.com.", true),
        (".a.com", "a.com", true),
        (".a.com", "b.a.com", true),
        ("*.a.com", "b.a.com", true),
        ("a.com", "nota.com", false),
        ("a.com", "a.com.evil.com", false),
        ("b.com, a.com", "a.com", true),
        ("b.com a.com", "a.com", true),
        ("b.com\ta.com\n", "a.com", true),
        ("a.com:443", "a.com", false),
        ("10.0.0.7", "10.0.0.7", true),
        ("10.0.0.7", "10.0.0.8", false),
        ("10.0.0.0/8", "10.9.9.9", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("10.0.0.0/33", "10.0.0.0", false),
        ("0.0.0.0/0", "10.0.0.1", true),
        ("0.0.0.0/0", "fd00::1", false),
        ("::/0", "fd00::1", true),
        ("[fd00::1]", "fd00::1", true),
        ("fd00::/8", "fd12::7", true),
        ("[fd00::]/8", "fd12::7", true),
        ("fd00::/8", "fe80::7", false),
        ("10.0.0.7", "10.0.0.7.evil.com", false),
        (",,. ,", "a.com", false),
    ] {
        let proxy = Proxy::new("http://p:1", list).unwrap();
        let applies_to = proxy.is_some_and(|proxy| proxy.applies_to(&https(host)));
        assert_eq!(!applies_to, is_exempt, "{list:?} {host}");
    }
}

#[test]
fn a_proxy_does_not_print_its_password() {
    let proxy = proxy("http://me:s3cret@p:1").unwrap();

    assert_eq!(format!("{proxy:?} {proxy}"), "Proxy(http://p:1) http://p:1");
}

/// How a proxy fails after it was connected.
#[derive(Clone, Copy, Debug)]
enum Failure {
    /// Resets the connection when the request arrives.
    Reset,
    /// Never answers.
    Silence,
    /// Accepts, and closes the connection.
    Eof,
    /// Accepts, and sends something other than TLS.
    NotTls,
}

#[tokio::test]
async fn an_error_behind_the_proxy_names_it_without_its_password() {
    for failure in [
        Failure::Reset,
        Failure::Silence,
        Failure::Eof,
        Failure::NotTls,
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Proxy::new(&format!("http://me:s3cret@{address}"), "").unwrap();
        let network = Network::new(None).unwrap().with_proxy(proxy);
        let limit = match failure {
            Failure::Silence => Duration::from_millis(100),
            Failure::Reset | Failure::Eof | Failure::NotTls => Duration::from_secs(60),
        };
        let failing = async {
            let (mut client, _) = listener.accept().await.unwrap();
            client.peek(&mut [0]).await.unwrap();
            if let Failure::Reset = failure {
                // Unread bytes make the kernel send a reset.
                return None;
            }
            if let Failure::Eof | Failure::NotTls = failure {
                let _request = client.read(&mut [0; 1024]).await.unwrap();
                let open = b"HTTP/1.1 200 OK\r\n\r\n";
                client.write_all(open).await.unwrap();
            }
            if let Failure::Eof = failure {
                client.shutdown().await.unwrap();
            }
            if let Failure::NotTls = failure {
                let _hello = client.read(&mut [0; 4096]).await.unwrap();
                client.write_all(b"SSH-2.0-OpenSSH\r\n").await.unwrap();
            }
            Some(client)
        };

        let to = https("ssmmessages.eu-west-1.amazonaws.com");
        let (dialled, _open) = tokio::join!(network.dial(&to, limit), failing);

        let error = dialled.unwrap_err();
        let text = format!("{error}: {}", error.source);
        let words = format!(", through the proxy http://{address}");
        assert!(text.ends_with(&words), "{failure:?}: {text}");
        assert!(!text.contains("s3cret"), "{text}");
        assert_eq!(error.hint(), None, "{text}");
    }
}
