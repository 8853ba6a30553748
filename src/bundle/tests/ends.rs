//! How stripes, flows and bundles end, and how many stripes there are.

use std::time::Duration;

use super::apps::Plan;
use super::link::Quality;
use super::world::World;
use crate::bundle::event::{End, Event, StripeEnd};
use crate::bundle::handshake::{Handshake, Hello, RefusalClass, VERSION, Welcome};
use crate::bundle::ids::{BundleId, FlowId};
use crate::bundle::record::{FailureClass, GoodbyeClass, Record, encode};
use crate::bundle::{Bundle, Options};
use crate::clock;

const GOOD: Quality = Quality {
    rate: 650 * 1024,
    delay: Duration::from_millis(20),
};

const PLAN: Plan = Plan {
    total: 1000,
    piece: 65536,
    read_pause: Duration::ZERO,
    write_pause: Duration::ZERO,
    reset_after: None,
    ends_last: false,
};

/// Never ends by itself.
const ENDLESS: Plan = Plan {
    ends_last: true,
    ..PLAN
};

fn world() -> World {
    World::new(1, &Options::DEFAULT, vec![GOOD])
}

#[test]
fn a_half_closed_flow_still_carries_the_other_direction() {
    let mut world = world();
    let answer = Plan {
        total: 300_000,
        ends_last: true,
        ..PLAN
    };

    let id = world.open(PLAN, answer);
    world.run_until(Duration::from_secs(60), World::is_drained);

    assert_eq!(world.apps[0][&id].read, 300_000);
    assert!(world.apps[0][&id].has_read_end && world.apps[1][&id].has_read_end);
}

#[test]
fn a_flow_whose_reader_stalls_stalls_alone() {
    let mut world = world();
    let bulk = Plan {
        total: 3_000_000,
        ..PLAN
    };
    let stalled = Plan {
        read_pause: Duration::from_secs(3600),
        ..PLAN
    };
    let first = world.open(stalled, bulk);
    let second = world.open(PLAN, bulk);

    world.run_until(Duration::from_secs(60), |world| {
        world.apps[0][&second].has_read_end
    });

    let written = world.apps[1][&first].written;
    assert!(written <= 256 * 1024 + 2 * 65536, "{written}");
}

#[test]
fn a_close_ends_both_ends_and_resets_what_is_open() {
    let mut world = world();
    let id = world.open(ENDLESS, ENDLESS);
    world.run_for(Duration::from_secs(1));

    let now = world.now;
    world.ends[0].close(now);
    world.run_until(Duration::from_secs(5), |world| {
        world.ended.iter().all(Option::is_some)
    });

    assert_eq!(world.ended, [Some(End::Closed), Some(End::ClosedByPeer)]);
    assert!(world.apps[1][&id].is_reset);
    assert!(world.ends[0].open(now, "db", 1).is_err());
}

#[test]
fn bytes_that_have_arrived_are_read_to_their_end_after_a_close() {
    let mut world = world();
    let slow = Plan {
        piece: 10,
        read_pause: Duration::from_millis(100),
        ..PLAN
    };
    let id = world.open(PLAN, slow);
    world.run_until(Duration::from_secs(5), |world| {
        world.ends[0].flows.is_empty() && world.ends[0].ledger.is_empty()
    });

    let now = world.now;
    world.ends[0].close(now);
    world.run_until(Duration::from_secs(30), |world| world.ended[1].is_some());

    assert_eq!(world.apps[1][&id].read, 1000);
    assert!(world.apps[1][&id].has_read_end && !world.apps[1][&id].is_reset);
}

#[test]
fn a_bundle_without_stripes_is_kept_then_its_flows_are_reset() {
    let mut world = world();
    let id = world.open(ENDLESS, ENDLESS);
    world.run_for(Duration::from_secs(1));

    world.offline_until = world.now + Duration::from_secs(3600);
    world.cut(0);
    world.run_for(Duration::from_secs(590));
    assert!(!world.apps[0][&id].is_reset && !world.apps[1][&id].is_reset);
    world.run_for(Duration::from_secs(20));

    assert_eq!(world.ended, [Some(End::Lost), Some(End::Lost)]);
    assert!(world.apps[0][&id].is_reset && world.apps[1][&id].is_reset);
}

#[test]
fn a_relay_that_was_restarted_ends_the_bundle() {
    let mut world = world();
    let id = world.open(ENDLESS, ENDLESS);
    world.run_for(Duration::from_secs(1));

    // The bundle of a restarted relay does not exist: its driver refuses, as an ended one does.
    let now = world.now;
    world.ends[1].end(End::Lost);
    world.cut(0);
    world.run_until(Duration::from_secs(30), |world| world.ended[0].is_some());

    assert!(world.now < now + Duration::from_secs(5));
    assert_eq!(world.ended[0], Some(End::Forgotten("no".into())));
    assert!(world.apps[0][&id].is_reset);
}

#[test]
fn stripes_grow_while_they_are_full_and_shrink_when_idle() {
    let mut world = world();
    let bulk = Plan {
        total: 30_000_000,
        ..PLAN
    };
    world.open(PLAN, bulk);

    world.run_until(Duration::from_secs(30), World::is_drained);
    assert_eq!((world.max_links, world.ends[0].stripe_count()), (8, 8));
    let seconds = world.elapsed().as_secs_f64();
    let one = 30_000_000.0 / (650.0 * 1024.0);
    assert!(seconds < one / 5.0, "{seconds} s, {one} s with one stripe");

    world.run_for(Duration::from_secs(130));
    assert_eq!(world.ends[0].stripe_count(), 1);
    assert_eq!(world.ends[1].stripe_count(), 1);
    assert!(
        world
            .closed_stripes
            .iter()
            .all(|end| *end == StripeEnd::Unneeded)
    );
}

