//! Tests of URLs, lengths and overlaps; `tests/config` has files of valid and invalid addresses.

use std::path::PathBuf;

use super::*;

fn listen(text: &str) -> Listen {
    text.parse().expect(text)
}

#[test]
fn a_socket_path_is_limited_to_the_length_of_a_socket_address() {
    let longest = format!("/{}", "x".repeat(MAX_PATH - 1));

    assert_eq!(socket_path(&longest), Ok(PathBuf::from(&longest)));
    let fault = socket_path(&(longest + "x")).unwrap_err();
    assert!(fault.hint().contains(&MAX_PATH.to_string()));
}

#[test]
fn addresses_overlap_if_both_cannot_be_listened_on() {
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
            "unix:/run/a unix:/run//./a unix:/run/x/../a unix:/../run/a",
            "unix:/run/b unix:/run/x/a unix:/a unix:/run/a2 5432",
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
fn an_endpoint_is_a_url_without_secrets_and_encrypted_unless_it_is_local() {
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
fn an_endpoint_for_data_channels_is_a_url_of_a_host_and_an_optional_port() {
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
fn a_proxy_is_a_url_of_a_host_with_optional_port_and_user() {
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
