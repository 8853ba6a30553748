//! Tests of valid addresses, and of the messages for invalid ones.

use super::*;

fn listen(text: &str) -> Listen {
    text.parse().expect(text)
}

fn remote(text: &str) -> Remote {
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
    for text in [
        "127.0.0.1:5432",
        "[::1]:5432",
        "0.0.0.0:0",
        "[fe80::1%2]:80",
    ] {
        assert_eq!(listen(text), Listen::Tcp(text.parse().unwrap()));
    }
}

#[test]
fn a_unix_socket_listens_on_its_path() {
    let path = "/run/ssm-proxyd/db.sock";

    assert_eq!(
        listen("unix:/run/ssm-proxyd/db.sock"),
        Listen::Unix(path.into())
    );
    assert_eq!(
        Listen::Unix(path.into()).to_string(),
        format!("unix:{path}")
    );
}

#[test]
fn what_is_no_local_address_is_refused() {
    for bad in [
        "",
        ":",
        ":5432",
        "*:5432",
        "::1:5432",
        "::1",
        "[::1]",
        "[::1]5432",
        "[localhost]:5432",
        "localhost",
        "localhost:",
        "localhost:+5",
        "localhost:65536",
        "localhost:5432 ",
        "127.0.0.1",
        "127.0.0:80",
        "db:5432",
        "[127.0.0.1]:80",
        "tcp://127.0.0.1:80",
        "unix:run/x.sock",
        "unix:",
        "UNIX:/run/x.sock",
        "/run/x.sock",
        "systemd:",
        "systemd:a:b",
        "systemd:a b",
        "99999",
        "٣:٣",
    ] {
        assert!(bad.parse::<Listen>().is_err(), "{bad}");
    }
}

#[test]
fn a_remote_without_a_host_or_with_localhost_is_a_port_of_the_target() {
    for text in [
        "22",
        "localhost:22",
        "127.0.0.1:22",
        "[::1]:22",
        "Localhost.:22",
    ] {
        assert_eq!(remote(text), Remote::Port(22));
    }
}

#[test]
fn a_remote_host_is_a_name_or_an_address() {
    assert_eq!(remote("db.internal:5432"), host("db.internal", 5432));
    assert_eq!(remote("10.0.0.7:1"), host("10.0.0.7", 1));
    assert_eq!(remote("[2001:db8::7]:65535"), host("2001:db8::7", 65535));
    assert_eq!(remote("my_db.:5432"), host("my_db.", 5432));
}

#[test]
fn what_is_no_remote_is_refused() {
    for bad in [
        "",
        "0",
        "db",
        "db:0",
        "db:",
        ":5432",
        "db:pg",
        "db:5432/x",
        "postgres://u:p@db:5432/x",
        "2001:db8::7",
        "2001:db8::7:5432",
        "[2001:db8::7]",
        "[db]:5432",
        "10.0.0:5432",
        "10.0.0.256:5432",
        "1:2",
        "-db:1",
        "db-.x:1",
        "a..b:1",
        ".:1",
        "d b:1",
        "dß:1",
        "127.0.0.2:53",
        "0.0.0.0:1",
        "[::]:1",
        "[::ffff:127.0.0.1]:1",
    ] {
        assert!(bad.parse::<Remote>().is_err(), "{bad}");
    }
    let long = format!("{}a:1", "abcdefgh.".repeat(32));
    assert!(long.parse::<Remote>().is_err());
}

#[test]
fn a_password_in_a_url_is_not_repeated() {
    let fault = "postgres://me:s3/cret@db:5432/x"
        .parse::<Remote>()
        .unwrap_err();

    assert_eq!(fault.hint(), "write \"db:5432\"");
    assert!(!fault.to_string().contains("s3/cret"));
}

#[test]
fn addresses_overlap_when_one_takes_the_other() {
    for (a, b) in [
        ("5432", "localhost:5432"),
        ("5432", "127.0.0.1:5432"),
        ("5432", "[::1]:5432"),
        ("5432", "0.0.0.0:5432"),
        ("5432", "[::]:5432"),
        ("0.0.0.0:1", "10.0.0.7:1"),
        ("127.0.0.1:1", "[::ffff:127.0.0.1]:1"),
        ("unix:/run/a.sock", "unix:/run/a.sock"),
        ("unix:/run/a.sock", "unix:/run//./a.sock"),
    ] {
        assert!(overlap(&listen(a), &listen(b)), "{a} {b}");
        assert!(overlap(&listen(b), &listen(a)), "{b} {a}");
    }
}

#[test]
fn addresses_of_other_ports_hosts_or_families_do_not_overlap() {
    for (a, b) in [
        ("5432", "5433"),
        ("0", "0"),
        ("0.0.0.0:0", "0"),
        ("127.0.0.1:1", "127.0.0.2:1"),
        ("127.0.0.1:1", "[::1]:1"),
        ("0.0.0.0:1", "[::]:1"),
        ("unix:/run/a.sock", "unix:/run/b.sock"),
        ("unix:/run/a.sock", "5432"),
    ] {
        assert!(!overlap(&listen(a), &listen(b)), "{a} {b}");
    }
}

#[test]
fn an_endpoint_is_a_url_without_secrets_and_encrypted_unless_it_is_here() {
    for good in [
        "https://ssm.eu-west-1.amazonaws.com",
        "HTTPS://vpce-1.ssm.eu-west-1.vpce.amazonaws.com:8443/a/b",
        "https://10.0.0.7",
        "http://127.0.0.1:4566/",
        "http://127.9.9.9",
        "http://[::1]:80",
        "http://[::1]",
        "http://localhost:4566",
    ] {
        assert_eq!(check_endpoint(good), Ok(()), "{good}");
    }
    for bad in [
        "",
        "ssm.eu-west-1.amazonaws.com",
        "ftp://x",
        "https://",
        "https://:443",
        "https://me:pw@host",
        "https://h/?a",
        "https://h/#a",
        "https://h:0",
        "https://h:x",
        "https://h h",
        "https://[x]",
        "https://::1",
        "http://h",
        "http://10.0.0.7",
        "http://[::]",
        "http://localhost.evil.com",
        "https://h\\x",
        "https://ä",
    ] {
        assert!(check_endpoint(bad).is_err(), "{bad}");
    }
}
