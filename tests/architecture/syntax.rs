//! A parser for as much of Rust's grammar as is needed to find the paths that a file names.
//!
//! ```text
//!     text ──▶ tokens (no comments, no literals; those under `cfg(test)` marked) ──▶ paths
//! ```
//!
//! A `use` tree becomes one path for each leaf, so that `use std::{fs, io::Write}` is `std::fs` and
//! `std::io::Write`. Macros are not expanded; clippy checks what they generate.

/// A word or a punctuation mark.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) line: usize,
    /// False in an item under `#[cfg(test)]`.
    pub(super) ships: bool,
}

/// A path as written in code, `a::b::c`; a single name is a path of one segment.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// Without a leading `::`; an empty segment replaces the `<T>` of `<T>::`, and `*` is a glob.
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    pub(super) ships: bool,
    pub(super) import: Import,
    /// The number of modules within the file that enclose it.
    pub(super) depth: usize,
}

impl Path {
    /// The segments, for matching.
    pub(super) fn names(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }
}

/// True if a path is part of a `use`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Import {
    No,
    Private,
    Public,
}

/// Splits a text into tokens; comments, literals and lifetimes are skipped.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let len = match ignored(rest) {
            Some(len) => len,
            None => {
                let len = token(rest);
                let text = rest[..len].trim_start_matches("r#");
                let ships = true;
                tokens.push(Token { text, line, ships });
                len
            }
        };
        line += rest[..len].matches('\n').count();
        rest = &rest[len..];
    }
    mark_tests(&mut tokens);
    tokens
}

