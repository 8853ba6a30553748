//! Text in the cells of a terminal: wide characters take two, combining ones none.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Returns the number of cells that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// Returns the beginning of a text that fits in `max` cells.
pub(super) fn cut(text: &str, max: usize) -> String {
    let mut left = max;
    let fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    text.chars().take_while(fits).collect()
}

/// Returns a text filled up to `cells`.
pub(super) fn pad(text: &str, cells: usize, to_the_right: bool) -> String {
    let space = " ".repeat(cells.saturating_sub(width(text)));
    match to_the_right {
        true => format!("{space}{text}"),
        false => format!("{text}{space}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_and_combining_characters_are_counted_in_cells() {
        assert_eq!(width("db"), 2);
        assert_eq!(width("データ"), 6);
        assert_eq!(width("e\u{301}"), 1);
        assert_eq!(pad("データ", 8, false), "データ  ");
        assert_eq!(pad("データ", 8, true), "  データ");
        assert_eq!(pad("データ", 3, true), "データ");
    }

    #[test]
    fn a_text_is_cut_to_the_cells_of_the_terminal() {
        assert_eq!(cut("データ", 5), "デー");
        assert_eq!(cut("データ", 6), "データ");
        assert_eq!(cut("e\u{301}a", 1), "e\u{301}");
        assert_eq!(cut("abc", 0), "");
    }
}
