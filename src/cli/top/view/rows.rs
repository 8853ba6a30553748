//! Rows of the screen, taken from its top and its bottom.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Widget;

use super::columns::cut;
use super::look::Look;

/// The free rows of the screen. What does not fit is not drawn.
pub(super) struct Rows<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    pub(super) look: Look,
}

impl<'a> Rows<'a> {
    pub(super) fn new(buffer: &'a mut Buffer, area: Rect, look: Look) -> Self {
        Self {
            area: area.intersection(buffer.area),
            buffer,
            look,
        }
    }

    /// Returns the number of free rows.
    pub(super) fn free(&self) -> usize {
        self.area.height.into()
    }

    /// Returns the width of a row.
    pub(super) fn width(&self) -> usize {
        self.area.width.into()
    }

    /// Takes rows from the top: as many as there are.
    pub(super) fn take(&mut self, height: u16) -> Rect {
        let height = height.min(self.area.height);
        let taken = Rect {
            height,
            ..self.area
        };
        self.area.y += height;
        self.area.height -= height;
        taken
    }

    /// Draws a line into the next row.
    pub(super) fn line(&mut self, line: Line<'_>) {
        let area = self.take(1);
        line.render(area, self.buffer);
    }

    /// Draws a text into the next row, cut to the width.
    pub(super) fn text(&mut self, text: &str, style: Style) {
        let text = cut(text, self.width(), self.look.ellipsis());
        self.line(Line::styled(text, style));
    }

    /// Draws a line into the last row.
    pub(super) fn last_line(&mut self, text: &str, style: Style) {
        let text = cut(text, self.width(), self.look.ellipsis());
        let Some(rest) = self.area.height.checked_sub(1) else {
            return;
        };
        let area = Rect {
            y: self.area.y + rest,
            height: 1,
            ..self.area
        };
        self.area.height = rest;
        Line::styled(text, style).render(area, self.buffer);
    }

    /// Draws a widget into an area that was taken, or a part of it.
    pub(super) fn draw(&mut self, widget: impl Widget, area: Rect) {
        let area = area.intersection(self.buffer.area);
        if !area.is_empty() {
            widget.render(area, self.buffer);
        }
    }
}

/// Returns the first of `count` rows that are visible in `height` of them, so that the selected one
/// is in the middle if possible.
pub(super) fn first_visible(selected: usize, count: usize, height: usize) -> usize {
    let last = count.saturating_sub(height);
    selected.saturating_sub(height / 2).min(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_row_is_visible() {
        for height in 1..6 {
            for count in 1..12 {
                for selected in 0..count {
                    let first = first_visible(selected, count, height);
                    assert!((first..first + height).contains(&selected));
                    assert!(first + height <= count.max(height));
                }
            }
        }
    }
}
