//! The model: reports and keys.

use std::time::{Duration, Instant};

use super::*;
use crate::cli::top::keys::Key;
use crate::cli::top::test_reports::{detail, status};
use crate::clock;
use crate::telemetry::ForwardState;

const SECOND: Duration = Duration::from_secs(1);

struct Fixture {
    model: Model,
    begin: Instant,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        let begin = clock::now();
        Self {
            model: Model::new(begin),
            begin,
            now: begin,
        }
    }

    /// A second later, the daemon reports this.
    fn report(&mut self, change: impl FnOnce(&mut StatusReport)) {
        self.now += SECOND;
        let mut status = status();
        status.uptime_seconds += (self.now - self.begin).as_secs();
        change(&mut status);
        let detail = match &self.model.page {
            Page::Forwards => None,
            Page::Connections(name) => Some(Box::new(detail(name))),
        };
        let update = Update::Reports {
            at: self.now,
            status: Box::new(status),
            detail,
        };
        self.model.handle_update(update, self.now);
    }

    fn fail(&mut self) {
        self.now += SECOND;
        let update = Update::Failed {
            error: "no daemon".into(),
            hint: "start one".into(),
        };
        self.model.handle_update(update, self.now);
    }

    fn keys(&mut self, keys: &str) -> Option<Command> {
        let mut last = None;
        for key in keys.chars() {
            last = self.model.handle_key(match key {
                '\r' => Key::Enter,
                '\u{1b}' => Key::Escape,
                other => Key::Char(other),
            });
        }
        last
    }

    fn events(&self) -> Vec<String> {
        let newest = self.model.events.newest();
        newest.map(|event| event.text.to_string()).collect()
    }

    fn names(&self) -> Vec<String> {
        let rows = self.model.forwards();
        rows.iter().map(|(row, _)| row.name.to_string()).collect()
    }
}

#[test]
fn the_first_report_is_no_event_but_for_failures() {
    let mut fixture = Fixture::new();

    fixture.report(|_| {});

    assert_eq!(
        fixture.events(),
        ["broken: [TargetNotConnected] i-0123456789abcdef0 is not connected"]
    );
    let age = fixture.now - fixture.model.events.newest().next().unwrap().at;
    assert_eq!(age, SECOND * 7);
}

#[test]
fn changes_between_reports_are_events() {
    let mut fixture = Fixture::new();
    fixture.report(|_| {});

    fixture.report(|status| {
        status.reloads += 1;
        status.forwards[0].state = ForwardState::Warming;
        status.forwards[1].failure = None;
        status.forwards[1].state = ForwardState::Ready;
        status.forwards.remove(2);
    });
    fixture.report(|status| {
        status.reloads += 1;
        status.failed_reloads += 1;
        status.forwards[0].name = "new".into();
        status.stopping = true;
        for forward in &mut status.forwards {
            forward.state = ForwardState::Stopping;
        }
    });

    let events = fixture.events();
    for event in [
        "configuration reloaded",
        "orders-db: warming",
        "broken: ready",
        "off: removed",
        "reload failed; see the log of the daemon",
        "new: added",
        "orders-db: removed",
        "the daemon is stopping",
    ] {
        assert!(events.contains(&event.to_owned()), "{event}: {events:#?}");
    }
    assert!(!events.iter().any(|event| event.ends_with(": stopping")));
}

#[test]
fn a_restart_shows_no_rate_from_counters_of_different_processes() {
    let mut fixture = Fixture::new();
    fixture.report(|_| {});
    fixture.report(|status| status.forwards[0].sent += 1000);
    assert_eq!(fixture.model.total_rate().sent, 1000);

    for change in [
        (|status: &mut StatusReport| status.pid += 1) as fn(&mut StatusReport),
        // In a container the next process may have the same id.
        |status| {
            status.pid += 1;
            status.uptime_seconds = 0;
        },
    ] {
        fixture.fail();
        fixture.report(|status| {
            change(status);
            status.forwards[0].sent = 1 << 50;
        });

        assert_eq!(fixture.model.total_rate(), Rate::default());
        assert_eq!(
            fixture.events()[..2],
            [
                "the daemon was restarted",
                "the daemon responds again, after 2s",
            ]
            .map(str::to_owned)
        );
    }
}

