//! A manual page in the language of `man(7)`.

use std::fmt::{Display, Write};

use crate::cli::help::Example;

/// A page under construction.
pub(super) struct Page {
    text: String,
    /// Whether a heading has just been written, after which there is no request for a paragraph.
    is_after_heading: bool,
}

impl Page {
    /// Begins a page of this name and section.
    pub(super) fn new(name: &str, section: u8) -> Self {
        Self::from_generated(&title(name, section))
    }

    /// Continues a page that has been generated.
    pub(super) fn from_generated(text: &str) -> Self {
        let mut page = Self {
            text: String::new(),
            is_after_heading: false,
        };
        text.lines().for_each(|line| page.line(line));
        page
    }

    /// Returns the text.
    pub(super) fn finish(self) -> String {
        self.text
    }

    /// Begins a section.
    pub(super) fn heading(&mut self, name: &str) {
        self.line(format_args!(".SH \"{}\"", escaped(name)));
        self.is_after_heading = true;
    }

    /// Begins a part of a section.
    pub(super) fn subheading(&mut self, name: &str) {
        self.line(format_args!(".SS \"{}\"", escaped(name)));
        self.is_after_heading = true;
    }

    /// Writes a paragraph. Text in backticks is bold.
    pub(super) fn paragraph(&mut self, text: &str) {
        self.begin_paragraph();
        self.text(text);
    }

    /// Writes a term and its description.
    pub(super) fn term(&mut self, term: &str, description: &str) {
        self.line(".TP");
        self.text(term);
        self.text(description);
    }

    /// Writes a command line and what it is for.
    pub(super) fn example(&mut self, example: &Example) {
        self.paragraph(&format!("{}:", example.purpose));
        self.verbatim(example.line);
    }

    /// Writes lines as they are.
    pub(super) fn verbatim(&mut self, lines: &str) {
        self.begin_paragraph();
        self.line(".RS 4\n.nf");
        for line in lines.lines() {
            self.line(protected(&escaped(line)));
        }
        self.line(".fi\n.RE");
    }

    fn begin_paragraph(&mut self) {
        if !self.is_after_heading {
            self.line(".PP");
        }
    }

    fn text(&mut self, text: &str) {
        let mut line = String::new();
        for (index, part) in text.split('`').enumerate() {
            match index % 2 {
                0 => line.push_str(&escaped(part)),
                _ => line.extend(["\\fB", &escaped(part), "\\fR"]),
            }
        }
        self.line(protected(&line));
    }

    /// Writing to a string does not fail.
    fn line(&mut self, line: impl Display) {
        writeln!(self.text, "{line}").unwrap_or_default();
        self.is_after_heading = false;
    }
}

/// Returns the first line of a page of this name and section. Pages have no date, so that the same
/// program prints the same page.
pub(super) fn title(name: &str, section: u8) -> String {
    let source = escaped(super::SOURCE);
    format!(
        ".TH {name} {section} \"\" \"{source}\" \"{}\"",
        super::MANUAL
    )
}

/// Returns text in which no character has a meaning.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '"' => escaped.push_str("\\(dq"),
            '\'' => escaped.push_str("\\(aq"),
            '~' => escaped.push_str("\\(ti"),
            '^' => escaped.push_str("\\(ha"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Returns a line that is not taken for a request.
fn protected(line: &str) -> String {
    match line.starts_with('.') {
        true => format!("\\&{line}"),
        false => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_of_a_text_is_taken_for_a_request() {
        let mut page = Page::from_generated(".TH x 1");

        page.paragraph(".so `-x`: a\\b 'c' \"d\"");
        page.verbatim("'br\n.br");

        assert_eq!(
            page.finish(),
            ".TH x 1\n.PP\n\\&.so \\fB\\-x\\fR: a\\eb \\(aqc\\(aq \\(dqd\\(dq\n.PP\n.RS 4\n.nf\n\
             \\(aqbr\n\\&.br\n.fi\n.RE\n"
        );
    }
}
