//! The table of targets.

use std::array;

use crate::daemon::ListedTarget;
use crate::quantity;
use crate::session::unix_seconds;

/// Formats targets as a table with aligned columns. Columns without any text are omitted. Texts that
/// others choose are cut, further if the terminal has this `width`; an id is never cut, because it is
/// copied.
pub(in crate::cli) fn format(targets: &[ListedTarget], width: Option<usize>) -> String {
    let now = i64::try_from(unix_seconds()).unwrap_or(i64::MAX);
    let rows: Vec<_> = targets.iter().map(|target| row(target, now)).collect();
    let widths = widths(&rows, width);
    let head = HEAD.map(str::to_owned);
    let lines = std::iter::once(&head).chain(&rows).map(|row| {
        let cells = row.iter().zip(widths).filter(|(_, width)| *width > 0);
        let cells: Vec<_> = cells.map(|(cell, width)| padded(cell, width)).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    });
    lines.collect()
}

type Row = [String; HEAD.len()];

fn row(target: &ListedTarget, now: i64) -> Row {
    let ListedTarget {
        id,
        name,
        platform,
        agent_version,
        status,
        is_online: _,
        last_ping,
    } = target;
    let last_ping = last_ping.map_or_else(String::new, |time| age(now.saturating_sub(time)));
    let [name, platform, agent_version, status] =
        [name, platform, agent_version, status].map(|text| cut(text, MAX_CELL));
    let id = id.to_string();
    [id, name, platform, agent_version, status, last_ping]
}

/// Returns the widths of all columns; 0 of those that are omitted.
fn widths(rows: &[Row], limit: Option<usize>) -> [usize; HEAD.len()] {
    let mut widths: [usize; HEAD.len()] = array::from_fn(|column| {
        let widest = rows.iter().map(|row| columns(&row[column])).max();
        match widest.unwrap_or_default() {
            0 => 0,
            widest => widest.max(HEAD[column].len()),
        }
    });
    let Some(limit) = limit else {
        return widths;
    };
    for (column, least) in NARROWED {
        let total = widths.iter().filter(|width| **width > 0);
        let total: usize = total.map(|width| width + 2).sum();
        let excess = total.saturating_sub(2).saturating_sub(limit);
        let narrow = widths[column].saturating_sub(excess);
        widths[column] = narrow.max(least.min(widths[column]));
    }
    widths
}

/// Returns the text with exactly this width, cut or padded.
fn padded(text: &str, width: usize) -> String {
    let text = match columns(text) > width {
        true => cut(text, width.saturating_sub(1)),
        false => text.to_owned(),
    };
    let missing = width.saturating_sub(columns(&text));
    text + &" ".repeat(missing)
}

/// Cuts a text after this many columns of the terminal, and marks the cut.
fn cut(text: &str, max: usize) -> String {
    let mut width = 0;
    let mut fitting = text.char_indices().skip_while(|(_, c)| {
        width += columns_of(*c);
        width <= max
    });
    match fitting.next() {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

/// Returns the width on a terminal.
fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(c: char) -> usize {
    match u32::from(c) {
        // Combining marks.
        0x300..=0x36f => 0,
        // The wide characters of East Asia, and pictures.
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Formats how long ago something was.
fn age(seconds: i64) -> String {
    // The clock of AWS may be ahead.
    quantity::time(u64::try_from(seconds).unwrap_or_default())
}

const HEAD: [&str; 6] = ["ID", "NAME", "PLATFORM", "AGENT", "STATUS", "LAST PING"];

/// The columns that are narrowed for a terminal, in this order, and their least widths: platform and
/// name.
const NARROWED: [(usize, usize); 2] = [(2, 8), (1, 12)];

/// Maximum width of a cell, not counting the `…` of a cut.
const MAX_CELL: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> ListedTarget {
        ListedTarget {
            id: "i-0123456789abcdef0".into(),
            name: name.into(),
            platform: "Amazon Linux 2023".into(),
            agent_version: "3.3.987.0".into(),
            status: "Online".into(),
            is_online: true,
            last_ping: Some(0),
        }
    }

    /// The position of the status in each row.
    fn status_columns(table: &str) -> Vec<usize> {
        let lines = table.lines().skip(1);
        let begin = |line: &str| columns(&line[..line.rfind("Online").unwrap()]);
        lines.map(begin).collect()
    }

    #[test]
    fn columns_are_aligned_and_cut() {
        let long = "a".repeat(100);
        let table = format(&[target("bastion"), target(&long)], None);

        let lines: Vec<_> = table.lines().collect();
        let platform = lines[0].find("PLATFORM").unwrap();
        assert_eq!(lines.len(), 3);
        assert!(lines[1][platform..].starts_with("Amazon"), "{table}");
        let shown = format!("{}…", &long[..MAX_CELL]);
        assert!(lines[2].contains(&shown), "{table}");
        assert!(lines.iter().all(|line| !line.ends_with(' ')), "{table}");
    }

    #[test]
    fn a_narrow_terminal_narrows_platform_and_name() {
        let host = "ip-10-0-1-23.eu-west-1.compute.internal";
        let targets = [target(host)];

        for width in [80, 90, 100, 110, 120] {
            let table = format(&targets, Some(width));

            let widest = table.lines().map(columns).max().unwrap();
            assert!(widest <= width, "{widest}\n{table}");
            assert!(table.contains("ip-10-0-1-2"), "{table}");
        }
        let table = format(&targets, Some(200));
        assert_eq!(table, format(&targets, None));
        let table = format(&targets, Some(1));
        assert!(table.contains("i-0123456789abcdef0  ip-10-0-1-2…  Amazon…"));
    }

    #[test]
    fn wide_and_combining_characters_are_aligned() {
        let mut targets = ["日本語サーバ", "bu\u{308}cher", "größe", "x"].map(target);
        for target in &mut targets {
            target.last_ping = None;
        }

        let table = format(&targets, None);

        let begins = status_columns(&table);
        assert!(begins.iter().all(|begin| *begin == begins[0]), "{table}");
        assert_eq!(cut("日本語", 3), "日…");
    }

    #[test]
    fn columns_without_any_text_are_omitted() {
        let mut task = target("web/app");
        task.agent_version = "".into();
        task.last_ping = None;

        let table = format(&[task], None);

        let head: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(head, ["ID", "NAME", "PLATFORM", "STATUS"]);
    }

    #[test]
    fn an_age_has_fitting_units() {
        let ages = [-5, 59, 119, 120, 7199, 172_800].map(age);

        let expected = ["0s", "59s", "1m 59s", "2m", "1h 59m", "2d"];
        assert_eq!(ages, expected);
    }
}