#[test]
fn a_forward_that_a_reload_replaced_begins_with_no_rate() {
    let mut fixture = Fixture::new();
    fixture.report(|status| status.forwards[0].sent = 1 << 40);
    fixture.report(|status| status.forwards[0].sent = 1 << 40);

    fixture.report(|status| status.forwards[0].sent = 10);

    assert_eq!(fixture.model.total_rate(), Rate::default());
    fixture.report(|status| status.forwards[0].sent = 30);
    assert_eq!(fixture.model.total_rate().sent, 20);
}

#[test]
fn forwards_are_sorted_by_each_key() {
    let mut fixture = Fixture::new();
    fixture.report(|_| {});
    fixture.report(|status| status.forwards[2].received += 5);

    let mut orders = vec![fixture.names().join(" ")];
    for _ in 0..5 {
        fixture.keys("s");
        orders.push(fixture.names().join(" "));
    }
    fixture.keys("r");

    assert_eq!(
        orders,
        [
            "orders-db broken off",
            "broken off orders-db",
            "broken orders-db off",
            "orders-db broken off",
            "orders-db broken off",
            "off orders-db broken",
        ]
    );
    assert_eq!(fixture.names(), ["orders-db", "broken", "off"]);
    fixture.keys("sr");
    assert_eq!(fixture.names(), ["off", "broken", "orders-db"]);
}

#[test]
fn a_connection_is_closed_only_after_a_confirmation() {
    let mut fixture = Fixture::new();
    fixture.report(|_| {});
    fixture.keys("\r");
    assert_eq!(fixture.keys("x"), None, "the list is not known yet");
    assert_eq!(fixture.model.confirmation, None);
    fixture.report(|_| {});

    assert_eq!(fixture.keys("jx"), None);
    assert_eq!(fixture.model.confirmation.as_ref().unwrap().connection, 9);
    assert_eq!(fixture.keys("n"), None);
    assert_eq!(fixture.keys("y"), None);
    let close = fixture.keys("xy");

    let (connection, pid) = (9, status().pid);
    assert_eq!(close, Some(Command::Close { connection, pid }));
}

#[test]
fn a_confirmation_ends_with_its_connection_and_with_its_daemon() {
    let mut fixture = Fixture::new();
    fixture.report(|_| {});
    fixture.keys("\r");
    fixture.report(|_| {});
    fixture.keys("x");
    assert!(fixture.model.confirmation.is_some());
    fixture.report(|status| status.pid += 1);
    assert_eq!(fixture.model.confirmation, None);
    fixture.keys("x");
    fixture.fail();
    assert_eq!(fixture.model.confirmation, None);
    fixture.keys("x");
    assert_eq!(fixture.model.confirmation, None, "the list is out of date");

    fixture.report(|_| {});
    fixture.keys("x");
    let mut without = detail("orders-db");
    without.connections.remove(0);
    let update = Update::Reports {
        at: fixture.now,
        status: Box::new(status()),
        detail: Some(Box::new(without)),
    };
    fixture.model.handle_update(update, fixture.now);

    assert_eq!(fixture.model.confirmation, None);
}

#[test]
fn a_removed_forward_is_left() {
    let mut fixture = Fixture::new();
    fixture.report(|_| {});
    fixture.keys("\r");
    assert_eq!(fixture.model.wanted().unwrap(), "orders-db");

    fixture.report(|status| status.forwards.clear());

    assert_eq!(fixture.model.page, Page::Forwards);
    assert_eq!(fixture.model.wanted(), None);
    assert_eq!(fixture.keys("\rjx"), None);
}

#[test]
fn escape_goes_back_before_it_quits() {
    let mut fixture = Fixture::new();
    fixture.report(|_| {});

    assert_eq!(fixture.keys("?\u{1b}"), None);
    assert_eq!(fixture.keys("\r\u{1b}"), None);
    assert_eq!(fixture.keys("\u{1b}"), Some(Command::Quit));
    assert_eq!(fixture.keys("?q"), Some(Command::Quit));
    assert_eq!(fixture.keys("\rq"), Some(Command::Quit));
    assert_eq!(
        fixture.model.handle_key(Key::Control('c')),
        Some(Command::Quit)
    );
}

#[test]
fn memory_is_bounded_over_days() {
    let mut fixture = Fixture::new();
    for second in 0..10_000_u64 {
        fixture.report(|status| {
            status.forwards[0].name = format!("forward-{}", second % 1000).as_str().into();
            status.forwards[1].failure.as_mut().unwrap().code =
                format!("Code{second}").as_str().into();
        });
    }

    assert_eq!(fixture.model.rates.len(), 3);
    assert_eq!(fixture.model.events.newest().count(), 100);
}
