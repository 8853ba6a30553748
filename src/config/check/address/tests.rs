//! Tests of valid addresses and URLs, and of the invalid ones that no file in `tests/config` has.

use std::path::{Path, PathBuf};

use super::*;

fn listen(text: &str) -> Listen {
    text.parse().expect(text)
}

fn host(host: &str, port: u16) -> Remote {
    Remote::Host {
        host: host.to_owned(),
        port,
    }
}

#[test]
fn a_port_alone_listens_on_localhost() {
    assert_eq!(listen("5432"), Listen::Localhost(5432));
    assert_eq!(listen("localhost:5432"), Listen::Localhost(5432));
    assert_eq!(listen("LOCALHOST:0"), Listen::Localhost(0));
}

#[test]
fn an_address_listens_on_itself() {
    for text in "127.0.0.1:5432 [::1]:5432 0.0.0.0:0 [fe80::1%2]:80".split(' ') {
        assert_eq!(listen(text), Listen::Tcp(text.parse().unwrap()));
    }
}

#[test]
fn a_unix_socket_listens_on_its_path() {
    for path in "/a /run/db.sock /a/../b /x:y".split(' ') {
        let listen = listen(&format!("unix:{path}"));

        assert_eq!(listen, Listen::Unix(path.into()));
        assert_eq!(listen.to_string(), format!("unix:{path}"));
    }
}

#[test]
fn a_path_is_absolute_and_names_a_file() {
    for bad in "a ./a / /a/. /a/.. /a\n /a\0b //a /a?mode=0660".split(' ') {
        assert!(socket_path(bad).is_err(), "{bad:?}");
    }
    let hint = |text| socket_path(text).unwrap_err().hint().to_owned();
    assert_eq!(hint("//run/a.sock"), "write \"unix:/run/a.sock\"");
}

#[test]
fn paths_of_the_same_file_are_equal_once_normalized() {
    let path = Path::new("/run/x.sock");
    for same in [
        "/run//x.sock",
        "/run/./x.sock",
        "/run/a/../x.sock",
        "/../run/x.sock",
    ] {
        assert_eq!(normalized(Path::new(same)), path);
    }
    for other in ["/run/a/x.sock", "/x.sock", "/run/x.sock2"] {
        assert_ne!(normalized(Path::new(other)), path);
    }
}

#[test]
fn a_path_fits_into_an_address() {
    let longest = format!("/{}", "x".repeat(MAX_PATH - 1));

    assert_eq!(socket_path(&longest), Ok(PathBuf::from(&longest)));
    let fault = socket_path(&(longest + "x")).unwrap_err();
    assert!(fault.hint().contains(&MAX_PATH.to_string()));
}

#[test]
fn what_is_no_local_address_is_refused() {
    let bad = ": ::1 [::1] [localhost]:5432 localhost localhost: localhost:+5 127.0.0.1 \
               127.0.0:80 [127.0.0.1]:80 UNIX:/run/x.sock 99999 ٣:٣";
    for bad in bad.split(' ').chain(["localhost:5432 "]) {
        assert!(bad.parse::<Listen>().is_err(), "{bad}");
    }
}

#[test]
fn a_remote_without_a_host_or_with_localhost_is_a_port_of_the_target() {
    for text in "22 localhost:22 127.0.0.1:22 [::1]:22 Localhost.:22".split(' ') {
        assert_eq!(text.parse(), Ok(Remote::Port(22)));
    }
}

#[test]
fn a_remote_host_is_a_name_or_an_address() {
    for (text, remote) in [
        ("db.internal:5432", host("db.internal", 5432)),
        ("10.0.0.7:1", host("10.0.0.7", 1)),
        ("[2001:db8::7]:65535", host("2001:db8::7", 65535)),
        ("my_db.:5432", host("my_db.", 5432)),
    ] {
        assert_eq!(text.parse(), Ok(remote));
    }
}

#[test]
fn what_is_no_remote_is_refused() {
    let bad = "0 db: db:5432/x 2001:db8::7 [2001:db8::7] 10.0.0.256:5432 1:2 db-.x:1 a..b:1 .:1 \
               dß:1 [::]:1 [::ffff:127.0.0.1]:1";
    let long = format!("{}a:1", "abcdefgh.".repeat(32));
    for bad in bad.split(' ').chain(["", &long]) {
        assert!(bad.parse::<Remote>().is_err(), "{bad}");
    }
}

