//! Tests of admission and replacement.

use tokio::task::JoinSet;

use super::*;

fn peer(last: u8) -> ClientKey {
    ClientKey::Address(IpAddr::from([192, 0, 2, last]))
}

/// Clients that close when they are replaced, each returning its name.
#[derive(Default)]
struct Idle(JoinSet<&'static str>);

impl Idle {
    fn keep(&mut self, name: &'static str, client: AdmittedClient) {
        self.0.spawn(async move {
            client.replaced().await;
            name
        });
    }

    fn left(&mut self) -> Vec<&'static str> {
        let left = std::iter::from_fn(|| self.0.try_join_next());
        left.map(Result::unwrap).collect()
    }
}

#[tokio::test]
async fn the_longest_idle_connection_is_replaced() {
    let clients = Clients::new("test", 3);
    let mut idle = Idle::default();
    for name in ["first", "second", "third"] {
        let client = clients.admit(peer(1)).await.unwrap();
        if name == "third" {
            drop(client.answering());
        }
        idle.keep(name, client);
    }
    let first = clients.state().entries.keys().next().copied().unwrap();
    // The first has been answered more recently.
    clients.state().entries.get_mut(&first).unwrap().activity = Activity::Fresh(99);

    let _fourth = clients.admit(peer(1)).await.unwrap();

    assert_eq!(idle.left(), ["second"]);
}

#[tokio::test]
async fn the_peer_with_most_connections_loses_one_in_any_order() {
    let clients = Clients::new("test", 4);
    let mut idle = Idle::default();
    for _ in 0..3 {
        idle.keep("many", clients.admit(peer(2)).await.unwrap());
    }
    idle.keep("one", clients.admit(peer(1)).await.unwrap());

    idle.keep("third", clients.admit(peer(3)).await.unwrap());

    assert_eq!(idle.left(), ["many"]);
}

#[tokio::test]
async fn a_peer_with_many_connections_does_not_displace_other_peers() {
    let clients = Clients::new("test", 4);
    let mut idle = Idle::default();
    idle.keep("one", clients.admit(peer(1)).await.unwrap());
    for _ in 0..20 {
        idle.keep("many", clients.admit(peer(2)).await.unwrap());
    }

    idle.keep("third", clients.admit(peer(3)).await.unwrap());

    assert_eq!(idle.left(), ["many"; 18]);
}

#[tokio::test]
async fn a_request_that_is_being_answered_is_not_interrupted() {
    let clients = Clients::new("test", 2);
    let first = clients.admit(peer(1)).await.unwrap();
    let second = clients.admit(peer(1)).await.unwrap();
    let answers = (first.answering(), second.answering());
    let replaced = async {
        tokio::select! {
            () = first.replaced() => {}
            () = second.replaced() => {}
        }
    };

    tokio::select! {
        third = clients.admit(peer(1)) => assert!(third.is_none(), "refused after a while"),
        () = replaced => panic!("a response was interrupted"),
    }

    drop(answers);
}

#[tokio::test]
async fn a_new_connection_has_time_for_a_request_before_it_is_replaced() {
    let clients = Clients::new("test", 1);
    let mut idle = Idle::default();
    idle.keep("first", clients.admit(peer(1)).await.unwrap());
    let mut admitted = std::pin::pin!(clients.admit(peer(1)));

    assert!(timeout(GRACE / 2, admitted.as_mut()).await.is_err());
    assert!(idle.left().is_empty());
    assert!(admitted.await.is_some());
    assert_eq!(idle.left(), ["first"]);
}

#[tokio::test]
async fn a_new_connection_is_admitted_although_the_closed_one_ends_late() {
    let clients = Clients::new("test", 1);
    let first = clients.admit(peer(1)).await.unwrap();
    let leaving = async {
        first.replaced().await;
        // The connection is closed late.
        sleep(TIMEOUT - GRACE / 2).await;
        drop(first);
    };

    let (admitted, ()) = tokio::join!(clients.admit(peer(2)), leaving);

    assert!(admitted.is_some());
}

#[tokio::test]
async fn a_closed_connection_frees_its_permit() {
    let clients = Clients::new("test", 1);
    for _ in 0..3 {
        let client = clients.admit(ClientKey::Local).await.unwrap();
        drop(client);
    }
    assert!(clients.state().entries.is_empty());
    assert_eq!(clients.state().closed, 0);
}

#[tokio::test]
async fn a_peer_that_is_never_idle_does_not_occupy_all_connections() {
    let clients = Clients::new("test", 3);
    let mut busy = JoinSet::new();
    for _ in 0..3 {
        let client = clients.admit(peer(2)).await.unwrap();
        busy.spawn(async move {
            loop {
                tokio::select! {
                    () = client.replaced() => return,
                    () = sleep(GRACE / 10) => drop(client.answering()),
                }
            }
        });
    }

    let admitted = clients.admit(peer(1)).await;

    assert!(admitted.is_some());
    busy.join_next().await.unwrap().unwrap();
    assert_eq!(busy.len(), 2);
}
