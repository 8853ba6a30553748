//! Syntax errors of a text, and which other findings remain reliable.
//!
//! The parser continues after an error, which finds more errors but also consequences of earlier
//! ones. Not reported are therefore: all but the first error of a line; missing settings, once
//! there is any syntax error; and everything after an unclosed array, multi-line string or header,
//! which extends over the text that follows it.

use std::collections::BTreeSet;

use crate::config::diagnostic::{Finding, Findings};
use crate::config::document::{Document, ParseError};
use crate::config::source::Source;
use crate::config::syntax_messages::Reader;

/// The syntax errors of a text.
#[derive(Debug)]
pub(super) struct Syntax {
    errors: Findings,
    lines: BTreeSet<usize>,
    /// First line from which findings are ignored.
    lost_from: usize,
}

impl Syntax {
    /// Selects the parser errors to report.
    pub(super) fn of(text: &str, source: &Source<'_>, document: &Document) -> Self {
        let mut complaints = document.errors.clone();
        complaints.sort_by_key(|complaint| complaint.span.start);
        let reader = Reader::new(text, source, &document.root, &complaints);
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

    fn take(&mut self, reader: &Reader<'_>, source: &Source<'_>, complaint: &ParseError) {
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

    /// Returns whether a finding is reliable, rather than a consequence of a syntax error.
    pub(super) fn leaves(&self, finding: &Finding, source: &Source<'_>) -> bool {
        let line = source.line(finding.span.start);
        let in_doubt = finding.is_absence && !self.lines.is_empty();
        !in_doubt && line < self.lost_from && !self.lines.contains(&line)
    }

    /// Returns the errors.
    pub(super) fn into_errors(self) -> Findings {
        self.errors
    }
}
