//! Tests of retransmission.

use super::*;
use crate::clock;

const RTO: Duration = Duration::from_millis(200);
const NOTHING: [u8; 0] = [];

struct Fixture {
    sender: Sender,
    start: Instant,
    now: Instant,
}

impl Fixture {
    fn with_messages(count: u8) -> Self {
        let now = clock::now();
        let mut fixture = Self {
            sender: Sender::new(now, 1000),
            start: now,
            now,
        };
        fixture.send(0..count);
        fixture
    }

    fn send(&mut self, numbers: std::ops::Range<u8>) {
        for n in numbers {
            let message = Bytes::from(vec![n; 10]);
            self.sender.send(self.now, message, 10, Retransmit::Normal);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn wait(&mut self, time: Duration) -> Vec<u8> {
        self.pass(time);
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
fn only_missing_messages_are_retransmitted_after_their_timeout_oldest_first() {
    let mut fixture = Fixture::with_messages(2);
    fixture.pass(Duration::from_millis(1));
    fixture.send(2..5);
    assert!(fixture.sender.acknowledge(fixture.now, Seq(3)));

    assert_eq!(fixture.wait(RTO - Duration::from_millis(2)), NOTHING);
    assert_eq!(fixture.wait(Duration::from_millis(1)), [0, 1]);
    assert_eq!(fixture.wait(Duration::from_millis(1)), NOTHING);
}

#[test]
fn messages_in_flight_are_not_retransmitted_while_acknowledgements_arrive() {
    let mut fixture = Fixture::with_messages(0);
    let slot = Duration::from_millis(20);
    fixture.send(0..100);

    for seq in 0..100 {
        assert_eq!(fixture.wait(slot), NOTHING, "the window takes two seconds");
        assert!(fixture.sender.acknowledge(fixture.now, Seq(seq)));
    }
}

#[test]
fn a_message_that_is_missing_again_is_retransmitted_after_a_longer_timeout() {
    let mut fixture = Fixture::with_messages(1);
    let mut copies = 0;

    for n in 1..=100 {
        fixture.pass(Duration::from_millis(50));
        fixture.send(n..n + 1);
        fixture.pass(Duration::from_millis(1));
        fixture.sender.acknowledge(fixture.now, Seq(u64::from(n)));
        copies += fixture.wait(Duration::ZERO).len();
    }

    // After 0.2, 0.6, 1.4 and 3 s of five.
    assert_eq!(copies, 4);
}

#[test]
fn an_acknowledgement_frees_the_window_once() {
    let mut fixture = Fixture::with_messages(3);

    assert!(fixture.sender.acknowledge(fixture.now, Seq(2)));
    assert!(!fixture.sender.acknowledge(fixture.now, Seq(2)));
    assert!(!fixture.sender.acknowledge(fixture.now, Seq(99)));
    assert_eq!(fixture.sender.unacknowledged(), 20);
    assert!(fixture.sender.has_room(980, Share::Alone));
    assert!(!fixture.sender.has_room(981, Share::Alone));
}

#[test]
fn a_message_that_is_never_acknowledged_keeps_nothing_but_itself() {
    let mut fixture = Fixture::with_messages(1);

    for _ in 0..10_000 {
        let message = Bytes::from_static(b"m");
        let seq = fixture.sender.next_seq();
        fixture
            .sender
            .send(fixture.now, message, 1, Retransmit::Normal);
        assert!(fixture.sender.acknowledge(fixture.now, seq));
    }

    assert_eq!(fixture.sender.kept.len(), 1);
    assert_eq!(fixture.sender.next_seq(), Seq(10_001));
}

#[test]
fn in_silence_only_the_oldest_message_is_retransmitted_at_growing_intervals() {
    let mut fixture = Fixture::with_messages(3);

    assert_eq!(fixture.wait(RTO), [0]);
    assert_eq!(fixture.wait(2 * RTO), [0]);
    assert_eq!(fixture.wait(2 * RTO), NOTHING);
    assert_eq!(fixture.wait(2 * RTO), [0]);
    for _ in 0..10 {
        fixture.wait(Duration::from_secs(5));
    }
    assert_eq!(fixture.wait(Duration::from_secs(5)), [0]);
}

#[test]
fn after_a_silence_missing_messages_are_retransmitted_after_a_round_trip() {
    let mut fixture = Fixture::with_messages(3);
    fixture.wait(RTO);

    fixture.sender.acknowledge(fixture.now, Seq(0));

    assert_eq!(fixture.wait(Duration::ZERO), NOTHING);
    assert_eq!(fixture.wait(Duration::from_millis(110)), [1, 2]);
}

#[test]
fn a_reconnect_makes_everything_unacknowledged_due() {
    let mut fixture = Fixture::with_messages(3);
    fixture.sender.acknowledge(fixture.now, Seq(1));

    fixture.sender.handle_connected(fixture.now);

    assert_eq!(fixture.retransmitted(), [0, 2]);
}

#[test]
fn a_reconnect_to_a_silent_agent_first_retransmits_the_oldest_and_the_newest_message() {
    let mut fixture = Fixture::with_messages(3);
    fixture.wait(RTO);
    fixture.wait(2 * RTO);

    fixture.sender.handle_connected(fixture.now);
    fixture.pass(Duration::from_millis(1));
    assert_eq!(fixture.retransmitted(), [0, 2]);
    assert_eq!(fixture.sender.silent_since(), Some(fixture.start), "still");
    fixture.pass(Duration::from_millis(50));
    fixture.sender.acknowledge(fixture.now, Seq(0));

    assert_eq!(fixture.retransmitted(), [1]);
}

#[test]
fn a_message_sent_twice_gives_no_round_trip_sample() {
    let mut fixture = Fixture::with_messages(2);
    fixture.wait(RTO);
    fixture.now += Duration::from_secs(9);

    fixture.sender.acknowledge(fixture.now, Seq(0));

    assert_eq!(fixture.sender.rtt(), Duration::from_millis(100));
}

#[test]
fn a_probe_is_repeated_every_three_milliseconds_and_then_more_slowly() {
    let start = clock::now();
    let mut sender = Sender::new(start, 1000);
    sender.send(start, Bytes::from_static(b"p"), 1, Retransmit::probe(start));
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

#[test]
fn messages_of_one_byte_are_bounded_in_number_too() {
    let now = clock::now();
    let mut sender = Sender::new(now, usize::MAX);
    let mut sent = 0;

    while sender.has_room(1, Share::Alone) {
        sender.send(now, Bytes::from_static(b"x"), 1, Retransmit::Normal);
        sent += 1;
    }

    assert_eq!(sent, MAX_UNACKNOWLEDGED);
}