/// True if the next tokens are these.
pub(super) fn starts_with(tokens: &[Token<'_>], names: &[&str]) -> bool {
    tokens.len() >= names.len() && tokens.iter().zip(names).all(|(t, name)| t.text == *name)
}

/// Every path of the tokens; those of `use` trees leaf by leaf.
pub(super) fn paths(tokens: &[Token<'_>]) -> Vec<Path> {
    let mut reader = Reader {
        tokens,
        at: 0,
        import: Import::No,
        braces: Vec::new(),
        paths: Vec::new(),
    };
    while reader.at < tokens.len() {
        reader.step();
    }
    reader.paths
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    import: Import,
    /// For each open brace, true if it is the brace of a module.
    braces: Vec<bool>,
    paths: Vec<Path>,
}

impl Reader<'_> {
    fn step(&mut self) {
        match self.peek(0) {
            "use" => self.begin_use(),
            ";" => self.import = Import::No,
            "{" => self.braces.push(self.opens_module()),
            "}" => drop(self.braces.pop()),
            "::" if self.follows(">") => return self.tree_after(vec![String::new()]),
            "::" => return self.tree_after(Vec::new()),
            name if is_name(name) => return self.tree(Vec::new()),
            _ => {}
        }
        self.at += 1;
    }

    /// The text of the token at an offset; empty after the last one.
    fn peek(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |t| t.text)
    }

    fn follows(&self, name: &str) -> bool {
        self.at > 0 && self.tokens[self.at - 1].text == name
    }

    fn begin_use(&mut self) {
        let public = self.follows("pub") || self.follows(")");
        self.import = if public {
            Import::Public
        } else {
            Import::Private
        };
    }

    fn opens_module(&self) -> bool {
        self.at >= 2 && self.tokens[self.at - 2].text == "mod"
    }

    /// A path whose first `::` is the next token.
    fn tree_after(&mut self, prefix: Vec<String>) {
        self.at += 1;
        if is_name(self.peek(0)) {
            self.tree(prefix);
        }
    }

    /// Parses a path, and every leaf if it ends in a group.
    fn tree(&mut self, mut prefix: Vec<String>) {
        loop {
            if self.peek(0) == "{" {
                return self.group(&prefix);
            }
            let name = self.tokens[self.at];
            prefix.push(name.text.to_owned());
            self.at += 1;
            let next = self.peek(1);
            if self.peek(0) != "::" || !(is_name(next) || matches!(next, "{" | "*")) {
                return self.leaf(prefix, name);
            }
            self.at += 1;
        }
    }

    fn group(&mut self, prefix: &[String]) {
        self.at += 1;
        while self.at < self.tokens.len() {
            match self.peek(0) {
                "}" => {
                    self.at += 1;
                    return;
                }
                "as" => self.at += 2,
                name if is_name(name) || matches!(name, "*" | "{") => self.tree(prefix.to_vec()),
                _ => self.at += 1,
            }
        }
    }

    fn leaf(&mut self, segments: Vec<String>, last: Token<'_>) {
        self.paths.push(Path {
            segments,
            line: last.line,
            ships: last.ships,
            import: self.import,
            depth: self.braces.iter().filter(|module| **module).count(),
        });
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn mark_tests(tokens: &mut [Token<'_>]) {
    let mut rest = tokens;
    while !rest.is_empty() {
        let test = starts_with(rest, &["#", "[", "cfg", "(", "test", ")", "]"]);
        let len = if test { item(rest) } else { 1 };
        let (head, tail) = rest.split_at_mut(len);
        head.iter_mut().for_each(|token| token.ships = !test);
        rest = tail;
    }
}

/// The number of tokens of the item, statement, match arm, variant or field that begins here with
/// its attributes.
fn item(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0usize;
    let mut is_item = false;
    for (at, token) in tokens.iter().enumerate() {
        is_item |= depth == 0 && ITEMS.contains(&token.text);
        match token.text {
            "(" | "[" | "{" => depth += 1,
            // The end of the enclosing enum, struct or match.
            "}" if depth == 0 => return at,
            "," if depth == 0 && !is_item => return at + 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Words that begin an item, in which a comma may be between generic parameters.
const ITEMS: &[&str] = &[
    "fn", "impl", "struct", "enum", "trait", "type", "mod", "use", "const", "static",
];

/// The length of the word or mark at the beginning of a text.
fn token(rest: &str) -> usize {
    let raw = if rest.starts_with("r#") { 2 } else { 0 };
    let name = rest[raw..]
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(rest.len() - raw);
    match rest.chars().next() {
        _ if name > 0 => raw + name,
        _ if rest.starts_with("::") => 2,
        first => first.map_or(1, char::len_utf8),
    }
}

/// The length of white space, a comment, a literal or a lifetime at the beginning of a text.
fn ignored(rest: &str) -> Option<usize> {
    let blank = rest.len() - rest.trim_start().len();
    if blank > 0 {
        return Some(blank);
    }
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    block_comment(rest)
        .or_else(|| raw_string(rest))
        .or_else(|| string(rest))
        .or_else(|| quote(rest))
}

fn block_comment(rest: &str) -> Option<usize> {
    let mut at = rest.strip_prefix("/*").map(|_| 2)?;
    let mut depth = 1;
    while depth > 0 && at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        match tail {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    Some(at)
}

fn raw_string(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r"]
        .iter()
        .find(|prefix| rest.starts_with(**prefix))?;
    let fence = rest[prefix.len()..].trim_start_matches('#');
    let hashes = rest.len() - prefix.len() - fence.len();
    let body = fence.strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).map_or(body.len(), |at| at + close.len());
    Some(rest.len() - body.len() + end)
}

fn string(rest: &str) -> Option<usize> {
    let body = rest
        .strip_prefix(['b', 'c'])
        .unwrap_or(rest)
        .strip_prefix('"')?;
    Some(rest.len() - body.len() + closing(body, b'"'))
}

/// A character literal or a lifetime.
fn quote(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('\'')?;
    let opening = rest.len() - body.len();
    let mut chars = body.chars();
    let first = chars.next()?;
    if first == '\\' || chars.next() == Some('\'') {
        return Some(opening + closing(body, b'\''));
    }
    Some(opening + token(body))
}

/// The number of bytes up to the closing mark and including it; a backslash escapes the next byte.
fn closing(body: &str, mark: u8) -> usize {
    let mut hidden = false;
    for (at, byte) in body.bytes().enumerate() {
        if byte == mark && !hidden {
            return at + 1;
        }
        hidden = byte == b'\\' && !hidden;
    }
    body.len()
}

#[test]
fn comments_literals_and_lifetimes_are_not_tokens() {
    let text = r##"
        // crate::a
        /* outer /* crate::b */ crate::c */
        let x: &'static str = "crate::d \" crate::e"; let y = b'\''; let z = '"';
        let w = r#"crate::f " "#; let v = br"\"; crate::g
    "##;

    let names: Vec<_> = tokens(text).iter().map(|t| t.text).collect();

    assert_eq!(
        names.join(" "),
        "let x : & str = ; let y = ; let z = ; let w = ; let v = ; crate :: g"
    );
    assert_eq!(tokens(text).last().map(|token| token.line), Some(5));
}

#[test]
fn a_use_tree_is_one_path_for_each_leaf() {
    let text = "pub(crate) use a::{b, c::{self, d as e, *}}; ::f::g(); <T>::h::i(); j::<K>::l()";

    let read = paths(&tokens(text));

    let joined: Vec<_> = read.iter().map(|path| path.segments.join("::")).collect();
    let expected = [
        "pub",
        "crate",
        "a::b",
        "a::c::self",
        "a::c::d",
        "a::c::*",
        "f::g",
        "T",
        "::h::i",
        "j",
        "K",
        "::l",
    ];
    assert_eq!(joined, expected);
    assert_eq!(read[2].import, Import::Public);
    assert_eq!(read[6].import, Import::No);
}

#[test]
fn test_items_are_not_shipped_code() {
    let text = "a; #[cfg(test)] #[expect(x)] mod tests { use b; } #[cfg(test)] mod c; d { e; }";

    let tokens = tokens(text);

    let kept = tokens.iter().filter(|token| token.ships);
    let kept: Vec<_> = kept.map(|token| token.text).collect();
    assert_eq!(kept.join(" "), "a ; d { e ; }");
}

#[test]
fn a_test_variant_arm_or_field_ends_where_the_next_begins() {
    let variants = "enum E { A, #[cfg(test)] B(x, y), C, #[cfg(test)] D } f; ";
    let arms = "match e { #[cfg(test)] B => b.c(d), C => c, #[cfg(test)] D => { d } E => e }";
    let items = " #[cfg(test)] impl<A, B> C<A> for D { e, f } #[cfg(test)] if x { y } z;";

    let text = [variants, arms, items].concat();
    let tokens = tokens(&text);

    let kept = tokens.iter().filter(|token| token.ships);
    let kept: Vec<_> = kept.map(|token| token.text).collect();
    let expected = "enum E { A , C , } f ; match e { C = > c , E = > e } z ;";
    assert_eq!(kept.join(" "), expected);
}
