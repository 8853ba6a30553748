//! Encodes the difference between two screens as ECMA-48 control sequences, which every terminal
//! but a dumb one has.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell, CellWidth};
use ratatui::style::{Color, Modifier};

/// Returns the bytes that change a terminal from one screen to the next.
///
/// Without `unicode`, characters outside of ASCII are replaced by question marks.
pub(crate) fn encode(before: &Buffer, after: &Buffer, unicode: bool) -> String {
    let mut text = String::new();
    let mut style = Attributes::default();
    let mut next = None;
    for (x, y, cell) in before.diff_iter(after) {
        if next != Some((x, y)) {
            // Positions begin with 1.
            push(&mut text, format_args!("\x1b[{};{}H", y + 1, x + 1));
        }
        let wanted = Attributes::of(cell);
        if wanted != style {
            wanted.select(&mut text);
            style = wanted;
        }
        match unicode || cell.symbol().is_ascii() {
            true => text += cell.symbol(),
            false => text.extend(std::iter::repeat_n('?', cell.cell_width().into())),
        }
        // A terminal may advance differently over a wide or combined character.
        next = cell.symbol().is_ascii().then_some((x + 1, y));
    }
    if style != Attributes::default() {
        text += RESET;
    }
    text
}

fn push(text: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _ = text.write_fmt(part);
}

/// Colour and modifiers of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attributes {
    colour: Color,
    modifier: Modifier,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            colour: Color::Reset,
            modifier: Modifier::empty(),
        }
    }
}

impl Attributes {
    fn of(cell: &Cell) -> Self {
        Self {
            colour: cell.fg,
            modifier: cell.modifier,
        }
    }

    fn select(self, text: &mut String) {
        text.push_str("\x1b[0");
        for (modifier, code) in MODIFIERS {
            if self.modifier.contains(*modifier) {
                push(text, format_args!(";{code}"));
            }
        }
        let colour = COLOURS.iter().find(|(colour, _)| *colour == self.colour);
        if let Some((_, code)) = colour {
            push(text, format_args!(";{code}"));
        }
        text.push('m');
    }
}

const MODIFIERS: &[(Modifier, u8)] = &[
    (Modifier::BOLD, 1),
    (Modifier::DIM, 2),
    (Modifier::UNDERLINED, 4),
    (Modifier::REVERSED, 7),
];

/// The colours that are used.
const COLOURS: &[(Color, u8)] = &[
    (Color::Red, 31),
    (Color::Green, 32),
    (Color::Yellow, 33),
    (Color::Cyan, 36),
];

const RESET: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    fn encoded(before: &str, after: &str, style: Style, unicode: bool) -> String {
        let [before, mut after] = [before, after].map(|line| Buffer::with_lines([line]));
        after.set_style(after.area, style);
        encode(&before, &after, unicode)
    }

    #[test]
    fn only_changes_are_encoded() {
        for (before, after, expected) in [
            ("abc", "abc", ""),
            ("abc", "axx", "\x1b[1;2Hxx"),
            ("abcde", "xbcdx", "\x1b[1;1Hx\x1b[1;5Hx"),
            ("    ", "漢 a", "\x1b[1;1H漢\x1b[1;4Ha"),
        ] {
            assert_eq!(encoded(before, after, Style::new(), true), expected);
        }
    }

    #[test]
    fn attributes_are_reset_at_the_end() {
        let style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);

        assert_eq!(
            encoded("  ", "ab", style, true),
            "\x1b[1;1H\x1b[0;1;31mab\x1b[0m"
        );
    }

    #[test]
    fn without_unicode_the_text_is_ascii_of_the_same_width() {
        assert_eq!(
            encoded("    ", "漢éa", Style::new(), false),
            "\x1b[1;1H??\x1b[1;3H?\x1b[1;4Ha"
        );
    }
}
