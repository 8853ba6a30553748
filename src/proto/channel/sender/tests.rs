//! What goes again, and when.

use super::*;

const RTO: Duration = Duration::from_millis(200);
const NOTHING: [u8; 0] = [];

/// A sender and a clock.
struct Desk {
    sender: Sender,
    now: Instant,
}

impl Desk {
    fn with_messages(count: u8) -> Self {
        let mut desk = Self {
            sender: Sender::new(Instant::now(), 1000),
            now: Instant::now(),
        };
        for n in 0..count {
            let message = Bytes::from(vec![n; 10]);
            desk.sender.send(desk.now, message, 10, Urgency::Patient);
        }
        desk
    }

    fn wait(&mut self, time: Duration) -> Vec<u8> {
        self.now += time;
        self.sender.handle_timeout(self.now);
        self.retransmitted()
    }

    fn retransmitted(&mut self) -> Vec<u8> {
        std::iter::from_fn(|| self.sender.poll_retransmit(self.now))
            .map(|m| m[0])
            .collect()
    }
}

#[test]
fn what_is_overdue_goes_again_oldest_first_and_nothing_else() {
    let mut desk = Desk::with_messages(4);
    assert!(desk.sender.acknowledge(desk.now, Seq(1)));

    assert_eq!(desk.wait(RTO - Duration::from_millis(1)), NOTHING);
    assert_eq!(desk.wait(Duration::from_millis(1)), [0, 2, 3]);
    assert_eq!(desk.wait(Duration::from_millis(1)), NOTHING);
}

#[test]
fn an_acknowledgement_frees_the_window_once() {
    let mut desk = Desk::with_messages(3);

    assert!(desk.sender.acknowledge(desk.now, Seq(2)));
    assert!(!desk.sender.acknowledge(desk.now, Seq(2)));
    assert!(!desk.sender.acknowledge(desk.now, Seq(99)));
    assert_eq!(desk.sender.unacknowledged(), 20);
    assert!(desk.sender.has_room(980));
    assert!(!desk.sender.has_room(981));
}

#[test]
fn a_message_that_is_never_acknowledged_keeps_nothing_but_itself() {
    let mut desk = Desk::with_messages(1);

    for _ in 0..10_000 {
        let message = Bytes::from_static(b"m");
        let seq = desk.sender.next_seq();
        desk.sender.send(desk.now, message, 1, Urgency::Patient);
        assert!(desk.sender.acknowledge(desk.now, seq));
    }

    assert_eq!(desk.sender.kept.len(), 1);
    assert_eq!(desk.sender.next_seq(), Seq(10_001));
}

#[test]
fn in_silence_only_the_oldest_asks_and_ever_more_rarely() {
    let mut desk = Desk::with_messages(3);

    assert_eq!(desk.wait(RTO), [0, 1, 2]);
    assert_eq!(desk.wait(2 * RTO), [0]);
    assert_eq!(desk.wait(2 * RTO), NOTHING);
    assert_eq!(desk.wait(2 * RTO), [0]);
}

#[test]
fn the_end_of_a_silence_retransmits_what_it_held_back() {
    let mut desk = Desk::with_messages(3);
    desk.wait(RTO);
    desk.wait(2 * RTO);

    desk.sender.acknowledge(desk.now, Seq(0));

    assert_eq!(desk.wait(Duration::ZERO), [1, 2]);
}

#[test]
fn a_reconnect_makes_everything_unacknowledged_due() {
    let mut desk = Desk::with_messages(3);
    desk.sender.acknowledge(desk.now, Seq(1));

    desk.sender.handle_connected(desk.now);

    assert_eq!(desk.retransmitted(), [0, 2]);
}

#[test]
fn a_message_sent_twice_teaches_no_round_trip() {
    let mut desk = Desk::with_messages(2);
    desk.wait(RTO);
    desk.now += Duration::from_secs(9);

    desk.sender.acknowledge(desk.now, Seq(0));

    assert_eq!(desk.sender.rtt(), Duration::from_millis(100));
}

#[test]
fn a_probe_asks_every_three_milliseconds_and_then_slower() {
    let start = Instant::now();
    let mut sender = Sender::new(start, 1000);
    sender.send(start, Bytes::from_static(b"p"), 1, Urgency::probe(start));
    let mut asked = Vec::new();

    while asked.len() < 20 {
        let now = sender.poll_timeout().expect("a probe has a deadline");
        sender.handle_timeout(now);
        assert!(sender.poll_retransmit(now).is_some());
        asked.push((now - start).as_millis());
    }

    assert_eq!(asked[..10], [3, 6, 9, 12, 15, 18, 21, 24, 27, 30]);
    assert_eq!(asked[10..13], [34, 41, 51]);
    assert_eq!(asked[19] - asked[18], 50);
}
