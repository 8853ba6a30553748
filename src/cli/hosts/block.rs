//! The block of this program in a hosts file (hosts(5)).
//!
//! ```text
//!   127.0.0.1 localhost                     lines of others: every byte is kept
//!   # BEGIN ssm-proxyd hosts
//!   127.99.3.7 orders.internal              written by this program only
//!   # END ssm-proxyd hosts
//! ```
//!
//! Removing the block restores the file byte for byte, also one whose last line has no end.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::Range;

/// Where the block of a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// Bytes from the first to the last marker, with the line end of the latter.
    bytes: Range<usize>,
    /// The line end before the block belongs to it.
    has_ended_line: bool,
}

/// A block that cannot be recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DamagedBlock {
    #[error("line {0}: `# BEGIN ssm-proxyd hosts` without its `# END ssm-proxyd hosts`")]
    WithoutEnd(usize),
    #[error("line {0}: `# END ssm-proxyd hosts` without its `# BEGIN ssm-proxyd hosts`")]
    WithoutBegin(usize),
    #[error("line {0}: a second block of ssm-proxyd")]
    Second(usize),
}

/// A hosts file: its text and the place of the block.
#[derive(Clone, Debug)]
pub(super) struct HostsFile {
    text: Vec<u8>,
    place: Option<Place>,
}

impl HostsFile {
    /// Finds the block in a text.
    pub(super) fn new(text: Vec<u8>) -> Result<Self, DamagedBlock> {
        let place = find(&text)?;
        Ok(Self { text, place })
    }

    /// Returns the text with this block in place of the present one, else at the end.
    pub(super) fn with_block(&self, entries: &[Entry]) -> Vec<u8> {
        let (before, after, ends_line) = match &self.place {
            Some(Place {
                bytes,
                has_ended_line,
            }) => (
                &self.text[..bytes.start],
                &self.text[bytes.end..],
                *has_ended_line,
            ),
            None => {
                let is_ended = self.text.last().is_none_or(|last| *last == b'\n');
                (&self.text[..], &[][..], !is_ended)
            }
        };
        let end = self.line_end();
        let mut text = before.to_vec();
        if ends_line && self.place.is_none() {
            text.extend_from_slice(end.as_bytes());
        }
        text.extend_from_slice(block(entries, end, ends_line).as_bytes());
        text.extend_from_slice(after);
        text
    }

    /// Returns the text without the block; `None` if it has none.
    pub(super) fn without_block(&self) -> Option<Vec<u8>> {
        let Place {
            bytes,
            has_ended_line,
        } = self.place.clone()?;
        let (mut before, after) = (&self.text[..bytes.start], &self.text[bytes.end..]);
        if has_ended_line && after.is_empty() {
            let end = self.line_end().as_bytes();
            before = before.strip_suffix(end).unwrap_or(before);
        }
        Some([before, after].concat())
    }

    /// Returns the whole text.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Returns the lines outside of the block that have a name, by names in lower case: the number
    /// of the first of them.
    pub(super) fn other_lines(&self) -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        let own = self.place.as_ref().map(|place| place.bytes.clone());
        for line in lines(&self.text) {
            if own.as_ref().is_some_and(|own| own.contains(&line.start)) {
                continue;
            }
            let content = line.content.split(|byte| *byte == b'#').next();
            let content = String::from_utf8_lossy(content.unwrap_or_default());
            for name in content.split_ascii_whitespace().skip(1) {
                let name = name.strip_suffix('.').unwrap_or(name);
                found
                    .entry(name.to_ascii_lowercase())
                    .or_insert(line.number);
            }
        }
        found
    }

    fn line_end(&self) -> &'static str {
        let mut lines = lines(&self.text);
        let has_return = lines
            .next()
            .is_some_and(|line| line.content.ends_with(b"\r"));
        if has_return { "\r\n" } else { "\n" }
    }
}

/// A line of the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) address: Ipv4Addr,
    pub(super) name: String,
}

/// Returns the block with these lines.
pub(super) fn block(entries: &[Entry], line_end: &str, has_ended_line: bool) -> String {
    let begin = match has_ended_line {
        true => format!("{BEGIN}{ENDED_LINE}"),
        false => BEGIN.to_owned(),
    };
    let entries = entries
        .iter()
        .map(|entry| format!("{} {}", entry.address, entry.name));
    let lines = [begin].into_iter().chain(entries).chain([END.to_owned()]);
    lines.map(|line| line + line_end).collect()
}

/// A line of a text.
struct Line<'a> {
    /// From 1.
    number: usize,
    start: usize,
    end: usize,
    /// Without the line feed.
    content: &'a [u8],
}

fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut start = 0;
    let lines = text.split_inclusive(|byte| *byte == b'\n').enumerate();
    lines.map(move |(index, line)| {
        let end = start + line.len();
        let content = line.strip_suffix(b"\n").unwrap_or(line);
        let line = Line {
            number: index + 1,
            start,
            end,
            content,
        };
        start = end;
        line
    })
}