#[test]
fn a_password_is_not_repeated() {
    for bad in [
        "postgres://me:s3/cret@db:5432/x",
        "me:s3cret@db:5432",
        "me:s3cret@db",
        "jdbc:postgresql://db:5432/x?user=me&password=s3cret",
    ] {
        let fault = bad.parse::<Remote>().unwrap_err();
        let message = format!("{fault} {}", fault.hint());
        assert!(!message.contains("cret"), "{message}");
    }
}

#[test]
fn addresses_overlap_when_one_takes_the_other() {
    for (a, overlapping, others) in [
        (
            "5432",
            "localhost:5432 127.0.0.1:5432 [::1]:5432 0.0.0.0:5432 [::]:5432",
            "5433 unix:/run/a.sock",
        ),
        ("0", "", "0 0.0.0.0:0"),
        ("0.0.0.0:1", "10.0.0.7:1", "[::]:1"),
        ("127.0.0.1:1", "[::ffff:127.0.0.1]:1", "127.0.0.2:1 [::1]:1"),
        (
            "unix:/run/a",
            "unix:/run/a unix:/run//./a",
            "unix:/run/b 5432",
        ),
    ] {
        for (others, expected) in [(overlapping, true), (others, false)] {
            for b in others.split_whitespace() {
                assert_eq!(overlap(&listen(a), &listen(b)), expected, "{a} {b}");
                assert_eq!(overlap(&listen(b), &listen(a)), expected, "{b} {a}");
            }
        }
    }
}

#[test]
fn an_endpoint_is_a_url_without_secrets_and_encrypted_unless_it_is_here() {
    let good = "https://ssm.eu-west-1.amazonaws.com https://10.0.0.7 http://127.0.0.1:4566/ \
                HTTPS://vpce-1.ssm.eu-west-1.vpce.amazonaws.com:8443/a/b http://127.9.9.9 \
                http://[::1]:80 http://[::1] http://localhost:4566";
    for good in good.split(' ') {
        assert_eq!(check_endpoint(good), Ok(()), "{good}");
    }
    let bad = "ftp://x https:// https://:443 https://h/?a https://h/#a https://h:0 https://[x] \
               https://::1 http://10.0.0.7 http://[::] http://localhost.evil.com https://h\\x \
               https://ä";
    for bad in bad.split(' ').chain(["", "https://h h"]) {
        assert!(check_endpoint(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_endpoint_for_data_channels_is_a_host_and_perhaps_a_port() {
    let good = "https://vpce-1.ssmmessages.eu-west-1.vpce.amazonaws.com wss://gateway.corp/ \
                WSS://gateway.corp:8443 ws://127.0.0.1:4566 http://[::1]:4566";
    for good in good.split(' ') {
        assert_eq!(check_gateway(good), Ok(()), "{good}");
    }
    let bad = "gateway.corp http://10.0.0.7 https://me:pw@host https://h// https://h/?a wss://";
    for bad in bad.split(' ') {
        assert!(check_gateway(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_proxy_is_a_host_and_perhaps_a_port_and_a_user() {
    let good = "http://proxy.corp:3128 HTTP://10.0.0.7/ http://me:s%40cret@[::1]:8080";
    for good in good.split(' ') {
        assert_eq!(check_proxy(good), Ok(()), "{good}");
    }
    let bad = "https://proxy.corp socks5h://me:s3cret@proxy.corp ftp://proxy.corp http:// \
               http://me:s3cret@proxy.corp:0 http://me:s3cret http://proxy.corp:1@me:s3cret \
               me:s3cret://proxy.corp";
    for bad in bad
        .split(' ')
        .chain(["", "http://me:s3cret ä@p", "me s3cret://x@p"])
    {
        let fault = check_proxy(bad).expect_err(bad);
        let message = format!("{fault} {}", fault.hint());
        assert!(!message.contains("s3cret"), "{message}");
    }
}