#[test]
fn an_upload_grows_too_and_a_trickle_does_not() {
    let mut world = world();
    let trickle = Plan {
        total: 20_000,
        piece: 100,
        write_pause: Duration::from_millis(10),
        ..PLAN
    };
    world.open(trickle, trickle);
    world.run_until(Duration::from_secs(30), World::is_drained);
    assert_eq!(world.max_links, 1);

    let bulk = Plan {
        total: 5_000_000,
        ..PLAN
    };
    world.open(bulk, PLAN);
    world.run_until(Duration::from_secs(30), World::is_drained);
    assert!(world.max_links > 4, "{}", world.max_links);
}

#[test]
fn a_port_of_another_program_is_recognized() {
    let now = clock::now();
    let id = BundleId::new([1; 16]);
    let mut bundle = Bundle::daemon(now, id, Options::DEFAULT);
    let stripe = bundle.connect_stripe(now).unwrap();
    assert_eq!(bundle.poll_transmit(now, stripe).unwrap().len(), 44);
    assert_eq!(bundle.poll_transmit(now, stripe), None);

    bundle.handle_bytes(now, stripe, b"SSH-2.0-OpenSSH_9.2\r\n");

    let event = format!("{:?}", bundle.poll_event());
    assert!(event.contains("SSH-2.0-OpenSSH_9.2"), "{event}");
    assert_eq!(bundle.poll_event(), None);
}

#[test]
fn a_relay_of_another_version_is_not_used() {
    let now = clock::now();
    let id = BundleId::new([1; 16]);
    let mut bundle = Bundle::daemon(now, id, Options::DEFAULT);
    let stripe = bundle.connect_stripe(now).unwrap();
    let welcome = Handshake::Welcome(Welcome {
        version: VERSION + 1,
        features: 0,
        complete: 0,
    });

    bundle.handle_bytes(now, stripe, &welcome.encode());

    let closed = Event::StripeClosed(stripe, StripeEnd::Version(VERSION + 1));
    assert_eq!(bundle.poll_event(), Some(closed));
    assert_eq!((bundle.stripe_count(), bundle.is_ended()), (0, false));
}

#[test]
fn a_silent_port_is_given_up_after_five_seconds() {
    let mut world = world();
    let now = world.now;
    world.ends[0].connect_stripe(now).unwrap();

    let due = world.ends[0].poll_timeout().unwrap();
    assert_eq!(due, now + Duration::from_secs(5));
    world.ends[0].handle_timeout(due);

    let event = format!("{:?}", world.ends[0].poll_event());
    assert!(event.contains("NoWelcome"), "{event}");
}

#[test]
fn a_relay_refuses_what_it_cannot_accept_and_stays_as_it_was() {
    let now = clock::now();
    let mut relay = Bundle::relay(now, Options::DEFAULT);
    let hello = |version, complete| Hello {
        version,
        features: 0,
        bundle: BundleId::new([1; 16]),
        stripe: 0,
        complete,
    };

    let old = relay.accept_stripe(now, &hello(0, 0));
    assert_eq!(old, Err(RefusalClass::Version));
    let invalid = relay.accept_stripe(now, &hello(VERSION, 1));
    assert_eq!(invalid, Err(RefusalClass::Invalid));
    for _ in 0..64 {
        relay.accept_stripe(now, &hello(VERSION + 1, 0)).unwrap();
    }
    let many = relay.accept_stripe(now, &hello(VERSION, 0));
    assert_eq!(many, Err(RefusalClass::TooManyStripes));
    assert_eq!((relay.stripe_count(), relay.poll_event()), (64, None));
}

#[test]
fn a_failed_dial_is_reported_with_its_text() {
    let mut world = world();
    world.unreachable.push(0);

    let id = world.open(PLAN, PLAN);
    world.run_until(Duration::from_secs(5), |world| !world.failed.is_empty());

    assert_eq!(world.failed, [id]);
    assert_eq!(world.ends[1].flow_count() + world.ends[0].flow_count(), 0);
    assert_eq!(FailureClass::of(99), FailureClass::Other);
}

/// The peer takes no more bytes then, so none may be counted as sent.
#[test]
fn a_flow_whose_bundle_the_peer_has_ended_has_no_room() {
    let now = clock::now();
    let mut daemon = Bundle::daemon(now, BundleId::new([1; 16]), Options::DEFAULT);
    let stripe = daemon.connect_stripe(now).unwrap();
    let welcome = Handshake::Welcome(Welcome {
        version: VERSION,
        features: 0,
        complete: 0,
    });
    let flow = daemon.open(now, "db", 1).unwrap();
    let mut sent = bytes::BytesMut::from(&welcome.encode()[..]);
    encode(flow, 1, &Record::Opened(8192), &mut sent);
    encode(flow, 2, &Record::Fin(0), &mut sent);
    daemon.handle_bytes(now, stripe, &sent);
    assert!(daemon.room(flow) > 0);

    let mut goodbye = bytes::BytesMut::new();
    let record = Record::Goodbye(GoodbyeClass::Bundle, "".into());
    encode(FlowId::NONE, 0, &record, &mut goodbye);
    daemon.handle_bytes(now, stripe, &goodbye);

    assert!(!daemon.is_ended());
    assert_eq!((daemon.room(flow), daemon.write(flow, b"x")), (0, 0));
}
