//! What is not TOML in a text, and how far the rest can be believed.
//!
//! The parser goes on after an error, which finds more of them but also consequences. Those are
//! not told: of a line only its first error, nothing about what is absent once there is an error,
//! and nothing behind an error that swallows what follows it: an array, a multi-line string or a
//! header without its end.

use std::collections::BTreeSet;

use crate::config::diagnostic::{Finding, Findings};
use crate::config::document::Table;
use crate::config::source::Source;
use crate::config::syntax_messages::{ParseError, Reader};

/// The syntax errors of a text.
#[derive(Debug)]
pub(super) struct Syntax {
    errors: Findings,
    lines: BTreeSet<usize>,
    /// The line from which on nothing is believed.
    lost_from: usize,
}

impl Syntax {
    /// Makes sense of what the parser said about a text from which it made `root`.
    pub(super) fn of(
        text: &str,
        source: &Source<'_>,
        root: &Table,
        mut complaints: Vec<ParseError<'_>>,
    ) -> Self {
        complaints.sort_by_key(|complaint| complaint.span.start);
        let reader = Reader::new(text, source, root, &complaints);
        let mut syntax = Self {
            errors: Findings::default(),
            lines: BTreeSet::new(),
            lost_from: usize::MAX,
        };
        for complaint in complaints {
            if syntax.lost_from < usize::MAX || !syntax.errors.has_room() {
                break;
            }
            syntax.take(&reader, source, &complaint);
        }
        syntax
    }

    fn take(&mut self, reader: &Reader<'_>, source: &Source<'_>, complaint: &ParseError<'_>) {
        if self.lines.contains(&source.line(complaint.span.start)) {
            return;
        }
        let finding = reader.finding(complaint);
        let line = source.line(finding.span.start);
        self.lines.insert(line);
        self.errors.add(finding);
        if reader.swallows(complaint) {
            self.lost_from = line;
        }
    }

    /// Whether a finding is about what was written, and not a consequence of a syntax error.
    pub(super) fn leaves(&self, finding: &Finding, source: &Source<'_>) -> bool {
        let line = source.line(finding.span.start);
        let in_doubt = finding.is_absence && !self.lines.is_empty();
        !in_doubt && line < self.lost_from && !self.lines.contains(&line)
    }

    /// Hands over the errors.
    pub(super) fn into_errors(self) -> Findings {
        self.errors
    }
}
