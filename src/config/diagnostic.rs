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

use crate::config::source::{Place, Source};

/// All problems of a text, in line order; never empty.
///
/// `Display` is the complete message for the user: it starts with `error: ` and ends without a
/// newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    /// Number of further problems that are not listed.
    unlisted: usize,
}

impl Problems {
    /// Returns the listed problems.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// Formats as `Display` does, with the file name at every location.
    pub fn in_file<'a>(&'a self, file: &'a Path) -> impl fmt::Display + 'a {
        Rendered {
            problems: self,
            file: Some(file),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rendered = Rendered {
            problems: self,
            file: None,
        };
        rendered.fmt(f)
    }
}

impl std::error::Error for Problems {}

/// One problem and its location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    what: String,
    hint: String,
    place: Place,
    other: Option<(String, Place)>,
}

impl Problem {
    /// Returns the cause, in one line.
    pub fn message(&self) -> &str {
        &self.what
    }

    /// Returns what to write instead: one line, or a few with an example.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// Returns the line, from 1.
    pub fn line(&self) -> usize {
        self.place.line
    }

    /// Returns the column in characters, from 1.
    pub fn column(&self) -> usize {
        self.place.column
    }

    /// Returns the byte range of the text that the problem refers to.
    pub fn span(&self) -> Range<usize> {
        self.place.span.clone()
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, file: Option<&Path>) -> fmt::Result {
        let other = self.other.as_ref();
        let gutter = other.map_or(0, |(_, place)| place.gutter());
        let gutter = gutter.max(self.place.gutter());
        writeln!(f, "error: {}", self.what)?;
        writeln!(f, " {:gutter$}--> {}", "", At(file, &self.place))?;
        self.place.write_excerpt(f, gutter)?;
        if let Some((what, place)) = other {
            writeln!(f, " {:gutter$}::: {}: {what}", "", At(file, place))?;
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
    pub(super) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
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
    pub(super) what: String,
    pub(super) hint: String,
    /// A related range and its message.
    pub(super) other: Option<(Range<usize>, String)>,
    /// Whether the finding is about something missing.
    pub(super) is_absence: bool,
}

impl Finding {
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
    pub(super) fn beside(mut self, span: Range<usize>, what: impl Into<String>) -> Self {
        self.other = Some((span, what.into()));
        self
    }

    /// Marks the finding as being about something missing.
    pub(super) fn absence(mut self) -> Self {
        self.is_absence = true;
        self
    }

    fn place(self, source: &Source<'_>) -> Problem {
        let other = self.other.map(|(span, what)| (what, source.place(span)));
        Problem {
            what: self.what,
            hint: self.hint,
            place: source.place(self.span),
            other,
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
        if self.has_room() {
            self.list.push(finding);
        } else {
            self.unlisted += 1;
        }
    }

    /// Returns whether another finding would be kept.
    pub(super) fn has_room(&self) -> bool {
        self.list.len() < MAX_FINDINGS
    }

    /// Adds the findings of another check of the same text.
    pub(super) fn append(&mut self, others: Self) {
        self.unlisted += others.unlisted;
        for finding in others.list {
            self.add(finding);
        }
    }

    /// Removes findings that do not meet the condition.
    pub(super) fn retain(&mut self, condition: impl FnMut(&Finding) -> bool) {
        self.list.retain(condition);
    }

    /// Computes the location of every finding. Returns `None` if there are no findings.
    pub(super) fn into_problems(mut self, source: &Source<'_>) -> Option<Problems> {
        if self.list.is_empty() {
            return None;
        }
        self.list.sort_by_key(|finding| finding.span.start);
        let list = self.list.into_iter();
        Some(Problems {
            list: list.map(|finding| finding.place(source)).collect(),
            unlisted: self.unlisted,
        })
    }
}

struct Rendered<'a> {
    problems: &'a Problems,
    file: Option<&'a Path>,
}

impl fmt::Display for Rendered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            problem.write(f, self.file)?;
        }
        match self.problems.unlisted {
            0 => Ok(()),
            more => write!(f, "\n\nerror: {more} more problems are not shown"),
        }
    }
}

/// A location in the form that editors and terminals recognise: `file:line:column`.
struct At<'a>(Option<&'a Path>, &'a Place);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(file, Place { line, column, .. }) = self;
        match file {
            Some(file) => write!(f, "{}:{line}:{column}", file.display()),
            None => write!(f, "line {line}, column {column}"),
        }
    }
}

/// Maximum number of findings kept; further ones are counted only.
const MAX_FINDINGS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str, findings: impl IntoIterator<Item = Finding>) -> Problems {
        let mut all = Findings::default();
        for finding in findings {
            all.add(finding);
        }
        all.into_problems(&Source::new(text)).unwrap()
    }

    #[test]
    fn a_problem_says_where_and_what_and_what_to_write() {
        let problems = problems("a = 1\nb = 2", [Finding::new(10..11, "too big", "write 1")]);

        assert_eq!(
            problems.in_file(Path::new("x.toml")).to_string(),
            "error: too big\n  --> x.toml:2:5\n   |\n 2 | b = 2\n   |     ^\n hint: write 1"
        );
    }

    #[test]
    fn two_places_share_a_gutter() {
        let text = "a = 1\n".repeat(10);
        let finding = Finding::new(54..55, "again", "remove one").beside(0..1, "the first");

        assert_eq!(
            problems(&text, [finding]).to_string(),
            "error: again\n   --> line 10, column 1\n    |\n 10 | a = 1\n    | ^\n   \
             ::: line 1, column 1: the first\n    |\n  1 | a = 1\n    | ^\n hint: remove one"
        );
    }

    #[test]
    fn problems_come_in_the_order_of_the_file() {
        let findings = [3, 1, 2].map(|at| Finding::new(at..at, at.to_string(), ""));

        let problems = problems("abcdef", findings);

        let order: Vec<_> = problems.list().iter().map(Problem::message).collect();
        assert_eq!(order, ["1", "2", "3"]);
    }

    #[test]
    fn too_many_problems_are_counted() {
        let findings = (0..MAX_FINDINGS + 7).map(|_| Finding::new(0..1, "bad", "good"));

        let problems = problems("a", findings);

        assert_eq!(problems.list().len(), MAX_FINDINGS);
        assert!(
            problems
                .to_string()
                .ends_with("7 more problems are not shown")
        );
    }

    #[test]
    fn nothing_found_is_no_problem() {
        assert_eq!(
            Findings::default().into_problems(&Source::new("a = 1")),
            None
        );
    }
}
