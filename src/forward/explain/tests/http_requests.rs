//! Responses to HTTP requests.

use super::*;

#[test]
fn an_http_request_gets_a_response_of_a_gateway() {
    let text = |request: &str| {
        let (sent, end) = respond(ClientProtocol::Http, request.as_bytes());
        assert!(matches!(end, Step::End(_)), "{request}");
        let sent = String::from_utf8(sent).unwrap();
        let (head, body) = sent.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    };

    let (head, body) = text("GET / HTTP/1.1\r\nhost: localhost:80\r\n\r\n");
    assert_eq!(
        head,
        format!(
            "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/plain; charset=utf-8\r\n\
             content-length: {}\r\ncache-control: no-store\r\n\
             x-content-type-options: nosniff\r\nconnection: close",
            body.len()
        )
    );
    let remedy = ErrorClass::TargetNotConnected.remedy();
    assert_eq!(
        body,
        format!(
            "ssm-proxyd: forward orders: StartSession: i-0123456789abcdef0 is not connected\n\
             hint: {remedy}\n\
             (target i-0123456789abcdef0, destination db.internal:5432, class TargetNotConnected)\n"
        )
    );

    let (headers_only, nothing) = text("HEAD / HTTP/1.1\r\n\r\n");
    assert_eq!((headers_only, &nothing[..]), (head, ""));

    let (head, body) = text("POST / HTTP/1.1\r\nAccept: application/json\r\n\r\n{\"a\":");
    assert!(
        head.contains("content-type: application/json\r\n"),
        "{head}"
    );
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["class"], "TargetNotConnected");
    assert_eq!(body["forward"], "orders");
    assert_eq!(body["destination"], "db.internal:5432");
}

#[test]
fn the_first_known_type_of_accept_decides() {
    for (accept, expected) in [
        ("application/json, text/plain, */*", "application/json"),
        ("application/problem+json;q=0.5", "application/json"),
        ("APPLICATION/JSON", "application/json"),
        ("text/html, application/json", "text/plain"),
        ("image/png, application/vnd.api+json", "application/json"),
        ("*/*", "text/plain"),
        (",;,", "text/plain"),
        ("", "text/plain"),
    ] {
        let request = format!("GET / HTTP/1.1\r\nAccept: {accept}\r\n\r\n");
        let (sent, _) = respond(ClientProtocol::Http, request.as_bytes());
        let sent = String::from_utf8(sent).unwrap();
        assert!(
            sent.contains(&format!("content-type: {expected}")),
            "{accept}: {sent}"
        );
    }
}

#[test]
fn only_a_request_that_was_not_passed_on_may_be_tried_again() {
    let mut record = record(EndReason::SessionLost, ErrorClass::SessionLost, "lost");
    let respond = |record: &ConnectionRecord| {
        let mut conversation = Conversation::new(ClientProtocol::Http, explanation(record));
        let (sent, _) = run(&mut conversation, [&b"POST / HTTP/1.1\r\n\r\n"[..]]);
        String::from_utf8(sent).unwrap()
    };

    let unsent = respond(&record);
    record.sent = 1;
    let sent = respond(&record);

    assert!(
        unsent.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{unsent}"
    );
    assert!(unsent.contains("\r\nretry-after: 5\r\n"), "{unsent}");
    assert!(sent.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{sent}");
    assert!(!sent.contains("retry-after"), "{sent}");
    assert!(
        sent.contains("forward orders (the destination may have received the request): lost\n"),
        "{sent}"
    );
}

#[test]
fn a_request_for_another_host_gets_no_names() {
    for (host, is_named) in [
        ("localhost", true),
        ("LocalHost:8080", true),
        ("127.0.0.1", true),
        ("127.0.0.1:80", true),
        ("[::1]", true),
        ("[::1]:80", true),
        ("evil.example", false),
        ("localhost.evil.example", false),
        ("127.0.0.1.evil.example:80", false),
        ("", false),
        ("localhost\r\nhost: evil.example", false),
    ] {
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");

        let (sent, end) = respond(ClientProtocol::Http, request.as_bytes());

        assert!(matches!(end, Step::End(_)), "{host}");
        let sent = String::from_utf8(sent).unwrap();
        assert_eq!(
            sent.contains("i-0123456789abcdef0"),
            is_named,
            "{host}: {sent}"
        );
        assert_eq!(sent.contains("db.internal"), is_named, "{host}: {sent}");
    }
}
