//! The layer that writes the log: each event once, in the current format.

use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::fields::{SpanFields, SpanVisitor, Visitor};
use super::writer::Writer;
use super::{Format, journal, json, text};

/// Writes events.
#[derive(Debug)]
pub(super) struct LogLayer {
    pub(super) format: CurrentFormat,
    /// Text lines have colours.
    pub(super) colour: bool,
    /// Queue of lines to stderr.
    pub(super) stderr: Writer,
    /// Queue of datagrams to the journal, if there is one.
    pub(super) journal: Option<Writer>,
}

impl<S> Layer<S> for LogLayer
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = SpanFields::default();
        attributes.record(&mut Visitor(&mut fields));
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<SpanFields>() {
            values.record(&mut Visitor(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let spans = |add: SpanVisitor<'_>| {
            let scope = context.event_scope(event).into_iter();
            for span in scope.flat_map(|scope| scope.from_root()) {
                if let Some(fields) = span.extensions().get::<SpanFields>() {
                    add(span.metadata(), fields);
                }
            }
        };
        match (self.format.get(), &self.journal) {
            (Format::Journald, Some(journal)) => journal.push(journal::datagram(event, spans)),
            (Format::Json, _) => self.stderr.push(json::line(event, spans)),
            (Format::Auto | Format::Text | Format::Journald, _) => {
                self.stderr.push(text::line(event, spans, self.colour));
            }
        }
    }
}

/// The current format. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct CurrentFormat(Arc<AtomicU8>);

impl CurrentFormat {
    pub(super) fn set(&self, format: Format) {
        self.0.store(format as u8, Relaxed);
    }

    fn get(&self) -> Format {
        let current = self.0.load(Relaxed);
        let formats = [Format::Text, Format::Json, Format::Journald];
        let format = formats.into_iter().find(|format| *format as u8 == current);
        format.unwrap_or(Format::Auto)
    }
}