fn find(text: &[u8]) -> Result<Option<Place>, DamagedBlock> {
    let mut begin: Option<(usize, usize, bool)> = None;
    let mut found = None;
    for line in lines(text) {
        let content = line.content.trim_ascii();
        let ended = content.strip_suffix(ENDED_LINE.as_bytes());
        let is_begin = ended.unwrap_or(content) == BEGIN.as_bytes();
        match (is_begin, content == END.as_bytes(), &begin) {
            (true, _, Some((first, ..))) => return Err(DamagedBlock::WithoutEnd(*first)),
            (true, _, None) if found.is_some() => return Err(DamagedBlock::Second(line.number)),
            (true, _, None) => begin = Some((line.number, line.start, ended.is_some())),
            (false, true, None) => return Err(DamagedBlock::WithoutBegin(line.number)),
            (false, true, Some((_, start, has_ended_line))) => {
                found = Some(Place {
                    bytes: *start..line.end,
                    has_ended_line: *has_ended_line,
                });
                begin = None;
            }
            (false, false, _) => {}
        }
    }
    match begin {
        Some((number, ..)) => Err(DamagedBlock::WithoutEnd(number)),
        None => Ok(found),
    }
}

const BEGIN: &str = "# BEGIN ssm-proxyd hosts";
const END: &str = "# END ssm-proxyd hosts";

/// Follows [`BEGIN`] if the line before the block had no end.
const ENDED_LINE: &str = " (the line above had no end)";

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let entry = |last, name: &str| Entry {
            address: Ipv4Addr::new(127, 64, 0, last),
            name: name.to_owned(),
        };
        vec![entry(1, "a.internal"), entry(2, "b.internal")]
    }

    fn file(text: &[u8]) -> HostsFile {
        HostsFile::new(text.to_vec()).unwrap()
    }

    #[test]
    fn the_block_is_at_the_end_and_its_removal_restores_every_byte() {
        for text in [
            &b""[..],
            b"\n",
            b"127.0.0.1 localhost\n",
            b"127.0.0.1 localhost",
            b"127.0.0.1 localhost\r\n::1 localhost\r\n",
            b"127.0.0.1 localhost\r\n::1 localhost",
            b"127.0.0.1 localhost\n\r",
            b"\r",
            b"\xef\xbb\xbf# \xff\xfe\0\n\n\n",
        ] {
            let installed = file(text).with_block(&entries());

            let shown = String::from_utf8_lossy(&installed);
            assert!(installed.starts_with(text), "{shown}");
            assert!(shown.contains("127.64.0.2 b.internal"), "{shown}");
            let installed = file(&installed);
            assert_eq!(
                installed.with_block(&entries()),
                installed.text(),
                "{shown}"
            );
            let removed = installed.without_block().unwrap();
            assert_eq!(removed, text, "{shown}");
            assert_eq!(file(&removed).without_block(), None);
        }
    }

    /// Files of random lines, with parts of a block among them, are restored or refused.
    #[test]
    fn any_file_is_restored_or_refused() {
        const PARTS: [&str; 10] = [
            "\n",
            "\r\n",
            "\r",
            " ",
            BEGIN,
            END,
            ENDED_LINE,
            "127.0.0.1 localhost",
            "#",
            "\0",
        ];
        let mut state = 7_u64;
        let mut restored = 0;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..state % 9 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                text += PARTS[(state >> 33) as usize % PARTS.len()];
            }
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1)
                >> 1;
            let Ok(file) = HostsFile::new(text.clone().into_bytes()) else {
                continue;
            };

            let installed = HostsFile::new(file.with_block(&entries())).unwrap();
            let removed = installed.without_block().unwrap();

            match file.without_block() {
                None => assert_eq!(removed, text.as_bytes(), "{text:?}"),
                Some(without) => assert_eq!(removed, without, "{text:?}"),
            }
            restored += 1;
        }
        assert!(restored > 1_000, "{restored}");
    }

    #[test]
    fn a_block_is_replaced_where_it_is() {
        let text = b"a\n# BEGIN ssm-proxyd hosts  \r\n1 old\n\t# END ssm-proxyd hosts\nb";

        let replaced = file(text).with_block(&entries()[..1]);

        let expected =
            "a\n# BEGIN ssm-proxyd hosts\n127.64.0.1 a.internal\n# END ssm-proxyd hosts\nb";
        assert_eq!(String::from_utf8(replaced).unwrap(), expected);
        assert_eq!(file(text).without_block().unwrap(), b"a\nb");
    }

    #[test]
    fn lines_after_the_block_stay_lines() {
        let mut text = file(b"a").with_block(&entries());
        text.extend_from_slice(b"b");

        assert_eq!(file(&text).without_block().unwrap(), b"a\nb");
    }

    #[test]
    fn a_damaged_block_is_refused_with_its_line() {
        let (begin, end) = ("# BEGIN ssm-proxyd hosts\n", "# END ssm-proxyd hosts\n");
        for (text, error) in [
            (format!("a\n{begin}b\n"), DamagedBlock::WithoutEnd(2)),
            (format!("a\n{end}"), DamagedBlock::WithoutBegin(2)),
            (format!("{begin}{begin}{end}"), DamagedBlock::WithoutEnd(1)),
            (format!("{begin}{end}{end}"), DamagedBlock::WithoutBegin(3)),
            (format!("{begin}{end}{begin}{end}"), DamagedBlock::Second(3)),
            (
                format!("{begin}# END ssm-proxyd hosts1.2.3.4 x"),
                DamagedBlock::WithoutEnd(1),
            ),
        ] {
            assert_eq!(HostsFile::new(text.into_bytes()).unwrap_err(), error);
        }
    }

    #[test]
    fn names_of_other_lines_are_found_without_the_block() {
        let text = b"# 1.2.3.4 no\n10.0.0.1\tDb.Internal. db # c.internal\r\n::1 db\n";
        let text = file(text).with_block(&entries());

        let lines = file(&text).other_lines();

        let expected = [("db", 2), ("db.internal", 2)];
        assert_eq!(
            lines,
            expected.map(|(name, line)| (name.to_owned(), line)).into()
        );
    }
}
