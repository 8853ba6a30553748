//! Tests of messages sent while the client or the agent has no websocket.

use super::*;
use crate::sim::OneOffFault;

#[tokio::test]
async fn without_a_buffer_output_is_discarded_until_a_client_attaches() {
    let options = Options {
        gateway_buffer: 0,
        ..unpaced()
    };
    let simulator = simulator(options).await;
    let session = start(&simulator, 9).await;
    until(|| simulator.ledger().sessions[0].traffic.discarded > 0).await;

    // The agent retransmits, because nothing was acknowledged.
    let mut client = Client::open(&simulator, &session).await;
    client.receive(PayloadType::HandshakeRequest).await;

    until(|| simulator.ledger().sessions[0].traffic.retransmitted > 0).await;
}

#[tokio::test]
async fn input_for_a_disconnected_agent_is_discarded() {
    let simulator = simulator(unpaced()).await;
    let (_, mut client) = established(&simulator, 9).await;
    client.ready().await;

    simulator.inject(None, OneOffFault::AgentAway(AN_HOUR));
    client.send(PayloadType::Size, b"lost").await;
    until(|| simulator.ledger().sessions[0].traffic.discarded_in == 1).await;
    simulator.inject(None, OneOffFault::AgentAway(Duration::ZERO));
    client.next -= 1;

    client.ready().await;
}

#[tokio::test]
async fn input_for_a_disconnected_agent_is_kept_up_to_the_limit() {
    let message = 120 + 4;
    let options = Options {
        gateway_input_buffer: 2 * message,
        ..unpaced()
    };
    let simulator = simulator(options).await;
    let (_, mut client) = established(&simulator, 9).await;
    client.ready().await;

    simulator.inject(None, OneOffFault::AgentAway(AN_HOUR));
    for _ in 0..3 {
        client.send(PayloadType::Size, b"kept").await;
    }
    until(|| simulator.ledger().sessions[0].traffic.discarded_in == 1).await;
    simulator.inject(None, OneOffFault::AgentAway(Duration::ZERO));

    client.receive_acknowledgement_of(2).await;
    client.receive_acknowledgement_of(3).await;
}

const AN_HOUR: Duration = Duration::from_secs(3600);
