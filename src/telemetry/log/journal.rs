//! Log output to journald: one datagram of fields per event.
//!
//! The format is journald's native protocol: name, newline, length of the value as a little-endian
//! 64-bit number, value, newline. Fields of spans precede those of the event. Our field names have
//! a prefix, so that `target` and the like do not collide with the journal's own.

use std::fmt::{Debug, Write};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::line::{MAX_VALUE, Value};
use super::writer::{ReportDropped, Writer};

/// Socket of journald.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// Sends events to journald.
#[derive(Debug)]
pub(super) struct Journal {
    writer: Writer,
}

impl Journal {
    /// Opens the socket at `path`.
    ///
    /// # Errors
    ///
    /// If the socket does not exist or accepts no connection.
    pub(super) fn open(path: &'static Path, report: ReportDropped) -> io::Result<Self> {
        // Test without sending, which would block while journald hangs.
        UnixDatagram::unbound()?.connect(path)?;
        let socket = UnixDatagram::unbound()?;
        // Address it by path each time: a restarted journald has another socket.
        let send = move |datagram: &[u8]| socket.send_to(datagram, path).map(|_| ());
        Ok(Self {
            writer: Writer::start("journal", 0, Box::new(send), report),
        })
    }

    /// Returns the queue of datagrams.
    pub(super) fn writer(&self) -> &Writer {
        &self.writer
    }
}

impl<S> Layer<S> for Journal
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        fields.put("SPAN_NAME", span.name());
        fields.put_metadata("SPAN_", span.metadata());
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let Some(fields) = extensions.get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        let spans = context.lookup_current().into_iter();
        for span in spans.flat_map(|span| span.scope().from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.0.extend_from_slice(&of_span.0);
            }
        }
        fields.put("PRIORITY", priority(*event.metadata().level()));
        fields.put_metadata("", event.metadata());
        fields.put("SYSLOG_IDENTIFIER", "ssm-proxyd");
        event.record(&mut fields);
        self.writer.push(fields.0);
    }
}

/// Encoded fields.
#[derive(Debug, Default)]
struct Fields(Vec<u8>);

impl Fields {
    /// `name` must be valid for the journal, `value` printable.
    fn put(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.0
            .extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }

    fn put_metadata(&mut self, prefix: &str, metadata: &Metadata<'_>) {
        self.put(&format!("{prefix}TARGET"), metadata.target());
        if let Some(file) = metadata.file() {
            self.put(&format!("{prefix}CODE_FILE"), file);
        }
        if let Some(line) = metadata.line() {
            self.put(&format!("{prefix}CODE_LINE"), &line.to_string());
        }
    }

    fn put_field(&mut self, field: &Field, value: &Value) {
        let name = match field.name() {
            "message" => "MESSAGE".to_owned(),
            name => format!("{PREFIX}{}", name_of(name)),
        };
        self.put(&name, value.as_str());
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, text: &str) {
        let mut value = Value::new(MAX_VALUE);
        value.add(text);
        self.put_field(field, &value);
    }

    fn record_debug(&mut self, field: &Field, shown: &dyn Debug) {
        let mut value = Value::new(MAX_VALUE);
        // If formatting fails, the part written so far is kept.
        let _shown = write!(value, "{shown:?}");
        self.put_field(field, &value);
    }
}

/// Converts a name to the journal's syntax: capital letters, digits and underscores, not starting
/// with an underscore.
fn name_of(name: &str) -> String {
    name.trim_start_matches(['_', '.'])
        .chars()
        .map(|c| if c == '.' { '_' } else { c })
        .filter(|c| *c == '_' || c.is_ascii_alphanumeric())
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// Prefix of the fields of our events and spans.
const PREFIX: &str = "SSM_PROXYD_";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use tracing::{info, info_span, subscriber, warn};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

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
        let journal = Journal::open(path, |_| {}).unwrap();

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
        let journal = Journal::open(path, |_| {}).unwrap();
        let writer = journal.writer().clone();
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
        assert!(Journal::open(Path::new("/nowhere/socket"), |_| {}).is_err());
    }
}
