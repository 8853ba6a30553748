//! The screen as text.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::CellWidth;
use ratatui::style::Color;

use super::*;
use crate::cli::top::keys::Key;
use crate::cli::top::model::Update;
use crate::cli::top::test_reports::{detail, status};
use crate::clock;

const LOOK: Look = Look {
    colour: true,
    unicode: true,
};

const PLAIN: Look = Look {
    colour: false,
    unicode: false,
};

/// A model after twelve seconds, in which bytes were transferred.
fn model() -> (Model, Instant) {
    let begin = clock::now();
    let mut model = Model::new(begin);
    let mut now = begin;
    for second in 0..12_u64 {
        now = begin + Duration::from_secs(second);
        report(&mut model, now, second);
    }
    (model, now)
}

fn report(model: &mut Model, now: Instant, second: u64) {
    let mut status = status();
    status.forwards[0].sent = 1000 * second * second;
    status.forwards[0].received = 1_000_000 * second;
    let detail = model.wanted().map(|name| Box::new(detail(name)));
    let update = Update::Reports {
        at: now,
        status: Box::new(status),
        detail,
    };
    model.handle_update(update, now);
}

fn drawn(model: &Model, look: Look, now: Instant, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let draw = |frame: &mut ratatui::Frame<'_>| {
        render(model, look, now, frame.area(), frame.buffer_mut());
    };
    terminal.draw(draw).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width);
    let rows = buffer.content.chunks(width.max(1));
    let row = |cells: &[ratatui::buffer::Cell]| {
        let (mut text, mut hidden) = (String::new(), 0);
        for cell in cells {
            if hidden == 0 {
                text += cell.symbol();
                hidden = cell.cell_width();
            }
            hidden = hidden.saturating_sub(1);
        }
        text.trim_end().to_owned()
    };
    rows.map(row).collect()
}

#[test]
fn the_list_of_forwards_on_the_usual_terminal() {
    let (model, now) = model();

    let text = text(&drawn(&model, LOOK, now, 80, 24));

    assert_eq!(
        text[..12].join("\n").trim_end(),
        include_str!("expected/forwards.txt").trim_end()
    );
    assert_eq!(
        text[23],
        "q quit  ? help  Enter connections  s sort: configuration  r reverse"
    );
}

#[test]
fn the_page_of_a_forward_on_the_usual_terminal() {
    let (mut model, now) = model();
    model.handle_key(Key::Enter);
    let now = now + Duration::from_secs(1);
    report(&mut model, now, 12);
    model.handle_key(Key::Down);

    let text = text(&drawn(&model, LOOK, now, 80, 24));

    assert_eq!(
        text[..14].join("\n").trim_end(),
        include_str!("expected/connections.txt").trim_end()
    );
}

#[test]
fn a_wide_terminal_shows_the_destination() {
    let (model, now) = model();

    let text = text(&drawn(&model, LOOK, now, 160, 50));

    assert!(text[2].contains("DESTINATION"), "{text:#?}");
    let to = "orders.internal:5432 via i-0123456789abcdef0";
    assert!(text[3].ends_with(to), "{text:#?}");
}

#[test]
fn without_colour_and_unicode_the_screen_is_plain() {
    let (mut model, now) = model();
    for _ in 0..2 {
        let buffer = drawn(&model, PLAIN, now, 100, 30);

        for cell in &buffer.content {
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
            assert!(cell.symbol().is_ascii(), "{}", cell.symbol());
        }
        assert!(text(&buffer).iter().any(|line| line.contains('#')));
        model.handle_key(Key::Enter);
    }
}

#[test]
fn each_page_fits_into_each_size() {
    let (mut model, now) = model();
    let pages = |model: &Model| {
        for width in (0..40).chain([80, 133, 300]) {
            for height in (0..30).chain([100]) {
                drawn(model, LOOK, now, width, height);
            }
        }
    };
    pages(&Model::new(now));
    pages(&model);
    model.handle_key(Key::Char('?'));
    pages(&model);
    model.handle_key(Key::Escape);
    model.handle_key(Key::Enter);
    pages(&model);
    report(&mut model, now, 20);
    pages(&model);
    model.handle_key(Key::Char('x'));
    pages(&model);
    let update = Update::Failed {
        error: "no daemon".into(),
        hint: "start one".into(),
    };
    model.handle_update(update, now);
    pages(&model);
}

#[test]
fn a_question_is_visible_at_each_size() {
    let (mut model, now) = model();
    model.handle_key(Key::Enter);
    report(&mut model, now, 13);
    model.handle_key(Key::Char('x'));

    for height in 1..24 {
        let text = text(&drawn(&model, LOOK, now, 80, height));
        assert_eq!(
            text.last().unwrap(),
            "Close connection 7 of 127.0.0.1:50000? y: close, any other key: keep"
        );
    }
}

#[test]
fn a_daemon_that_does_not_respond_is_reported() {
    let (mut model, now) = model();
    let later = now + Duration::from_secs(5);
    let silent = text(&drawn(&model, LOOK, later, 80, 24));
    assert_eq!(silent[1], "the daemon has not responded for 5s");

    let update = Update::Failed {
        error: "no daemon is listening at /run/ssm-proxyd/admin.sock".into(),
        hint: "start one".into(),
    };
    model.handle_update(update, later);

    let text = text(&drawn(&model, LOOK, later, 80, 24));
    assert_eq!(
        text[..3],
        [
            "ssm-proxyd 1.2.3, process 4711, last seen running for 2h 5m",
            "no daemon is listening at /run/ssm-proxyd/admin.sock; trying again",
            "hint: start one",
        ]
    );
}
