//! Tests of faults that are scheduled for a time after the start of a session.

use super::faults::{end, post_faults, with};
use super::*;
use crate::sim::{Faults, OneOffFault, ScheduledFault};

#[tokio::test]
async fn overdue_scheduled_faults_are_injected_once_and_in_order() {
    let simulator = simulator(unpaced()).await;
    let (session, mut client) = established(&simulator, 9).await;
    let plan = json!({ "faults": { "scheduled": [
        { "after": "2us", "blow": { "break": { "close": 1001 } } },
        { "after": "1us", "blow": "pause_client" },
        { "after": "60m", "blow": "kill_agent" },
    ] } });

    assert_eq!(post_faults(&simulator, &plan).await.0, 200);
    while client.next().await.unwrap().header.kind != MessageType::PausePublication {}
    assert_eq!(end(&mut client).await, Some(1001));
    let mut client = resume(&simulator, &session, client.next).await;
    assert_eq!(post_faults(&simulator, &plan).await.0, 200);
    client.send(PayloadType::Size, b"probe").await;

    assert_eq!(client.receive_acknowledgement().await, 1);
    assert_eq!(simulator.ledger().sessions[0].lost, 1);
}

#[tokio::test]
async fn a_fault_scheduled_before_one_that_was_injected_is_injected_at_once() {
    let simulator = simulator(unpaced()).await;
    let (_, mut client) = established(&simulator, 9).await;
    let pause = json!({ "after": "2us", "fault": "pause_client" });
    let disconnect = json!({ "after": "1us", "fault": { "break": { "close": 1001 } } });

    let first = json!({ "faults": { "scheduled": [pause] } });
    assert_eq!(post_faults(&simulator, &first).await.0, 200);
    while client.next().await.unwrap().header.kind != MessageType::PausePublication {}
    let both = json!({ "faults": { "scheduled": [pause, disconnect] } });
    assert_eq!(post_faults(&simulator, &both).await.0, 200);

    assert_eq!(end(&mut client).await, Some(1001));
}

#[tokio::test]
async fn scheduled_faults_are_injected_into_every_session() {
    let mut options = with(Faults {
        scheduled: vec![ScheduledFault {
            after: Duration::from_millis(20),
            fault: OneOffFault::KillAgent,
        }],
        ..Faults::default()
    });
    options.agent.crash_delay = Duration::ZERO;
    let simulator = simulator(options).await;

    for _ in 0..3 {
        start(&simulator, 9).await;
    }
    until(|| simulator.open_sessions() == 0).await;

    let ledger = simulator.ledger();
    let ended = ledger.sessions.iter().map(|session| session.ended_by);
    assert!(ended.eq([Some(EndedBy::AgentFailure); 3]), "{ledger:#?}");
}
