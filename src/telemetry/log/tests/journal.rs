//! Journald: fields of events and spans, and a journald that hangs.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use tracing::{info, info_span, subscriber, warn};
use tracing_subscriber::layer::SubscriberExt;

use super::layer;
use crate::telemetry::log::Format;
use crate::telemetry::log::journal::open;
use crate::telemetry::log::line::MAX_VALUE;

/// Creates a fake journald in a directory that is never removed.
fn journald() -> (UnixDatagram, &'static Path) {
    let directory = tempfile::tempdir().unwrap();
    let path: &Path = Box::leak(directory.path().join("socket").into_boxed_path());
    let socket = UnixDatagram::bind(path).unwrap();
    std::mem::forget(directory);
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    (socket, path)
}

fn receive(journald: &UnixDatagram) -> BTreeMap<String, String> {
    let mut buffer = vec![0; 1 << 18];
    let len = journald.recv(&mut buffer).unwrap();
    let mut rest = &buffer[..len];
    let mut fields = BTreeMap::new();
    while !rest.is_empty() {
        let name = rest.iter().position(|b| *b == b'\n').unwrap();
        let (size, value) = rest[name + 1..].split_at(8);
        let size = usize::try_from(u64::from_le_bytes(size.try_into().unwrap())).unwrap();
        assert_eq!(value[size], b'\n');
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        fields.insert(text(&rest[..name]), text(&value[..size]));
        rest = &value[size + 1..];
    }
    fields
}

#[test]
fn an_event_has_its_fields_and_those_of_its_spans() {
    let (journald, path) = journald();
    let journal = layer(Format::Journald, false, open(path, |_| {}).unwrap());

    subscriber::with_default(tracing_subscriber::registry().with(journal), || {
        let span = info_span!("serving", forward = "db", session = tracing::field::Empty);
        let _entered = span.enter();
        span.record("session", 7);
        warn!(
            error = "a\nb\u{1b}[2J\u{202e}",
            peer.port = 5,
            "lost\nnot a line"
        );
    });

    let fields = receive(&journald);
    for (name, value) in [
        ("MESSAGE", "lost\\nnot a line"),
        ("PRIORITY", "4"),
        ("SYSLOG_IDENTIFIER", "ssm-proxyd"),
        ("TARGET", module_path!()),
        ("SPAN_NAME", "serving"),
        ("SSM_PROXYD_FORWARD", "db"),
        ("SSM_PROXYD_SESSION", "7"),
        ("SSM_PROXYD_ERROR", "a\\nb\\u{1b}[2J\\u{202e}"),
        ("SSM_PROXYD_PEER_PORT", "5"),
    ] {
        assert_eq!(fields.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(fields["CODE_FILE"].ends_with("journal.rs"));
}

#[test]
fn a_hanging_journald_does_not_block_logging() {
    let (journald, path) = journald();
    let writer = open(path, |_| {}).unwrap();
    let journal = layer(Format::Journald, false, writer.clone());
    let long = "x".repeat(1 << 16);

    subscriber::with_default(tracing_subscriber::registry().with(journal), || {
        for number in 0..2000 {
            info!(number, long, "not received");
        }
    });

    let dropped = writer.dropped();
    assert!(dropped > 0);
    for _ in 0..2000 - dropped {
        let fields = receive(&journald);
        assert_eq!(fields["SSM_PROXYD_LONG"].chars().count(), MAX_VALUE + 1);
    }
    writer.flush(Duration::from_secs(60));
    assert_eq!(writer.dropped(), dropped);
}

#[test]
fn without_a_receiver_the_journal_cannot_be_opened() {
    assert!(open(Path::new("/nowhere/socket"), |_| {}).is_err());
}
