//! Log output to journald: one datagram of fields per event.
//!
//! The format is journald's native protocol: name, newline, length of the value as a little-endian
//! 64-bit number, value, newline. Fields of spans precede those of the event. Our field names have
//! a prefix, so that `target` and the like do not collide with the journal's own.

use std::fmt::Write;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use tracing::{Event, Level, Metadata};

use super::fields::{FieldSink, MESSAGE, SpanVisitor, Value, Visitor};
use super::line::{MAX_VALUE, PrintableValue};
use super::writer::{ReportDropped, Writer};

/// Socket of journald.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// Opens the socket at `path`. Returns the queue of datagrams.
///
/// # Errors
///
/// If the socket does not exist or accepts no connection.
pub(super) fn open(path: &'static Path, report: ReportDropped) -> io::Result<Writer> {
    // Test without sending, which would block while journald hangs.
    UnixDatagram::unbound()?.connect(path)?;
    let socket = UnixDatagram::unbound()?;
    // Address it by path each time: a restarted journald has another socket.
    let send = move |datagram: &[u8]| socket.send_to(datagram, path).map(|_| ());
    Ok(Writer::start("journal", 0, Box::new(send), report))
}

/// Returns the datagram of an event.
pub(super) fn datagram(event: &Event<'_>, spans: impl FnOnce(SpanVisitor<'_>)) -> Vec<u8> {
    let mut fields = Fields::default();
    spans(&mut |metadata, of_span| {
        fields.put("SPAN_NAME", metadata.name());
        fields.put_metadata("SPAN_", metadata);
        of_span.write(&mut fields);
    });
    fields.put("PRIORITY", priority(*event.metadata().level()));
    fields.put_metadata("", event.metadata());
    fields.put("SYSLOG_IDENTIFIER", "ssm-proxyd");
    event.record(&mut Visitor(&mut fields));
    fields.0
}

/// Encoded fields.
#[derive(Debug, Default)]
struct Fields(Vec<u8>);

impl Fields {
    /// `name` must be valid for the journal, `value` printable.
    fn put(&mut self, name: &str, value: &str) {
        self.put_prefixed("", name, value);
    }

    fn put_prefixed(&mut self, prefix: &str, name: &str, value: &str) {
        self.0.extend_from_slice(prefix.as_bytes());
        self.0.extend_from_slice(name.as_bytes());
        self.put_value(value);
    }

    fn put_value(&mut self, value: &str) {
        self.0.push(b'\n');
        self.0
            .extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }

    fn put_metadata(&mut self, prefix: &str, metadata: &Metadata<'_>) {
        self.put_prefixed(prefix, "TARGET", metadata.target());
        if let Some(file) = metadata.file() {
            self.put_prefixed(prefix, "CODE_FILE", file);
        }
        if let Some(line) = metadata.line() {
            self.put_prefixed(prefix, "CODE_LINE", &line.to_string());
        }
    }
}

impl FieldSink for Fields {
    fn add(&mut self, name: &'static str, value: Value<'_>) {
        let mut text = PrintableValue::new(MAX_VALUE);
        // If formatting fails, the part written so far is kept.
        let _shown = match value {
            Value::Bool(value) => write!(text, "{value}"),
            Value::Unsigned(value) => write!(text, "{value}"),
            Value::Signed(value) => write!(text, "{value}"),
            Value::Float(value) => write!(text, "{value:?}"),
            Value::Text(value) => text.write_str(value),
            Value::Shown(shown) => write!(text, "{shown:?}"),
            Value::Error(error) => write!(text, "{error}"),
        };
        match name {
            MESSAGE => self.put("MESSAGE", text.as_str()),
            name => {
                self.0.extend_from_slice(PREFIX.as_bytes());
                self.0.extend(name_of(name));
                self.put_value(text.as_str());
            }
        }
    }
}

/// Converts a name to the journal's syntax: capital letters, digits and underscores, not starting
/// with an underscore.
fn name_of(name: &str) -> impl Iterator<Item = u8> {
    name.trim_start_matches(['_', '.'])
        .bytes()
        .map(|byte| if byte == b'.' { b'_' } else { byte })
        .filter(|byte| *byte == b'_' || byte.is_ascii_alphanumeric())
        .map(|byte| byte.to_ascii_uppercase())
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
