//! How features are agreed.

use crate::bundle::event::{Event, StripeEnd};
use crate::bundle::features::{ALL, ZSTD};
use crate::bundle::handshake::{
    Handshake, HandshakeDecoder, Hello, RefusalClass, VERSION, Welcome,
};
use crate::bundle::ids::BundleId;
use crate::bundle::{Bundle, Options};
use crate::clock;

const ID: BundleId = BundleId::new([1; 16]);

fn options(features: u32) -> Options {
    Options {
        features,
        ..Options::DEFAULT
    }
}

fn hello(features: u32) -> Hello {
    Hello {
        version: VERSION,
        features,
        bundle: ID,
        stripe: 0,
        complete: 0,
    }
}

/// Connects a stripe, which is answered with a WELCOME with these features.
fn welcome(daemon: &mut Bundle, features: u32) -> Option<Event> {
    let now = clock::now();
    let stripe = daemon.connect_stripe(now).unwrap();
    let welcome = Handshake::Welcome(Welcome {
        version: VERSION,
        features,
        complete: 0,
    });
    daemon.handle_bytes(now, stripe, &welcome.encode());
    daemon.poll_event()
}

#[test]
fn a_relay_uses_what_is_offered_and_known() {
    for (offered, known, used) in [
        (ALL, ALL, ALL),
        (ALL, ZSTD, ZSTD),
        (1 << 9, ALL, 0),
        (ALL, 0, 0),
    ] {
        let now = clock::now();
        let mut relay = Bundle::relay(now, options(known));

        let stripe = relay.accept_stripe(now, &hello(offered)).unwrap();

        let sent = relay.poll_transmit(now, stripe).unwrap();
        let decoded = HandshakeDecoder::default().decode(&mut &sent[..]).unwrap();
        let Some(Handshake::Welcome(welcome)) = decoded else {
            panic!("{decoded:?}");
        };
        assert_eq!((welcome.features, relay.features()), (used, used));
    }
}

#[test]
fn a_later_stripe_that_does_not_offer_what_is_used_is_refused() {
    let now = clock::now();
    let mut relay = Bundle::relay(now, options(ALL));
    relay.accept_stripe(now, &hello(ZSTD)).unwrap();

    let refused = relay.accept_stripe(now, &hello(0));
    assert_eq!(refused, Err(RefusalClass::Other));
    relay.accept_stripe(now, &hello(ALL)).unwrap();

    assert_eq!((relay.features(), relay.stripe_count()), (ZSTD, 2));
}

#[test]
fn a_daemon_closes_a_stripe_with_other_features_than_agreed() {
    let mut daemon = Bundle::daemon(clock::now(), ID, options(ZSTD));

    let not_offered = welcome(&mut daemon, ALL);
    let Some(Event::StripeClosed(_, end)) = not_offered else {
        panic!("{not_offered:?}");
    };
    assert_eq!(end, StripeEnd::Features(ALL));
    assert_eq!(
        (welcome(&mut daemon, ZSTD), daemon.features()),
        (None, ZSTD)
    );
    let changed = welcome(&mut daemon, 0);

    assert!(
        matches!(changed, Some(Event::StripeClosed(..))),
        "{changed:?}"
    );
    assert_eq!((daemon.stripe_count(), daemon.features()), (1, ZSTD));
}

#[test]
fn an_old_relay_is_used_without_features() {
    let mut daemon = Bundle::daemon(clock::now(), ID, options(ALL));

    assert_eq!(welcome(&mut daemon, 0), None);

    assert_eq!((daemon.stripe_count(), daemon.features()), (1, 0));
}
