//! Panics of a driver and under the lock: waiting tasks are woken, and nothing panics again.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::driver::EndOnDrop;
use super::*;
use crate::clock;
use crate::network::Network;
use crate::session::Session;

const OPTIONS: proto::Options = proto::Options {
    upload_rate: 0,
    upload_payload: 1024,
    upload_window: 1024,
    keep_alive: false,
    shared: false,
    client_version: proto::ClientVersion::DEFAULT,
};

/// Returns a tunnel without a websocket.
pub(super) fn shared() -> Arc<Shared> {
    let start = CoreStart {
        now: clock::now(),
        wall: clock::wall(),
        options: OPTIONS,
    };
    let core = proto::Tunnel::new(start.now, start.wall, 1, OPTIONS);
    Arc::new(Shared::new(core, start).0)
}

/// Waits for a stream like a relay does, runs `fail` meanwhile, and returns the result of a read
/// after the wake-up.
async fn read_after(shared: &Arc<Shared>, fail: impl FnOnce()) -> ReadOutcome {
    let stream = Stream::new(Arc::clone(shared), StreamId(1));
    let mut fail = Some(fail);
    poll_fn(|context| match fail.take() {
        Some(fail) => {
            let waker = context.waker().clone();
            shared.lock().readers.insert(StreamId(1), waker);
            fail();
            Poll::Pending
        }
        None => Poll::Ready(()),
    })
    .await;
    stream.read(&mut Vec::new(), 10).await
}

#[tokio::test]
async fn a_panic_of_the_driver_wakes_readers_with_a_lost_stream() {
    let shared = shared();
    let driver = {
        let shared = Arc::clone(&shared);
        move || {
            let panic = catch_unwind(AssertUnwindSafe(|| {
                let _end = EndOnDrop(shared);
                panic!("the driver");
            }));
            assert!(panic.is_err());
        }
    };

    let lost = wait(read_after(&shared, driver)).await;

    assert_eq!(
        lost,
        ReadOutcome::Lost(Reason::Lost {
            why: INTERNAL_ERROR.into()
        })
    );
}

#[tokio::test]
async fn a_panic_under_the_lock_loses_all_streams_and_causes_no_second_panic() {
    let shared = shared();
    let (first, second) = (Arc::clone(&shared), Arc::clone(&shared));
    let fail = move || {
        let panic = catch_unwind(AssertUnwindSafe(|| {
            // Like a relay: its stream is dropped by the panic, and resets itself.
            let _stream = Stream::new(Arc::clone(&first), StreamId(3));
            let _end = EndOnDrop(Arc::clone(&first));
            first.with_core(|_| panic!("the core"))
        }));
        assert!(panic.is_err());
    };

    let lost = wait(read_after(&shared, fail)).await;

    assert!(
        matches!(lost, ReadOutcome::Lost(Reason::Lost { .. })),
        "{lost:?}"
    );
    assert!(second.lock().core.ended().is_some());
}

#[tokio::test]
async fn a_tunnel_without_a_websocket_ends_when_it_is_closed() {
    for step in ["connecting", "resuming", "between attempts"] {
        let (_, triggered) = Trigger::new();
        let options = TunnelOptions {
            options: OPTIONS,
            resume_timeout: Duration::from_secs(3600),
            triggered,
            reorder_budget: proto::ReorderBudget::new(),
            messages: proto::MessageCounters::default(),
        };
        let network = Network::new(None).unwrap();
        let (tunnel, mut driver) = Driver::new(Session::unanswered().await, network, options);
        let broken = Error::Broken("broken".into());
        let mut outcome = pin!(async {
            match step {
                "connecting" => driver.connect_first().await.map(drop),
                "resuming" => driver.resume(&broken, clock::now(), true).await.map(drop),
                _ => driver.pause().await,
            }
        });
        let mut poll = || {
            outcome
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
        };
        assert!(poll().is_pending(), "{step}");

        tunnel.close();

        let outcome = poll();
        let is_ended = matches!(outcome, Poll::Ready(Err(Error::Ended(Reason::Finished))));
        assert!(is_ended, "{step}: {outcome:?}");
    }
}

async fn wait<T>(future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    let done = tokio::time::timeout(limit, future).await;
    done.expect("the reader was not woken")
}
