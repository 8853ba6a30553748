//! Redaction: finds lines and values that may hold a secret and must not be shown.
//!
//! Works on the plain text, because much of what is displayed is not valid TOML. Secret are the
//! value of a key that is named like a secret or like a proxy, and a user and password before `@`.
//! When in doubt, text is not shown.

use crate::config::suggest::closest_match;

/// Shown instead of a value that may hold a secret.
pub(super) const NOT_SHOWN: &str = "(not shown)";

/// Returns for each line of a text whether it may hold a secret. After a secret that may continue
/// on the next line, and inside of multi-line strings, all lines do.
pub(super) fn secret_lines(text: &str) -> Vec<bool> {
    let mut is_rest_secret = false;
    let lines = text.split('\n').map(|line| {
        let is_comment = line.trim_start().starts_with('#');
        let (code, comment) = line.split_once('#').unwrap_or((line, ""));
        let is_header = code.trim() == PROXY_HEADER;
        let is_secret = match is_header {
            true => is_secret_line(comment),
            false => is_comment || is_secret_line(line),
        };
        let is_secret = is_rest_secret || is_secret;
        let is_block = line.contains("\"\"\"") || line.contains("'''");
        let is_open = is_block || is_secret && !is_complete(line);
        is_rest_secret |= !is_comment && !is_header && is_open;
        is_secret
    });
    lines.collect()
}

/// Returns whether a value may hold a secret.
pub(super) fn is_secret_value(value: &str) -> bool {
    has_user(value) || (value.contains('=') && is_secret_line(value))
}

fn is_secret_line(line: &str) -> bool {
    let (first, others) = line.split_once('=').unwrap_or((line, ""));
    let keys = others.rsplit_once('=').map_or("", |(keys, _)| keys);
    let keys = keys
        .split('=')
        .filter_map(|key| key.rsplit([',', '{']).next());
    let comments = line.split('#').skip(1);
    let mut names = [first].into_iter().chain(keys).chain(comments);
    has_user(line) || names.any(is_secret_name)
}

/// Returns whether a text has an `@` that may follow a password, unlike that of an abstract socket.
fn has_user(text: &str) -> bool {
    let at = text.replace("unix:@", "").rfind('@');
    at.is_some_and(|at| at > 0)
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
    SECRETS.iter().any(|secret| name.contains(secret))
        || words.any(|word| closest_match(word, ["proxy", "password", "token"]).is_some())
}

/// Returns whether the value of a line surely ends with it: a string, or words outside of brackets.
fn is_complete(line: &str) -> bool {
    let line = line.trim();
    let value = line.split_once('=').map_or(line, |(_, value)| value.trim());
    let is_string = ['"', '\''].iter().any(|quote| {
        let inner = value.strip_prefix(*quote);
        let inner = inner.and_then(|inner| inner.strip_suffix(*quote));
        inner.is_some_and(|inner| !inner.contains(*quote))
    });
    let is_quoted = line.matches(['"', '\'']).count().is_multiple_of(2);
    let is_flat = !line.contains(['[', '{']) && line.ends_with(char::is_alphanumeric);
    is_string || (is_quoted && is_flat)
}

/// A header, which is no key with the URL of a proxy.
const PROXY_HEADER: &str = "[[proxy]]";

/// What names of secrets contain, and `proxy`, whose value may have a password.
const SECRETS: &[&str] = &[
    "proxy",
    "secret",
    "pass",
    "pwd",
    "token",
    "credential",
    "key",
    "auth",
    "signature",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::SECTIONS;

    #[test]
    fn a_line_that_may_hold_a_secret_is_found() {
        for text in [
            "proxy = \"me:s3cret@proxy.corp:3128\"",
            "proxy = \"http://me:s3cret\"",
            "proxy me:s3cret",
            "proxy: s3cret",
            "https_proxy = \"s3cret\"",
            "prxy = \"s3cret\"",
            "aws = { region = \"x\", proxy = \"s3cret\" }",
            "aws.proxy = \"s3cret\"",
            "\"proxy\" = 's3cret'",
            "proxy = \"\"\"\ns3cret",
            "proxy = [\n\"http://s3cret\",\n]",
            "aws_session_token = \"s3cret",
            "aws_access_key_id = 1\nx = { api-key = \"s3cret\" }",
            "export AWS_SECRET_ACCESS_KEY=s3cret",
            "token = '''\n\ns3cret\n'''",
            "token =\n\"s3cret\"",
            "token = [ \"]\",\n\n\"s3cret\" ]",
            "[credentials]\nvalue = \"s3cret\"",
            "password: |\n  s3cret",
            "{ \"token\": {\n\"value\": \"s3cret\"",
            "remote = \"\"\"\npostgres://me:\ns3cret@db\"\"\"",
            "remote = \"db:1?user=me&password=s3cret\"",
            "x = \"s3cret@host\" # =",
            "token = \"a\r\ns3cret\"",
            "listen = 1 # password s3cret",
            "# s3cret",
            "[[proxy]] # password s3cret",
            "[[proxy]] # me:s3cret@host",
            "token = [ \"]\",\n[[proxy]] # a\n\"s3cret\" ]",
        ] {
            let lines = text.split('\n').zip(secret_lines(text));
            let shown: Vec<_> = lines.filter(|(_, is_secret)| !is_secret).collect();
            assert!(
                !shown.iter().any(|(line, _)| line.contains("s3cret")),
                "{shown:?}"
            );
        }
    }

    #[test]
    fn lines_without_secrets_are_shown() {
        for text in [
            "name = \"proxy\"",
            "remote = \"keycloak.proxy-1.rds.amazonaws.com:5432\"",
            "target = { tags = { Name = \"keycloak\", Env = \"prod\" } }",
            "listen = \"unix:@db\"",
            "listen = 1 # the database",
            "[[proxy]]",
            "[[proxy]] # the database",
            "[[proxy]]# \"\"\"",
        ] {
            assert_eq!(secret_lines(text), [false], "{text}");
        }
        for text in [
            "proxy = \"http://p:1\" # a",
            "proxy = 'http://[::1]:1'",
            "token = a",
            "# a key.",
            "[[proxy]] # a key (",
        ] {
            assert_eq!(secret_lines(&format!("{text}\r\nname = 1")), [true, false]);
        }
        let keys = SECTIONS.iter().flat_map(|section| section.keys());
        let hidden: Vec<_> = keys.filter(|key| is_secret_name(key)).collect();
        assert_eq!(hidden, ["proxy"]);
    }

    #[test]
    fn a_value_with_a_password_is_a_secret() {
        for value in ["postgres://me:s3/cret@db", "me:s3cret@db", "a?token=s3cret"] {
            assert!(is_secret_value(value), "{value}");
        }
        for value in ["keycloak", "@db", "unix:@db", "@", "a=b", ""] {
            assert!(!is_secret_value(value), "{value}");
        }
    }
}
