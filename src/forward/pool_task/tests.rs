//! What the task does about requests that arrive together.

use tokio::sync::Semaphore;

use super::*;
use crate::clock;
use crate::config;
use crate::forward::{ActivatedSockets, FirstTunnel};
use crate::network::Network;
use crate::proto::{ClientVersion, ReorderBudget};
use crate::session::{Identity, Journal, Priority, Sessions, Settings, SsmClient};
use crate::tunnel::Trigger;

/// A task for a forward that nobody serves.
async fn pool_task() -> PoolTask {
    let text =
        "[[forward]]\nname = \"f\"\nlisten = 0\ntarget = \"i-0123456789abcdef0\"\nremote = 22\n";
    let settings = config::parse(text).unwrap().forwards.remove(0);
    let ssm = SsmClient::load(Settings {
        region: Some("us-east-1".to_owned()),
        identity: Identity::Fixed {
            access_key: "key".to_owned(),
            secret_key: "secret".to_owned(),
        },
        ..Settings::default()
    });
    let (sessions, _) = Sessions::new(1, 1, Journal::none());
    let (_, trigger) = Trigger::new();
    let context = Context {
        ssm: ssm.await.unwrap(),
        target_clients: Vec::new(),
        sessions,
        network: Network::new(None).unwrap(),
        reorder_budget: ReorderBudget::new(),
        triggered: trigger.clone(),
        passed: ActivatedSockets::default(),
        dump_connections: trigger,
        permits: Arc::new(Semaphore::new(1)),
        max_waiting: 1,
        seed: 1,
        client_version: ClientVersion::DEFAULT,
        origin: "tests".to_owned(),
        pushed_key: None,
        first_tunnel: FirstTunnel::default(),
    };
    PoolTask::new(&Arc::new(settings), context, Arc::default()).1
}

/// Makes a connection wait for a tunnel, which the pool starts.
fn starting(task: &mut PoolTask) -> (TunnelId, WaiterId, AcceptPermit) {
    let waiter = WaiterId(0);
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let permit = Arc::new(permit);
    let (reply, _answer) = oneshot::channel();
    task.handle(PoolRequest::Acquire {
        id: waiter,
        deadline: clock::now() + Duration::from_secs(60),
        reply,
        permit: Arc::clone(&permit),
        requested: None,
    });
    let Some(Action::Start { tunnel, .. }) = task.pool.poll_action() else {
        panic!("a tunnel is started for the waiter");
    };
    (tunnel, waiter, permit)
}

#[tokio::test]
async fn a_tunnel_that_was_assigned_to_a_client_that_has_just_left_is_closed() {
    let mut task = pool_task().await;
    let (tunnel, waiter, permit) = starting(&mut task);
    let now = clock::now();

    // One batch: the tunnel is ready and assigned, and then the client leaves.
    task.pool.handle_ready(now, tunnel);
    task.pool.settle();
    task.handle(PoolRequest::CancelWait(waiter, permit));
    task.apply();

    assert_eq!(task.pool.count(), (0, 0), "no tunnel is left");
}

#[tokio::test]
async fn a_tunnel_that_does_not_close_in_time_is_aborted() {
    let mut task = pool_task().await;
    let (id, ..) = starting(&mut task);
    let record = TunnelRecord {
        session: task.sessions.add(id),
        priority: Priority::warm_session(),
        task: task.tasks.spawn(std::future::pending()),
        stage: StartStage::Calling,
        tunnel: None,
        disconnected: None,
    };
    task.tunnels.insert(id, record);

    task.retire(id);
    assert!(task.deadline() <= clock::now() + CLOSE_TIMEOUT);
    task.ending[0].0 = clock::now();
    task.handle_timeout();

    let done = timeout(Duration::from_secs(60), task.tasks.join_next()).await;
    let done = done.expect("it is aborted").unwrap();
    assert!(done.unwrap_err().is_cancelled());
}
