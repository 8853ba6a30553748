//! Tests of the virtual network and its runtime.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::runtime::{LONG, SMALL};
use super::{Address, Reach, Stream, bind, connect, route, run};
use crate::clock;

fn address(port: u16) -> Address {
    Address::Tcp((Ipv4Addr::LOCALHOST, port).into())
}

async fn pair() -> (Stream, Stream) {
    let listener = bind(address(1)).unwrap();
    let near = connect(&address(1)).await.unwrap();
    (near, listener.accept().await)
}

fn in_virtual_time<T>(future: impl Future<Output = T>) -> T {
    run(1, SMALL, future)
}

#[test]
fn bytes_arrive_in_order_and_the_end_behind_them() {
    in_virtual_time(async {
        let (near, far) = pair().await;

        assert_eq!(near.write(b"one").await.unwrap(), 3);
        assert_eq!(near.write(b"two").await.unwrap(), 3);
        near.finish();

        assert_eq!(&far.read(100).await.unwrap()[..], b"one");
        assert_eq!(&far.read(2).await.unwrap()[..], b"tw");
        assert_eq!(&far.read(100).await.unwrap()[..], b"o");
        assert!(far.read(100).await.unwrap().is_empty());
        assert!(!far.is_closed(), "one direction is still open");
        assert_eq!(far.write(b"back").await.unwrap(), 4);
        assert_eq!(&near.read(100).await.unwrap()[..], b"back");
    });
}

#[test]
fn a_drop_is_an_end_or_a_reset_if_bytes_are_unread_or_on_request() {
    in_virtual_time(async {
        let (near, far) = pair().await;
        drop(near);
        assert!(far.read(1).await.unwrap().is_empty());
        assert!(far.is_closed());
        assert_eq!(
            far.write(b"x").await.unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );

        let (near, far) = pair().await;
        far.write(b"unread").await.unwrap();
        drop(near);
        assert_eq!(
            far.read(1).await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );

        let (near, far) = pair().await;
        near.reset_on_drop(true);
        drop(near);
        assert_eq!(
            far.read(1).await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
    });
}

#[test]
fn a_writer_waits_for_a_reader_that_is_slow() {
    in_virtual_time(async {
        let (near, far) = pair().await;
        let data = vec![7; 1 << 20];
        let reading = async {
            let mut count = 0;
            while count < data.len() {
                sleep(Duration::from_millis(10)).await;
                count += far.read(10_000).await.unwrap().len();
            }
        };
        let writing = async {
            let mut rest = &data[..];
            while !rest.is_empty() {
                rest = &rest[near.write(rest).await.unwrap()..];
            }
            clock::now()
        };

        let begin = clock::now();
        let (end, ()) = tokio::join!(writing, reading);

        assert!(end - begin > Duration::from_millis(800));
        assert_eq!(near.unread(), 0);
    });
}

#[test]
fn a_silent_route_carries_nothing_until_it_is_open_again() {
    in_virtual_time(async {
        let (near, far) = pair().await;
        route(&address(1)).set_reach(Reach::Silent);
        near.write(b"late").await.unwrap();

        assert!(timeout(LONG, far.read(10)).await.is_err());
        let unreachable = connect(&address(1)).await.unwrap_err();
        assert_eq!(unreachable.kind(), ErrorKind::TimedOut);

        route(&address(1)).set_reach(Reach::Open);
        assert_eq!(&far.read(10).await.unwrap()[..], b"late");
    });
}

#[test]
fn the_end_of_a_side_is_not_noticed_on_a_silent_route() {
    in_virtual_time(async {
        let (near, far) = pair().await;
        route(&address(1)).set_reach(Reach::Silent);
        drop(near);

        assert!(timeout(LONG, far.read(10)).await.is_err());
        assert!(!far.is_closed());
        assert_eq!(far.write(b"x").await.unwrap(), 1);

        route(&address(1)).set_reach(Reach::Open);
        assert!(far.is_closed());
    });
}

#[test]
fn bytes_take_the_latency_of_the_route() {
    in_virtual_time(async {
        let (near, far) = pair().await;
        route(&address(1)).set_latency(Duration::from_millis(200));
        let begin = clock::now();
        near.write(b"x").await.unwrap();

        far.read(1).await.unwrap();

        let taken = clock::since(begin);
        assert!((200..210).contains(&taken.as_millis()), "{taken:?}");
    });
}

#[test]
fn an_address_is_refused_in_use_or_chosen() {
    in_virtual_time(async {
        let listener = bind(address(0)).unwrap();
        let chosen = listener.address().clone();

        assert_ne!(chosen, address(0));
        assert_eq!(
            bind(chosen.clone()).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );
        drop(listener);
        let refused = connect(&chosen).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        bind(chosen).unwrap();
    });
}

#[test]
fn a_cut_resets_every_stream_of_the_route() {
    in_virtual_time(async {
        let (near, far) = pair().await;
        assert_eq!(route(&address(1)).open_streams(), 2);

        route(&address(1)).cut();

        assert_eq!(
            near.read(1).await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        assert_eq!(
            far.write(b"x").await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        assert_eq!(route(&address(1)).open_streams(), 0);
    });
}

#[test]
#[should_panic(expected = "busy loop: the task spawned at src/virtual_net/tests.rs")]
fn a_task_that_is_polled_without_end_is_a_failure() {
    in_virtual_time(async {
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        sleep(LONG).await;
    });
}

#[test]
#[should_panic(expected = "busy loop: the clock is read without end")]
fn a_poll_that_does_not_return_is_a_failure() {
    in_virtual_time(async { while clock::now() > clock::now() - LONG {} });
}

#[test]
fn the_same_seed_gives_the_same_branches_of_select() {
    let draw = |seed| {
        run(seed, SMALL, async {
            let mut drawn = Vec::new();
            for _ in 0..64 {
                tokio::select! {
                    () = async {} => drawn.push(0),
                    () = async {} => drawn.push(1),
                }
            }
            (drawn, fastrand::u64(..))
        })
    };

    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}
