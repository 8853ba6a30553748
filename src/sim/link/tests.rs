//! Tests of the link in virtual time.

use super::*;
use crate::clock;
use crate::wire::message::{Header, MessageId, PayloadType, Seq};

const HOUR: Duration = Duration::from_secs(3600);

/// Returns what arrives when 1000 numbered messages are sent, one per millisecond.
fn passed(seed: u64, conditions: LinkConditions) -> Vec<u16> {
    let start = clock::now();
    let mut link = Link::new(seed, conditions);
    for number in 0..1000u16 {
        let now = start + Duration::from_millis(u64::from(number));
        link.push(now, Bytes::copy_from_slice(&number.to_be_bytes()));
    }
    std::iter::from_fn(|| link.pop(start + HOUR))
        .map(|message| u16::from_be_bytes(message[..].try_into().unwrap()))
        .collect()
}

#[test]
fn a_perfect_path_changes_nothing() {
    assert!(passed(1, LinkConditions::default()).into_iter().eq(0..1000));
}

#[test]
fn jitter_alone_keeps_the_order() {
    let conditions = LinkConditions {
        jitter: Duration::from_secs(1),
        ..LinkConditions::default()
    };

    assert!(passed(1, conditions).into_iter().eq(0..1000));
}

#[test]
fn loss_duplication_and_reordering_are_as_frequent_as_configured() {
    let lossy = LinkConditions {
        loss: 100,
        ..LinkConditions::default()
    };
    let duplicating = LinkConditions {
        duplication: 100,
        ..LinkConditions::default()
    };
    let reordering = LinkConditions {
        reordering: 100,
        ..LinkConditions::default()
    };

    let lost = 1000 - passed(2, lossy).len();
    let duplicated = passed(2, duplicating).len() - 1000;
    let swapped = passed(2, reordering)
        .windows(2)
        .filter(|pair| pair[0] > pair[1])
        .count();

    assert!((70..130).contains(&lost), "{lost} lost");
    assert!((70..130).contains(&duplicated), "{duplicated} duplicated");
    assert!((30..130).contains(&swapped), "{swapped} overtaken");
}

#[test]
fn the_same_seed_gives_the_same_faults() {
    let bad = LinkConditions {
        jitter: Duration::from_millis(9),
        loss: 50,
        duplication: 50,
        reordering: 50,
        ..LinkConditions::default()
    };

    assert_eq!(passed(3, bad), passed(3, bad));
    assert_ne!(passed(3, bad), passed(4, bad));
}

#[test]
fn nothing_arrives_before_its_delay_or_after_a_cut() {
    let now = clock::now();
    let delay = Duration::from_millis(50);
    let mut link = Link::new(1, LinkConditions::delayed(delay));
    link.push(now, Bytes::from_static(b"first"));

    assert_eq!(link.pop(now), None);
    assert_eq!(link.next_arrival(), Some(now + delay));
    assert!(link.pop(now + delay).is_some());
    link.push(now, Bytes::from_static(b"second"));
    link.push(now, Bytes::from_static(b"third"));
    link.cut(1);

    assert_eq!(link.pop(now + HOUR).unwrap(), "second");
    assert_eq!(link.pop(now + HOUR), None);
}

#[test]
fn planned_faults_apply_to_the_next_messages_of_their_type() {
    let now = clock::now();
    let message = |kind, payload: &'static [u8]| {
        let header = Header {
            kind,
            created: 1,
            seq: Seq(0),
            flags: 0,
            id: MessageId::from_random([1; 16]),
            payload_type: PayloadType::Output,
        };
        let payload = Bytes::from_static(payload);
        Message { header, payload }.encode()
    };
    let (first, second) = (
        message(MessageType::Input, b"1"),
        message(MessageType::Input, b"2"),
    );
    let acknowledge = message(MessageType::Acknowledge, b"");
    let mut link = Link::new(1, LinkConditions::default());
    link.lose_next_of(MessageType::Input, 1);
    link.duplicate_next_of(MessageType::Acknowledge, 1);
    link.damage_next_of(MessageType::Input, 1);
    for message in [&first, &acknowledge, &second, &second] {
        link.push(now, message.clone());
    }

    let arrived: Vec<_> = std::iter::from_fn(|| link.pop(now)).collect();
    let damaged = damaged(&second);
    assert_eq!(arrived, [acknowledge.clone(), acknowledge, damaged, second]);
    assert!(link.is_clear());
}

#[test]
fn messages_arrive_at_the_bandwidth_of_the_path() {
    let now = clock::now();
    let conditions = LinkConditions {
        bandwidth: NonZeroU32::new(100),
        ..LinkConditions::default()
    };
    let mut link = Link::new(1, conditions);
    for _ in 0..3 {
        link.push(now, Bytes::from_static(&[0; 50]));
    }

    let arrived = (0..=4).map(|half| {
        let now = now + half * Duration::from_millis(500);
        std::iter::from_fn(|| link.pop(now)).count()
    });

    assert_eq!(arrived.collect::<Vec<_>>(), [1, 1, 1, 0, 0]);
}

#[test]
fn a_held_link_delivers_later_and_loses_nothing() {
    let now = clock::now();
    let mut link = Link::new(1, LinkConditions::default());
    link.hold_until(now + HOUR);
    link.push(now, Bytes::from_static(b"held"));

    assert_eq!(link.pop(now), None);
    assert_eq!(link.next_arrival(), Some(now + HOUR));
    assert_eq!(link.pop(now + HOUR).unwrap(), "held");
}
