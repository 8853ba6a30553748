//! Columns: which fit into the width of the screen, and text that fits into them.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::look::{SORTED, TITLE};

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column<K> {
    pub(super) kind: K,
    pub(super) title: &'static str,
    /// Width below which the column is omitted.
    pub(super) min: usize,
    /// Width beyond which it does not grow.
    pub(super) max: usize,
    /// Its content is aligned to the right.
    pub(super) is_number: bool,
    /// Columns with a lower number are kept longer, and grow first.
    pub(super) priority: u8,
}

/// A column and its width.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<K> {
    pub(super) column: Column<K>,
    /// Distance from the begin of the line.
    pub(super) x: usize,
    pub(super) width: usize,
}

/// Chooses the columns that fit into `width`. The one with the lowest priority number is always
/// there.
pub(super) fn place<K: Copy>(columns: &[Column<K>], width: usize) -> Vec<Placed<K>> {
    let mut by_priority: Vec<usize> = (0..columns.len()).collect();
    by_priority.sort_by_key(|index| columns[*index].priority);
    let mut widths: Vec<Option<usize>> = vec![None; columns.len()];
    let mut left = width;
    for (place, index) in by_priority.iter().enumerate() {
        let column = &columns[*index];
        let needed = column.min + if place == 0 { 0 } else { GAP };
        if place > 0 && needed > left {
            break;
        }
        widths[*index] = Some(column.min.min(width));
        left = left.saturating_sub(needed);
    }
    for index in by_priority {
        let Some(width) = &mut widths[index] else {
            continue;
        };
        let growth = columns[index].max.saturating_sub(*width).min(left);
        *width += growth;
        left -= growth;
    }
    let mut x = 0;
    let placed = columns.iter().zip(widths).filter_map(|(column, width)| {
        let width = width?;
        let begin = x;
        x += width + GAP;
        Some(Placed {
            column: *column,
            x: begin,
            width,
        })
    });
    placed.collect()
}

/// Returns the line with the titles; the one of the sorted column is underlined.
pub(super) fn head<K: Copy + PartialEq>(
    placed: &[Placed<K>],
    sorted: Option<K>,
    ellipsis: &str,
) -> Line<'static> {
    let cell = |one: &Placed<K>| {
        let is_sorted = Some(one.column.kind) == sorted;
        let style = if is_sorted { SORTED } else { TITLE };
        (one.column.title.to_owned(), style)
    };
    spans(placed, cell, ellipsis)
}

/// Returns a line of a table.
pub(super) fn line<K: Copy>(
    placed: &[Placed<K>],
    cell: impl Fn(K) -> (String, Style),
    ellipsis: &str,
) -> Line<'static> {
    spans(placed, |one| cell(one.column.kind), ellipsis)
}

fn spans<K>(
    placed: &[Placed<K>],
    cell: impl Fn(&Placed<K>) -> (String, Style),
    ellipsis: &str,
) -> Line<'static> {
    let mut spans = Vec::new();
    for one in placed {
        if !spans.is_empty() {
            spans.push(Span::raw(" ".repeat(GAP)));
        }
        let (text, style) = cell(one);
        let text = match one.column.is_number {
            true => aligned_right(&text, one.width, ellipsis),
            false => aligned_left(&text, one.width, ellipsis),
        };
        spans.push(Span::styled(text, style));
    }
    Line::from(spans)
}

/// Returns the number of cells that a text occupies.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Cuts a text to a width. A character of two cells is not split.
pub(super) fn cut(text: &str, max: usize, ellipsis: &str) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    let mut left = max.saturating_sub(width(ellipsis));
    let mut kept = String::new();
    let span = Span::raw(text);
    for grapheme in span.styled_graphemes(Style::default()) {
        let Some(rest) = left.checked_sub(width(grapheme.symbol)) else {
            break;
        };
        left = rest;
        kept += grapheme.symbol;
    }
    if width(ellipsis) <= max {
        kept += ellipsis;
    }
    kept
}

fn aligned_left(text: &str, to: usize, ellipsis: &str) -> String {
    let mut text = cut(text, to, ellipsis);
    text += &" ".repeat(to.saturating_sub(width(&text)));
    text
}

fn aligned_right(text: &str, to: usize, ellipsis: &str) -> String {
    let text = cut(text, to, ellipsis);
    " ".repeat(to.saturating_sub(width(&text))) + &text
}

/// Cells between two columns.
const GAP: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column<char>; 3] = [
        column('a', 4, 10, 0),
        column('b', 6, 6, 2),
        column('c', 3, 20, 1),
    ];

    const fn column(kind: char, min: usize, max: usize, priority: u8) -> Column<char> {
        Column {
            kind,
            title: "",
            min,
            max,
            is_number: false,
            priority,
        }
    }

    fn widths(width: usize) -> Vec<(char, usize, usize)> {
        let placed = place(&COLUMNS, width);
        let facts = placed.iter().map(|one| (one.column.kind, one.x, one.width));
        facts.collect()
    }

    #[test]
    fn columns_that_do_not_fit_are_omitted_and_the_others_grow() {
        assert_eq!(widths(0), [('a', 0, 0)]);
        assert_eq!(widths(3), [('a', 0, 3)]);
        assert_eq!(widths(7), [('a', 0, 7)]);
        assert_eq!(widths(9), [('a', 0, 5), ('c', 6, 3)]);
        assert_eq!(widths(15), [('a', 0, 4), ('b', 5, 6), ('c', 12, 3)]);
        assert_eq!(widths(99), [('a', 0, 10), ('b', 11, 6), ('c', 18, 20)]);
    }

    #[test]
    fn a_text_is_cut_to_its_width_in_cells() {
        for (text, max, expected) in [
            ("db", 2, "db"),
            ("orders", 4, "ord…"),
            ("漢字漢字", 8, "漢字漢字"),
            ("漢字漢字", 6, "漢字…"),
            ("漢字漢字", 4, "漢…"),
            ("漢字", 1, "…"),
            ("漢字", 0, ""),
            ("e\u{301}e\u{301}", 2, "e\u{301}e\u{301}"),
        ] {
            assert_eq!(cut(text, max, "…"), expected, "{text} in {max}");
        }
        assert_eq!(aligned_left("漢", 4, "…"), "漢  ");
        assert_eq!(aligned_right("漢", 4, "…"), "  漢");
        assert_eq!(aligned_left("漢字漢", 4, "…"), "漢… ");
        assert_eq!(cut("orders", 4, "~"), "ord~");
    }
}
