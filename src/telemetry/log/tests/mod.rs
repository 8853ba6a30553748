//! Tests of the formats, through the layer.

mod journal;
mod text;

use super::Format;
use super::layer::{CurrentFormat, LogLayer};
use super::writer::Writer;

/// Returns a layer that writes to `writer` in this format.
fn layer(format: Format, colour: bool, writer: Writer) -> LogLayer {
    let current = CurrentFormat::default();
    current.set(format);
    LogLayer {
        format: current,
        colour,
        stderr: writer.clone(),
        journal: Some(writer),
    }
}
