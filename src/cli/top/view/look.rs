//! What the terminal can display: colours and characters.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::bar;

use crate::telemetry::ForwardState;

/// What the terminal can display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// It has colours, and the user wants them.
    pub(crate) colour: bool,
    /// It displays characters outside of ASCII.
    pub(crate) unicode: bool,
}

impl Look {
    /// Returns the end of a text that was cut.
    pub(super) fn ellipsis(self) -> &'static str {
        if self.unicode { "…" } else { "~" }
    }

    /// Returns the mark of the selected row.
    pub(super) fn mark(self) -> &'static str {
        if self.unicode { "▶" } else { ">" }
    }

    /// Returns an arrow from a local address to a destination.
    pub(super) fn arrow(self) -> &'static str {
        if self.unicode { "→" } else { "->" }
    }

    /// Returns the symbols of sparklines.
    pub(super) fn bars(self) -> bar::Set<'static> {
        if self.unicode {
            bar::NINE_LEVELS
        } else {
            ASCII_BARS
        }
    }

    fn coloured(self, colour: Color, otherwise: Modifier) -> Style {
        match self.colour {
            true => Style::new().fg(colour),
            false => Style::new().add_modifier(otherwise),
        }
    }

    pub(super) fn state(self, state: ForwardState) -> Style {
        match state {
            ForwardState::Ready => self.coloured(Color::Green, Modifier::empty()),
            ForwardState::Warming => self.coloured(Color::Yellow, Modifier::empty()),
            ForwardState::Failing | ForwardState::Stopping => self.failure(),
            ForwardState::Disabled => Style::new().add_modifier(Modifier::DIM),
        }
    }

    pub(super) fn failure(self) -> Style {
        self.coloured(Color::Red, Modifier::BOLD)
    }

    pub(super) fn sparkline(self) -> Style {
        self.coloured(Color::Cyan, Modifier::empty())
    }
}

/// Style of the first line and of titles.
pub(super) const TITLE: Style = Style::new().add_modifier(Modifier::BOLD);

/// Style of the title of the column by which a table is sorted.
pub(super) const SORTED: Style = TITLE.add_modifier(Modifier::UNDERLINED);

/// Style of the selected row and of a question.
pub(super) const SELECTED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Style of less important text.
pub(super) const DIM: Style = Style::new().add_modifier(Modifier::DIM);

const ASCII_BARS: bar::Set<'static> = bar::Set {
    full: "#",
    seven_eighths: "#",
    three_quarters: "=",
    five_eighths: "=",
    half: "-",
    three_eighths: "-",
    one_quarter: ".",
    one_eighth: ".",
    empty: " ",
};
