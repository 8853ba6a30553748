//! Redaction: finds the byte ranges of a text that may be secrets and must not be shown.
//!
//! Works on the plain text, because much of what is displayed is not valid TOML. A key named like a
//! secret hides everything after it; a key named like a proxy hides a possible user and password.
//! When in doubt, text is hidden.
//! and a password. Rather too much is hidden than too little.

use std::ops::Range;

use crate::config::suggest::nearest;

/// Returns the secret ranges, in order and without overlap.
pub(super) fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let (begin, end) = (start, start + line.len());
        start = end;
        let from = found.last().map_or(begin, |last| last.end.max(begin));
        if let Some((nature, value)) = from
            .checked_sub(begin)
            .and_then(|at| line.get(at..))
            .and_then(value)
        {
            let value = from + value;
            let value = value..value_end(text, value, end);
            found.extend(hidden(nature, text, value));
        }
    }
    found
}

/// Returns a part of the text, with secrets replaced by asterisks.
pub(super) fn starred(text: &str, part: Range<usize>, secrets: &[Range<usize>]) -> String {
    let (start, end) = (part.start, part.end.max(part.start));
    let first = secrets.partition_point(|secret| secret.end <= start);
    let near = secrets.get(first..).unwrap_or_default();
    let is_secret = |at: usize| {
        let mut near = near.iter().take_while(|secret| secret.start < end);
        near.any(|secret| secret.contains(&at))
    };
    let part = text.get(start..end).unwrap_or_default();
    let characters = part.char_indices();
    characters
        .map(|(at, c)| if is_secret(start + at) { '*' } else { c })
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SecretKind {
    Proxy,
    Secret,
}

/// Returns the first key of a line that is named like a secret, and where its value starts. A
/// secret after a proxy hides both: `{ proxy = "…", token = "…" }`.
fn value(line: &str) -> Option<(SecretKind, usize)> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut proxy = None;
    let mut at = 0;
    while let Some(begin) = line[at..].find(is_letter).map(|skipped| at + skipped) {
        let end = line[begin..].find(|c| !is_letter(c));
        let end = end.map_or(line.len(), |length| begin + length);
        let behind = line[end..].trim_start_matches([' ', '\t', '"', '\'']);
        let is_first = line[..begin].chars().all(|c| " \t\"'\u{feff}".contains(c));
        if (behind.starts_with('=') || is_first)
            && let Some(nature) = nature(&line[begin..end])
        {
            let behind = behind.trim_start_matches(['=', ':', ' ', '\t']);
            let first = proxy.unwrap_or(line.len() - behind.len());
            if nature == SecretKind::Secret {
                return Some((nature, first));
            }
            proxy = Some(first);
        }
        at = end;
    }
    proxy.map(|first| (SecretKind::Proxy, first))
}

fn nature(key: &str) -> Option<SecretKind> {
    let key = key.to_ascii_lowercase();
    let is_secret = [
        "secret",
        "passw",
        "passphrase",
        "pwd",
        "token",
        "credential",
    ]
    .iter()
    .any(|word| key.contains(word));
    let is_proxy = key.contains("proxy") || nearest(&key, [PROXY]).is_some();
    let mut words = key.split(['_', '-']);
    if is_secret || words.any(|word| word.ends_with("key") || word.ends_with("keys")) {
        return Some(SecretKind::Secret);
    }
    is_proxy.then_some(SecretKind::Proxy)
}

/// Returns where a value ends: at the end of its line, or, for a multi-line delimiter, where it is
/// closed.
fn value_end(text: &str, start: usize, line_end: usize) -> usize {
    let rest = &text[start..];
    let close = CLOSED.iter().find(|(open, _)| rest.starts_with(open));
    let Some((open, close)) = close else {
        return line_end;
    };
    let length = rest[open.len()..].find(close);
    let end = length.map_or(text.len(), |length| start + open.len() + length);
    end.max(line_end)
}

