//! Problems of a configuration: location, cause and hint.
//!
//! ```text
//! error: forward "db": `listen`: the port 543200 is not a number from 0 to 65535
//!   --> config.toml:3:10
//!    |
//!  3 | listen = 543200
//!    |          ^^^^^^
//!  hint: for example `listen = 5432`
//! ```
//!
//! Checks collect *findings*, which are a byte range and messages. Findings are bounded; only when
//! the check is complete are their locations and excerpts computed.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use crate::config::source::{Location, SourceText};

/// All problems of a text, in line order; never empty.
///
/// `Display` is the complete message for the user: it starts with `error: ` and ends without a
/// newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    pub(super) list: Vec<Diagnostic>,
    /// Number of further problems that are not listed.
    unlisted: usize,
}

impl Diagnostics {
    /// Returns each problem and its location in one line, and its hint in another.
    pub(super) fn summary(&self, file: &Path) -> Vec<(String, String)> {
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = |problem: &Diagnostic| {
            let Location { line, column, .. } = &problem.place;
            let at = format!("{}:{line}:{column}", file.display());
            (
                one_line(&format!("{at}: {}", problem.what)),
                one_line(&problem.hint),
            )
        };
        let mut lines: Vec<_> = self.list.iter().map(line).collect();
        if self.unlisted > 0 {
            let more = format!("{} more problems are not shown", self.unlisted);
            lines.push((more, String::new()));
        }
        lines
    }

    /// Formats as `Display` does, with the file name at every location.
    pub fn in_file<'a>(&'a self, file: &'a Path) -> impl fmt::Display + 'a {
        fmt::from_fn(|f| self.write(f, Some(file)))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, file: Option<&Path>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            problem.write(f, file)?;
        }
        match self.unlisted {
            0 => Ok(()),
            more => write!(f, "\n\nerror: {more} more problems are not shown"),
        }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, None)
    }
}

impl std::error::Error for Diagnostics {}

/// A finding and its location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diagnostic {
    pub(super) what: String,
    hint: String,
    pub(super) place: Location,
    /// A related location and its message.
    other: Option<(Location, String)>,
}

impl Diagnostic {
    fn write(&self, f: &mut fmt::Formatter<'_>, file: Option<&Path>) -> fmt::Result {
        // The form that editors and terminals recognise is `file:line:column`.
        let at = |Location { line, column, .. }: &Location| match file {
            Some(file) => format!("{}:{line}:{column}", file.display()),
            None => format!("line {line}, column {column}"),
        };
        let gutter = self.other.as_ref().map_or(0, |(place, _)| place.gutter());
        let gutter = gutter.max(self.place.gutter());
        writeln!(f, "error: {}", self.what)?;
        writeln!(f, " {:gutter$}--> {}", "", at(&self.place))?;
        self.place.write_excerpt(f, gutter)?;
        if let Some((place, what)) = &self.other {
            writeln!(f, " {:gutter$}::: {}: {what}", "", at(place))?;
            place.write_excerpt(f, gutter)?;
        }
        write!(f, " hint: {}", self.hint)
    }
}

/// Error of a single value, from a file or from the command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct ValueError {
    what: String,
    hint: String,
}

impl ValueError {
    /// `what` is the cause in one line, `hint` what to write instead.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// Returns what to write instead.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

/// A problem whose location has not been computed yet.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// Byte range in the text.
    pub(super) span: Range<usize>,
    what: String,
    hint: String,
    /// A related range and its message.
    other: Option<(Range<usize>, String)>,
    /// Whether the finding is about something missing.
    pub(super) is_absence: bool,
}

impl Finding {
    /// `what` is the cause in one line, `hint` what to write instead.
    pub(super) fn new(
        span: Range<usize>,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            span,
            what: what.into(),
            hint: hint.into(),
            other: None,
            is_absence: false,
        }
    }

    /// Adds a related range.
    pub(super) fn with_label(mut self, span: Range<usize>, what: impl Into<String>) -> Self {
        self.other = Some((span, what.into()));
        self
    }

    /// Marks the finding as being about something missing.
    pub(super) fn missing_key(mut self) -> Self {
        self.is_absence = true;
        self
    }

    fn locate(self, source: &SourceText<'_>) -> Diagnostic {
        Diagnostic {
            what: self.what,
            hint: self.hint,
            place: source.place(self.span),
            other: self.other.map(|(span, what)| (source.place(span), what)),
        }
    }
}

/// Findings of a check. Bounded, so that an invalid file cannot exhaust memory.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    unlisted: usize,
}

impl Findings {
    /// Adds a finding, or only counts it if the limit is reached.
    pub(super) fn add(&mut self, finding: Finding) {
        match self.has_room() {
            true => self.list.push(finding),
            false => self.unlisted += 1,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.list.len() < MAX_FINDINGS
    }

    /// Adds the findings of another check of the same text.
    pub(super) fn append(&mut self, others: Self) {
        self.unlisted += others.unlisted;
        others
            .list
            .into_iter()
            .for_each(|finding| self.add(finding));
    }

    pub(super) fn retain(&mut self, condition: impl FnMut(&Finding) -> bool) {
        self.list.retain(condition);
    }

    /// Computes the location of every finding. Returns `None` if there are no findings.
    pub(super) fn into_diagnostics(mut self, source: &SourceText<'_>) -> Option<Diagnostics> {
        self.list.sort_by_key(|finding| finding.span.start);
        let list: Vec<_> = self.list.into_iter().map(|f| f.locate(source)).collect();
        (!list.is_empty()).then_some(Diagnostics {
            list,
            unlisted: self.unlisted,
        })
    }
}

/// Maximum number of findings kept; further ones are counted only.
const MAX_FINDINGS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str, findings: impl IntoIterator<Item = Finding>) -> Option<Diagnostics> {
        let mut all = Findings::default();
        findings.into_iter().for_each(|finding| all.add(finding));
        all.into_diagnostics(&SourceText::new(text))
    }

    #[test]
    fn a_problem_without_a_file_has_line_and_column() {
        let finding = Finding::new(10..11, "again", "remove one").with_label(0..1, "the first");

        assert_eq!(
            problems("a = 1\nb = 2", [finding]).unwrap().to_string(),
            "error: again\n  --> line 2, column 5\n   |\n 2 | b = 2\n   |     ^\n  \
             ::: line 1, column 1: the first\n   |\n 1 | a = 1\n   | ^\n hint: remove one"
        );
        assert_eq!(problems("a = 1", []), None);
    }

    #[test]
    fn too_many_problems_are_counted() {
        let findings = (0..MAX_FINDINGS + 7).map(|_| Finding::new(0..1, "bad", "good"));

        let problems = problems("a", findings).unwrap();

        assert_eq!(problems.list.len(), MAX_FINDINGS);
        let text = problems.to_string();
        assert!(text.ends_with("7 more problems are not shown"), "{text}");
    }
}
