//! Classes of the texts with which agents end a session (docs/protocol.md, section 9.3).

use crate::error_class::ErrorClass;

/// Returns the class of the `Output` of a `channel_closed`.
pub(super) fn class_of(output: &str) -> ErrorClass {
    let mut known = TEXTS.iter();
    let found = known.find(|(text, _)| output.contains(text));
    found.map_or(ErrorClass::AgentFailed, |(_, class)| *class)
}

/// Parts of texts, and their class. The first one that is in a text applies.
const TEXTS: [(&str, ErrorClass); 15] = [
    ("data key", ErrorClass::KmsUnsupported),
    ("KMS", ErrorClass::KmsUnsupported),
    ("initiating handshake", ErrorClass::HandshakeFailed),
    ("Setting up data channel", ErrorClass::AgentFailed),
    ("is forbidden", ErrorClass::DestinationForbidden),
    ("lookup ", ErrorClass::DestinationNotFound),
    ("no such host", ErrorClass::DestinationNotFound),
    ("connection refused", ErrorClass::DestinationRefused),
    ("i/o timeout", ErrorClass::DestinationTimedOut),
    ("timed out", ErrorClass::DestinationTimedOut),
    ("no route to host", ErrorClass::DestinationTimedOut),
    ("network is unreachable", ErrorClass::DestinationTimedOut),
    (
        "Unable to connect to specified port",
        ErrorClass::DestinationRefused,
    ),
    ("Port number is empty", ErrorClass::DocumentParameters),
    (
        "not supported by this version of ssm agent",
        ErrorClass::AgentTooOld,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_agents_have_their_class() {
        for (output, class) in [
            (
                "lookup db.internal on 10.0.0.2:53: no such host",
                ErrorClass::DestinationNotFound,
            ),
            (
                "lookup db.internal: no such host",
                ErrorClass::DestinationNotFound,
            ),
            (
                "lookup db.internal on 10.0.0.2:53: read udp 10.0.0.9:4711->10.0.0.2:53: i/o timeout",
                ErrorClass::DestinationNotFound,
            ),
            (
                "Forwarding to IP address 169.254.169.254 is forbidden.",
                ErrorClass::DestinationForbidden,
            ),
            (
                "Unable to connect to specified port: dial tcp 127.0.0.1:9: connect: connection refused",
                ErrorClass::DestinationRefused,
            ),
            (
                "Unable to connect to specified port: dial tcp 10.0.0.1:9: connect: connection timed out",
                ErrorClass::DestinationTimedOut,
            ),
            (
                "dial tcp 10.0.0.1:9: connect: no route to host",
                ErrorClass::DestinationTimedOut,
            ),
            (
                "Port number is empty in session properties. Closing session",
                ErrorClass::DocumentParameters,
            ),
            (
                "Encountered error while initiating handshake. Handshake timed out",
                ErrorClass::HandshakeFailed,
            ),
            (
                "Encountered error while initiating handshake. Fetching data key failed: AccessDeniedException",
                ErrorClass::KmsUnsupported,
            ),
            (
                "Setting up data channel with id s-1 failed: failed to create websocket",
                ErrorClass::AgentFailed,
            ),
            (
                "Plugin with name Port is not supported by this version of ssm agent, please update",
                ErrorClass::AgentTooOld,
            ),
            ("something else", ErrorClass::AgentFailed),
        ] {
            assert_eq!(class_of(output), class, "{output}");
        }
    }
}
