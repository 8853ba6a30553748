//! Which URLs are accepted, and which endpoint they use.

use super::*;

fn check(url: &str) -> Result<StreamUrl, StreamUrlError> {
    StreamUrl::new(url, "eu-west-1")
}

#[test]
fn endpoints_of_the_region_are_dialled() {
    for host in [
        "ssmmessages.eu-west-1.amazonaws.com",
        "SSMMESSAGES.eu-west-1.amazonaws.com",
        "ssmmessages-fips.eu-west-1.amazonaws.com",
        "ssmmessages.eu-west-1.api.aws",
        "vpce-0a1b-xyz.ssmmessages.eu-west-1.vpce.amazonaws.com",
        "vpce-0a1b-xyz-eu-west-1a.ssmmessages.eu-west-1.vpce.amazonaws.com",
    ] {
        let url = check(&format!(
            "wss://{host}/v1/data-channel/s?role=publish_subscribe"
        ));

        let endpoint = url
            .unwrap_or_else(|error| panic!("{host}: {error}"))
            .endpoint;
        assert!(
            endpoint.tls && !endpoint.loopback_only && endpoint.port == 443,
            "{host}"
        );
    }
}

#[test]
fn other_hosts_are_rejected() {
    for host in [
        "ssmmessages.us-east-1.amazonaws.com",
        "ssmmessages.eu-west-1.amazonaws.com.evil.example",
        "evil.example",
        "ssmmessages.eu-west-1.amazonaws.com@evil.example",
        "ssm.eu-west-1.amazonaws.com",
        "a.b.ssmmessages.eu-west-1.vpce.amazonaws.com",
        "127.0.0.1.evil.example",
    ] {
        assert!(check(&format!("wss://{host}/x")).is_err(), "{host}");
    }
}

#[test]
fn unencrypted_urls_are_for_loopback_only() {
    for host in [
        "127.0.0.1:4000",
        "localhost:4000",
        "[::1]:4000",
        "127.8.9.1:4000",
    ] {
        let url = check(&format!("ws://{host}/x")).unwrap();

        assert!(
            url.endpoint.loopback_only && url.endpoint.port == 4000,
            "{host}"
        );
    }
    assert!(matches!(
        check("ws://ssmmessages.eu-west-1.amazonaws.com/x"),
        Err(StreamUrlError::Unencrypted { .. })
    ));
    assert_eq!(check("https://127.0.0.1/x"), Err(StreamUrlError::Scheme));
    assert_eq!(check("what"), Err(StreamUrlError::Scheme));
}

#[test]
fn the_default_port_is_omitted() {
    let url = check("wss://ssmmessages.eu-west-1.amazonaws.com:443/x?a=b").unwrap();

    assert_eq!(
        url.text(),
        "wss://ssmmessages.eu-west-1.amazonaws.com/x?a=b"
    );
    assert_eq!(
        check("ws://[::1]:443/x").unwrap().text(),
        "ws://[::1]:443/x"
    );
}

fn at(gateway: &str, url: &str) -> Result<String, StreamUrlError> {
    let url = StreamUrl::at(&EndpointOverride::new(gateway).unwrap(), url)?;
    let Endpoint {
        host, port, tls, ..
    } = url.endpoint();
    Ok(format!("{} {host} {port} {tls}", url.text()))
}

#[test]
fn an_endpoint_override_keeps_the_path_and_the_query() {
    let url = "wss://ssmmessages.eu-west-1.amazonaws.com/v1/data-channel/s?role=a";
    let vpce = "vpce-1.ssmmessages.eu-west-1.vpce.amazonaws.com";

    for (gateway, dialled) in [
        (
            format!("https://{vpce}"),
            format!("wss://{vpce}/v1/data-channel/s?role=a {vpce} 443 true"),
        ),
        (
            "wss://gateway.corp:8443/".to_owned(),
            "wss://gateway.corp:8443/v1/data-channel/s?role=a gateway.corp 8443 true".to_owned(),
        ),
        (
            "https://gateway.corp:443".to_owned(),
            "wss://gateway.corp/v1/data-channel/s?role=a gateway.corp 443 true".to_owned(),
        ),
        (
            "http://[::1]:4566".to_owned(),
            "ws://[::1]:4566/v1/data-channel/s?role=a ::1 4566 false".to_owned(),
        ),
    ] {
        assert_eq!(at(&gateway, url), Ok(dialled));
    }
}

#[test]
fn an_endpoint_override_replaces_any_host_and_breaks_no_signature() {
    let gateway = "https://gateway.corp";

    assert!(at(gateway, "ws://10.0.0.7:80/x").is_ok());
    assert_eq!(
        at(gateway, "wss://a.example/x?X-Amz-Signature=00"),
        Err(StreamUrlError::Presigned)
    );
    assert_eq!(
        at(gateway, "https://a.example/x"),
        Err(StreamUrlError::Scheme)
    );
    assert_eq!(
        at(gateway, "wss://me@a.example/x"),
        Err(StreamUrlError::Malformed)
    );
}

#[test]
fn an_endpoint_override_without_tls_is_a_loopback_address() {
    for bad in [
        "http://gateway.corp",
        "ws://10.0.0.7",
        "ftp://x",
        "gateway.corp",
        "",
    ] {
        assert!(EndpointOverride::new(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_url_does_not_print_its_query() {
    let url = check("ws://127.0.0.1:1/x?X-Amz-Signature=secret").unwrap();

    assert!(!format!("{url:?}").contains("secret"));
}
