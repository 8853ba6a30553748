//! Text: no value and no message looks like a field.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::{error_span, info, subscriber};
use tracing_subscriber::layer::SubscriberExt;

use super::layer;
use crate::telemetry::log::Format;
use crate::telemetry::log::writer::Writer;

/// Returns what is logged meanwhile, after the time and the level.
fn logged(colour: bool, log: impl FnOnce()) -> String {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&lines);
    let sink = Box::new(move |line: &[u8]| {
        written.lock().unwrap().extend_from_slice(line);
        Ok(())
    });
    let writer = Writer::start("test", 0, sink, |_| {});
    let layer = layer(Format::Text, colour, writer.clone());
    subscriber::with_default(tracing_subscriber::registry().with(layer), log);
    writer.flush(Duration::from_secs(60));
    let lines = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
    let level = if colour {
        "\u{1b}[32m INFO\u{1b}[0m "
    } else {
        "Z  INFO "
    };
    lines.split_once(level).unwrap().1.to_owned()
}

#[test]
fn a_value_cannot_look_like_another_field() {
    let name = "x\" sent=9 \\";
    let line = logged(false, || {
        let span = error_span!("serving", peer = %name, late = tracing::field::Empty);
        span.record("late", tracing::field::display("a b=c}: d"));
        span.in_scope(|| {
            info!(shown = %name, debug = ?name, text = name, list = ?[name], empty = %"", "done");
        });
    });

    let quoted = r#""x\" sent=9 \\""#;
    let list = r#""[\"x\\\" sent=9 \\\\\"]""#;
    assert_eq!(
        line,
        format!(
            "serving{{peer={quoted} late=\"a b=c}}: d\"}}: done shown={quoted} debug={quoted} \
             text={quoted} list={list} empty=\"\"\n"
        )
    );
}

#[test]
fn plain_values_and_messages_are_not_quoted() {
    let line = logged(false, || {
        let time = Duration::from_millis(1500);
        info!(sent = 5, ?time, peer = %"[::1]:80", path = %"/a\\b", "reloaded: +1 =2");
    });

    assert_eq!(
        line,
        "reloaded: +1 =2 sent=5 time=1.5s peer=[::1]:80 path=/a\\b\n"
    );
}

#[test]
fn a_message_that_looks_like_a_field_is_quoted() {
    let foreign = "done ended_by=client \u{1b}[31m";

    let line = logged(false, || info!("{foreign}"));

    assert_eq!(line, "\"done ended_by=client \\u{1b}[31m\"\n");
}

#[test]
fn the_sources_of_an_error_are_one_value() {
    let inner = io::Error::other("no a=b");
    let outer = io::Error::other(Outer(inner));
    let line = logged(false, || {
        info!(error = &outer as &(dyn Error + 'static), "failed");
    });

    assert_eq!(line, "failed error=outer error.sources=\"no a=b\"\n");
}

#[derive(Debug)]
struct Outer(io::Error);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("outer")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn colours_are_those_of_names_only() {
    let value = "\u{1b}[31mred";

    let line = logged(true, || info!(value, "done"));

    assert!(
        line.contains("done \u{1b}[3mvalue\u{1b}[0m\u{1b}[2m=\u{1b}[0m\"\\u{1b}[31mred\""),
        "{line:?}"
    );
}