/// Returns the part of a value to hide.
fn hidden(nature: SecretKind, text: &str, value: Range<usize>) -> Option<Range<usize>> {
    let written = &text[value.clone()];
    let quotes = ['"', '\''];
    let inner = written.trim_start_matches(quotes);
    let start = value.start + (written.len() - inner.len());
    let inner = inner.trim_end();
    let all = inner.strip_suffix(quotes).unwrap_or(inner);
    let all = start..start + all.len();
    if all.is_empty() || nature == SecretKind::Secret {
        return (!all.is_empty()).then_some(all);
    }
    let url = &text[all.clone()];
    let scheme = url.find("://").filter(|end| {
        let scheme = url[..*end].bytes();
        scheme.into_iter().all(|b| b.is_ascii_alphanumeric())
    });
    let begin = scheme.map_or(0, |end| end + "://".len());
    match url[begin..].rfind('@') {
        Some(end) => Some(all.start + begin..all.start + begin + end),
        None if is_host(&url[begin..]) => None,
        None => Some(all.start + begin..all.end),
    }
}

/// Returns whether a text without `@` is only a host and port, not a user and password: a digit
/// follows each colon.
pub(super) fn is_host(text: &str) -> bool {
    let mut parts = text.split(':').skip(1);
    text.starts_with('[') || parts.all(|part| part.starts_with(|c: char| c.is_ascii_digit()))
}

const PROXY: &str = "proxy";

/// Opening and closing delimiters of values that may span lines.
const CLOSED: &[(&str, &str)] = &[("\"\"\"", "\"\"\""), ("'''", "'''"), ("[", "]"), ("{", "}")];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::SECTIONS;

    fn shown(text: &str) -> String {
        starred(text, 0..text.len(), &secrets(text))
    }

    #[test]
    fn no_password_of_a_proxy_is_shown_however_it_is_mistyped() {
        for text in [
            "proxy = \"me:s3cret@proxy.corp:3128\"",
            "proxy = \"http:/me:s3cret@proxy.corp\"",
            "proxy = \"http:me:s3cret@proxy.corp\"",
            "proxy = \"//me:s3cret@proxy.corp\"",
            "proxy = \"http://me:a s3cret@proxy.corp\"",
            "proxy = \"http://me:a\\\"s3cret@proxy.corp\"",
            "proxy = \"http://me:s3cret\"",
            "proxy = me:s3cret@proxy.corp",
            "proxy me:s3cret@proxy.corp",
            "proxy: me:s3cret@proxy.corp",
            "https_proxy = \"me:s3cret@proxy.corp\"",
            "prxy = \"me:s3cret@proxy.corp\"",
            "aws = { region = \"x\", proxy = \"me:s3cret@proxy.corp\" }",
            "aws.proxy = \"me:s3cret@proxy.corp\"",
            "\"proxy\" = 'me:s3cret@proxy.corp'",
            "proxy = \"\"\"\nme:s3cret@proxy.corp\"\"\"",
            "proxy = [\n\"http://me:s3cret@proxy.corp\",\n]",
        ] {
            let shown = shown(text);
            assert!(!shown.contains("s3cret"), "{shown}");
            assert_eq!(shown.chars().count(), text.chars().count());
        }
    }

    #[test]
    fn what_is_called_like_a_secret_is_not_shown() {
        for text in [
            "aws_secret_access_key = \"s3cret\"",
            "aws_access_key_id = 1\naws_session_token = \"s3cret",
            "password = s3cret",
            "export AWS_SECRET_ACCESS_KEY=s3cret",
            "x = { api-key = \"s3cret\" }",
            "token = '''\n\ns3cret\n'''",
            "token = \"\"\"\ns3cret",
            "proxy.password = s3cret",
            "aws = { proxy = \"http://p\", token = \"s3cret\" }",
        ] {
            assert!(!shown(text).contains("s3cret"), "{}", shown(text));
        }
    }

    #[test]
    fn a_line_of_nothing_but_keys_is_read_to_its_end() {
        let text = "token=".repeat(100_000) + "\n" + &"proxy=".repeat(100_000);

        assert!(secrets(&text).iter().all(|secret| secret.end <= text.len()));
    }

    #[test]
    fn all_else_is_shown() {
        for text in [
            "proxy = \"proxy.corp:3128\"",
            "proxy = \"http://[::1]:3128/pac\"",
            "name = \"proxy\"",
            "token = \"\"\nname = \"db\"",
            "[proxy]\nkeep_alive = true",
        ] {
            assert_eq!(shown(text), text);
        }
        assert!(shown("token = \"x\"\nname = \"db\"").ends_with("\nname = \"db\""));
    }

    #[test]
    fn no_setting_but_the_proxy_is_called_like_a_secret() {
        let keys = SECTIONS.iter().flat_map(|section| section.keys());

        let hidden: Vec<_> = keys.filter(|key| nature(key).is_some()).collect();

        assert_eq!(hidden, [PROXY]);
    }
}
