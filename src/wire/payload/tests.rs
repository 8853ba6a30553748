//! Tests with valid payloads, as a real agent writes them, and with invalid ones.

use super::*;

#[test]
fn the_handshake_request_of_a_real_agent_is_read() {
    let text = br#"{"AgentVersion":"3.3.0.0","RequestedClientActions":[{"ActionType":"SessionType","ActionParameters":{"SessionType":"Port","Properties":{"localPortNumber":"0","portNumber":"9001","type":"LocalPortForwarding"}}}]}"#;

    let request: HandshakeRequest = decode(text).unwrap();
    let action = request.requested_client_actions[0].clone();
    let session = action.session_type().unwrap();

    assert_eq!(request.agent_version, "3.3.0.0");
    assert_eq!(action.action_type, "SessionType");
    assert_eq!(session.session_type, "Port");
    assert_eq!(session.property("type"), "LocalPortForwarding");
}

#[test]
fn keys_match_whatever_their_case_and_null_is_the_zero_value() {
    let text = br#"{"agentversion":null,"REQUESTEDCLIENTACTIONS":[{"actionType":"X"}],"new":1}"#;

    let request: HandshakeRequest = decode(text).unwrap();

    assert_eq!(request.agent_version, "");
    assert_eq!(request.requested_client_actions[0].action_type, "X");
}

#[test]
fn an_exact_key_wins_over_another_spelling() {
    let text = br#"{"AgentVersion":"exact","agentversion":"other","AGENTVERSION":"other"}"#;

    let request: HandshakeRequest = decode(text).unwrap();

    assert_eq!(request.agent_version, "exact");
}

#[test]
fn a_value_of_the_wrong_type_makes_the_payload_unreadable() {
    let text = br#"{"ProcessedClientActions":[{"ActionStatus":"1"}]}"#;

    assert!(decode::<HandshakeResponse>(text).is_err());
}

#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    let text = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();

    assert!(decode::<HandshakeRequest>(&text).is_err());
}

#[test]
fn flags_are_four_bytes() {
    for flag in [
        Flag::DisconnectToPort,
        Flag::TerminateSession,
        Flag::Other(9),
    ] {
        assert_eq!(Flag::decode(&flag.encode()), Some(flag));
    }
    assert_eq!(Flag::decode(&[0, 0, 3]), None);
}

#[test]
fn a_longer_json_payload_than_any_agent_sends_is_an_error() {
    let padded = |len: usize| {
        let mut text =
            br#"{"AgentVersion":"3.3.0.0","AcknowledgedMessageSequenceNumber":1}"#.to_vec();
        text.resize(len, b' ');
        text
    };

    assert!(decode::<HandshakeRequest>(&padded(MAX_JSON)).is_ok());
    assert!(decode_acknowledge(&padded(MAX_JSON)).is_ok());
    let error = decode::<HandshakeRequest>(&padded(MAX_JSON + 1)).unwrap_err();
    assert!(error.to_string().contains("65537"), "{error}");
    assert!(decode_acknowledge(&padded(MAX_JSON + 1)).is_err());
}
