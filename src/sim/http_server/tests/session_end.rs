//! Tests of the end of a session, and of its report to the client.

use super::*;
use crate::sim::{Faults, Join, OneOffFault};

/// The agent waits for acknowledgements, but less than two seconds.
fn short_drain() -> Options {
    let mut options = unpaced();
    options.agent.drain = A_WHILE;
    options
}

/// Creates a session whose agent has sent a message that its client never acknowledges.
async fn with_unacknowledged_output(simulator: &Simulator) -> (Value, Client) {
    let (session, mut client) = established(simulator, 9).await;
    client.ready().await;
    client.acknowledges = false;
    // The agent responds with a flag to a stream for a port without a listener.
    let open = [1, 0, 0, 0, 3, 0, 0, 0];
    client.send(PayloadType::Output, &open).await;
    client.receive(PayloadType::Flag).await;
    (session, client)
}

/// Returns the body of `channel_closed`, and whether the websocket was closed after it.
async fn closing(client: &mut Client) -> (ChannelClosed, bool) {
    let closed = loop {
        let message = client.next().await.expect("the end is reported first");
        if message.header.kind == MessageType::ChannelClosed {
            break payload::decode(&message.payload).unwrap();
        }
    };
    (closed, client.next().await.is_none())
}

#[tokio::test]
async fn a_client_without_acknowledgements_is_notified_after_the_drain() {
    let simulator = simulator(short_drain()).await;
    let (session, mut client) = with_unacknowledged_output(&simulator).await;

    client.send(PayloadType::Flag, &[0, 0, 0, 2]).await;
    let (closed, _) = closing(&mut client).await;

    assert_eq!(session["SessionId"], closed.session_id);
    assert_eq!(closed.output, "");
    let record = &simulator.ledger().sessions[0];
    assert_eq!(record.ended_by, Some(EndedBy::Flag));
    assert!(record.traffic.unacknowledged > 0);
}

#[tokio::test]
async fn a_terminated_session_without_acknowledgements_ends() {
    let simulator = simulator(short_drain()).await;
    let (session, mut client) = with_unacknowledged_output(&simulator).await;

    let id = json!({ "SessionId": session["SessionId"] });
    assert_eq!(call(&simulator, "TerminateSession", &id).await.0, 200);
    let (closed, _) = closing(&mut client).await;

    assert_eq!(closed.output, "");
    assert_eq!(simulator.ledger().sessions[0].ended_by, Some(EndedBy::Api));
}

#[tokio::test]
async fn a_client_that_disconnects_after_its_flag_leaves_no_session() {
    let simulator = simulator(short_drain()).await;
    let (session, mut client) = with_unacknowledged_output(&simulator).await;

    client.send(PayloadType::Flag, &[0, 0, 0, 2]).await;
    drop(client);
    until(|| simulator.open_sessions() == 0).await;

    let id = json!({ "SessionId": session["SessionId"] });
    let (_, resumed) = call(&simulator, "ResumeSession", &id).await;
    assert_eq!(resumed["TokenValue"], "");
    assert_eq!(simulator.ledger().sessions[0].ended_by, Some(EndedBy::Flag));
}

#[tokio::test]
async fn a_session_without_a_client_ends() {
    let mut options = short_drain();
    options.agent.handshake_timeout = A_WHILE;
    let simulator = simulator(options).await;
    let session = start(&simulator, 9).await;

    until(|| simulator.open_sessions() == 0).await;

    let record = &simulator.ledger().sessions[0];
    assert_eq!(record.ended_by, Some(EndedBy::AgentFailure));
    assert!(
        record.output.contains("Handshake timed out."),
        "{}",
        record.output
    );
    let url = session["StreamUrl"].as_str().unwrap();
    assert_eq!(upgrade(&simulator, url).await.unwrap_err(), 410);
}

#[tokio::test]
async fn a_client_that_never_answers_the_handshake_is_notified() {
    let mut options = short_drain();
    options.agent.handshake_timeout = A_WHILE;
    options.faults.join = Join::AtConnect;
    let simulator = simulator(options).await;
    let session = start(&simulator, 9).await;
    let mut client = Client::open(&simulator, &session).await;
    client.acknowledges = false;

    let (closed, has_closed) = closing(&mut client).await;

    assert!(
        closed.output.contains("Handshake timed out."),
        "{}",
        closed.output
    );
    assert!(has_closed);
}

#[tokio::test]
async fn terminate_session_ends_a_session_whose_worker_has_crashed() {
    let simulator = simulator(unpaced()).await;
    let (session, mut client) = established(&simulator, 9).await;
    simulator.inject(None, OneOffFault::KillAgent);

    let id = json!({ "SessionId": session["SessionId"] });
    assert_eq!(call(&simulator, "TerminateSession", &id).await.0, 200);
    let (closed, has_closed) = closing(&mut client).await;

    assert_eq!((closed.output.as_str(), has_closed), ("", true));
    assert_eq!(simulator.ledger().sessions[0].ended_by, Some(EndedBy::Api));
}

#[tokio::test]
async fn a_session_that_its_agent_never_joined_is_idle_too() {
    let mut options = short_drain();
    options.faults.join = Join::AtConnect;
    options.faults.idle_timeout = Some(A_WHILE);
    let simulator = simulator(options).await;
    start(&simulator, 9).await;

    until(|| simulator.open_sessions() == 0).await;

    assert_eq!(simulator.ledger().sessions[0].ended_by, Some(EndedBy::Idle));
}

const A_WHILE: Duration = Duration::from_millis(50);

/// Fills the command queue of every session. The sessions run at the next await.
fn fill_command_queues(simulator: &Simulator) {
    for _ in 0..1000 {
        simulator.inject(None, OneOffFault::StartClient);
    }
    assert_eq!(simulator.inject(None, OneOffFault::StartClient), 0);
}

#[tokio::test]
async fn terminate_session_ends_a_session_whose_command_queue_is_full() {
    let simulator = simulator(unpaced()).await;
    let (session, mut client) = established(&simulator, 9).await;

    fill_command_queues(&simulator);
    let id = session["SessionId"].as_str().unwrap();
    simulator.service.terminate(id);

    closing(&mut client).await;
    assert_eq!(simulator.ledger().sessions[0].ended_by, Some(EndedBy::Api));
}

#[tokio::test]
async fn changed_faults_reach_a_session_whose_command_queue_is_full() {
    let simulator = simulator(unpaced()).await;
    let (_, mut client) = established(&simulator, 9).await;

    fill_command_queues(&simulator);
    simulator.set_faults(Faults {
        idle_timeout: Some(Duration::from_millis(50)),
        ..Faults::default()
    });

    closing(&mut client).await;
    assert_eq!(simulator.ledger().sessions[0].ended_by, Some(EndedBy::Idle));
}
