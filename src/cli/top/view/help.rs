//! The page that describes the keys.

use ratatui::style::Style;

use super::look::TITLE;
use super::rows::Rows;

/// Draws the page.
pub(super) fn render(rows: &mut Rows<'_>) {
    rows.text("Keys", TITLE);
    for (keys, what) in KEYS {
        rows.text(&format!("  {keys:<20} {what}"), Style::new());
    }
    rows.text("", Style::new());
    for line in NOTES {
        rows.text(line, Style::new());
    }
}

const KEYS: &[(&str, &str)] = &[
    ("Up, Down, k, j", "select a row"),
    ("PageUp, PageDown", "move by a page"),
    ("Home, End, g, G", "first or last row"),
    ("Enter, Right, l", "connections of the selected forward"),
    ("Esc, Left, h", "back to the forwards"),
    ("s", "sort by the next column"),
    ("r", "reverse the order"),
    (
        "x, Delete",
        "close the selected connection, after a question",
    ),
    ("Ctrl-L", "draw the screen again"),
    ("Ctrl-Z", "suspend; `fg` continues"),
    ("q, Ctrl-C, Esc", "quit"),
];

const NOTES: &[&str] = &[
    "Rates are averages over 5 s. The bars show both directions together over",
    "2 minutes, each row on its own scale; on the page of a forward, 5 minutes.",
];
