//! Lenient parser of the INI dialect of the AWS configuration files.
//!
//! Accepts what the AWS CLI accepts (Python's `configparser`): keys indented by spaces or tabs,
//! `key: value`, text after a section's header, indented comments. Any other line is returned as a
//! [`BadLine`] with its number, and the lines around it are still used. A byte order mark is
//! skipped.

/// A section, with its keys in the order of the file.
#[derive(Default)]
pub(super) struct IniSection {
    /// The text between the brackets, trimmed.
    pub(super) header: String,
    /// The line of the header, from 1.
    pub(super) line: usize,
    /// Keys in lower case, and their values. The lines of a multi-line value are joined with line
    /// feeds.
    pub(super) keys: Vec<(String, String)>,
}

/// A line that could not be used. Its text is not kept: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    pub(super) line: usize,
    pub(super) why: &'static str,
}

/// Parses the text of a file.
pub(super) fn parse(text: &str) -> (Vec<IniSection>, Vec<BadLine>) {
    let mut parser = Parser::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        if let Err(why) = parser.push(index + 1, line) {
            let line = index + 1;
            parser.bad.push(BadLine { line, why });
        }
    }
    (parser.sections, parser.bad)
}

#[derive(Default)]
struct Parser {
    sections: Vec<IniSection>,
    bad: Vec<BadLine>,
    /// The indentation of the last header or key.
    indent: usize,
    /// Whether a line with a deeper indentation continues the last key.
    in_key: bool,
    /// Whether the last header was invalid: its keys belong to no section.
    is_lost: bool,
}

impl Parser {
    fn push(&mut self, number: usize, line: &str) -> Result<(), &'static str> {
        let text = line.trim();
        if text.is_empty() || text.starts_with(COMMENT) {
            return Ok(());
        }
        let indent = line.len() - line.trim_start().len();
        if self.in_key && indent > self.indent {
            self.push_continuation(text);
            return Ok(());
        }
        self.indent = indent;
        self.in_key = false;
        match text.strip_prefix('[') {
            Some(rest) => self.push_header(number, rest),
            None => self.push_key(text),
        }
    }

    fn push_header(&mut self, number: usize, rest: &str) -> Result<(), &'static str> {
        let header = rest.split_once(']');
        self.is_lost = header.is_none();
        let (header, _behind) = header.ok_or("the section header has no closing `]`")?;
        self.sections.push(IniSection {
            header: header.trim().to_owned(),
            line: number,
            keys: Vec::new(),
        });
        Ok(())
    }

    fn push_key(&mut self, text: &str) -> Result<(), &'static str> {
        if self.is_lost {
            return Ok(());
        }
        let section = self.sections.last_mut();
        let section = section.ok_or("a key before the first section, such as `[default]`")?;
        let (key, value) = text
            .split_once(['=', ':'])
            .ok_or("neither a section nor `key = value`")?;
        let key = key.trim().to_ascii_lowercase();
        if key.is_empty() {
            return Err("a value without a key");
        }
        let value = match key == COMMAND {
            true => value.trim(),
            false => without_comment(value).trim(),
        };
        section.keys.push((key, value.to_owned()));
        self.in_key = true;
        Ok(())
    }

    fn push_continuation(&mut self, text: &str) {
        let key = self.sections.last_mut().and_then(|s| s.keys.last_mut());
        if let Some((_, value)) = key {
            value.push('\n');
            value.push_str(text);
        }
    }
}

/// Cuts off a comment, which begins with `#` or `;` at the start or after white space.
fn without_comment(value: &str) -> &str {
    let mut after_space = true;
    for (index, c) in value.char_indices() {
        if after_space && COMMENT.contains(&c) {
            return &value[..index];
        }
        after_space = c.is_whitespace();
    }
    value
}

const COMMENT: [char; 2] = ['#', ';'];

/// The key whose value is a command line, where `;` and `#` are not comments.
const COMMAND: &str = "credential_process";

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<(String, String)> {
        let (sections, bad) = parse(text);
        assert_eq!(bad, []);
        sections.into_iter().flat_map(|s| s.keys).collect()
    }

    fn key(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn keys_may_be_indented_and_use_a_colon() {
        for text in [
            "[default]\nregion = eu-west-1\noutput = json\n",
            "[default]\n  region = eu-west-1\n  output = json\n",
            "[default]\n\tregion=eu-west-1\n\toutput=json\n",
            "  [default]\n    region: eu-west-1\n    output: json\n",
            "\u{feff}[default] # mine\r\nREGION = eu-west-1 ; here\r\n  # a comment\r\noutput=json\r\n",
        ] {
            let expected = [key("region", "eu-west-1"), key("output", "json")];
            assert_eq!(keys(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_deeper_line_continues_a_value() {
        let text =
            "[default]\ns3 =\n  max_queue_size = 10\n  addressing_style = path\nregion = x\n";

        let nested = "\nmax_queue_size = 10\naddressing_style = path";
        assert_eq!(keys(text), [key("s3", nested), key("region", "x")]);
    }

    #[test]
    fn a_command_line_keeps_what_looks_like_a_comment() {
        let text = "[default]\ncredential_process = sh -c 'a ; b #c'\nregion = x #c\n";

        let command = key("credential_process", "sh -c 'a ; b #c'");
        assert_eq!(keys(text), [command, key("region", "x")]);
    }

    #[test]
    fn a_value_keeps_a_hash_and_a_semicolon_inside_a_word() {
        let text = "[default]\naws_secret_access_key = a/b#c;d==\n";

        assert_eq!(keys(text), [key("aws_secret_access_key", "a/b#c;d==")]);
    }

    #[test]
    fn a_bad_line_is_reported_with_its_number_and_the_others_are_used() {
        let text =
            "stray = 1\n[default]\nregion = x\nnonsense\n= y\noutput = json\n[open\nregion = z\n";

        let (sections, bad) = parse(text);

        let lines: Vec<_> = bad.iter().map(|bad| bad.line).collect();
        assert_eq!(lines, [1, 4, 5, 7]);
        assert_eq!(sections.len(), 1);
        assert_eq!(
            sections[0].keys,
            [key("region", "x"), key("output", "json")]
        );
    }

    #[test]
    fn no_input_panics() {
        for text in [
            "[",
            "]",
            "[]",
            "=",
            ":",
            "[x]\n\u{2028}=\u{2029}",
            "[é]\né=é",
            "\u{feff}",
        ] {
            parse(text);
        }
    }
}
