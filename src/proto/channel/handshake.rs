//! The handshake: the agent's request and our response.
//!
//! ```text
//!   Waiting ──request──▶ Answered ──complete──▶ Complete
//! ```
//!
//! Exactly one response is sent, whatever is received twice: a second one with a new number stops
//! the agent's reader permanently (docs/protocol.md, section 5.1). Unknown actions are answered as
//! unsupported, by name; the agent then decides whether it insists. Port sessions never need
//! encryption (section 5.4).

use bytes::Bytes;

use super::version::{AgentVersion, ClientVersion};
use crate::printable::Printable;
use crate::proto::document::ResolvedDocument;
use crate::proto::error::Reason;
use crate::wire::payload::{
    self, ACTION_SUCCESS, ACTION_UNSUPPORTED, HandshakeComplete, HandshakeRequest,
    HandshakeResponse, ProcessedAction, RequestedAction,
};

/// Handshake of one data channel.
#[derive(Debug)]
pub(crate) struct Handshake {
    state: HandshakeState,
    client_version: ClientVersion,
}

impl Handshake {
    pub(crate) fn new() -> Self {
        Self {
            state: HandshakeState::Waiting,
            client_version: ClientVersion::DEFAULT,
        }
    }

    /// Sets the client version to send.
    pub(crate) fn announce(&mut self, version: ClientVersion) {
        self.client_version = version;
    }

    /// Handles a request. Returns the response, or `None` if it was given before.
    ///
    /// # Errors
    ///
    /// If the request cannot be decoded, has too many actions, is not about port forwarding, or
    /// comes from an agent that is too old.
    pub(crate) fn handle_request(&mut self, request: &[u8]) -> Result<Option<Bytes>, Reason> {
        if !matches!(self.state, HandshakeState::Waiting) {
            return Ok(None);
        }
        let request: HandshakeRequest = payload::decode(request)
            .map_err(|error| Reason::unreadable("HandshakeRequest", &error))?;
        check_size(&request.requested_client_actions)?;
        let version = AgentVersion::new(&request.agent_version);
        let mut processed = Vec::new();
        let mut document = ResolvedDocument::default();
        for action in &request.requested_client_actions {
            processed.push(answer(action, &version, &mut document)?);
        }
        self.state = HandshakeState::Answered { version, document };
        Ok(Some(payload::encode(&HandshakeResponse {
            client_version: self.client_version.to_string(),
            processed_client_actions: processed,
            errors: None,
        })))
    }

    /// Handles the completion by the agent.
    ///
    /// # Errors
    ///
    /// If it cannot be decoded, or was received before a request.
    pub(crate) fn handle_complete(&mut self, complete: &[u8]) -> Result<Completed, Reason> {
        let complete: HandshakeComplete = payload::decode(complete)
            .map_err(|error| Reason::unreadable("HandshakeComplete", &error))?;
        match std::mem::replace(&mut self.state, HandshakeState::Complete) {
            HandshakeState::Answered { version, document } => Ok(Completed {
                version,
                document,
                notice: Printable::cut(&complete.customer_message, MAX_NOTICE),
            }),
            HandshakeState::Waiting | HandshakeState::Complete => Err(Reason::handshake(
                "the agent sent HandshakeComplete without a HandshakeRequest".into(),
            )),
        }
    }

    /// Returns true if a request was received, so that there is an agent.
    pub(crate) fn is_begun(&self) -> bool {
        !matches!(self.state, HandshakeState::Waiting)
    }

    /// Returns true if data may be sent, apart from the agent's readiness.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.state, HandshakeState::Complete)
    }
}

/// Result of the handshake.
#[derive(Debug)]
pub(crate) struct Completed {
    /// The agent's version.
    pub version: AgentVersion,
    /// What its document resolved to.
    pub document: ResolvedDocument,
    /// A message for the user; may be empty.
    pub notice: Printable,
}

#[derive(Debug)]
enum HandshakeState {
    Waiting,
    Answered {
        version: AgentVersion,
        document: ResolvedDocument,
    },
    Complete,
}

/// Limits the size of a request. The response repeats each action, is sent outside the window and
/// is kept until it is acknowledged.
fn check_size(actions: &[RequestedAction]) -> Result<(), Reason> {
    let count = actions.len();
    if count > MAX_ACTIONS {
        let why = format!(
            "the agent requests {count} actions in the handshake, expected at most {MAX_ACTIONS}"
        );
        return Err(Reason::handshake(why.into()));
    }
    let longest = actions.iter().map(|action| action.action_type.len()).max();
    if let Some(len) = longest.filter(|len| *len > MAX_ACTION_TYPE) {
        let why = format!(
            "the agent requests a handshake action with a type of {len} bytes, expected at most {MAX_ACTION_TYPE}"
        );
        return Err(Reason::handshake(why.into()));
    }
    Ok(())
}

fn answer(
    action: &RequestedAction,
    version: &AgentVersion,
    document: &mut ResolvedDocument,
) -> Result<ProcessedAction, Reason> {
    let (status, error) = match action.action_type.as_str() {
        "SessionType" => {
            let session = action
                .session_type()
                .map_err(|error| Reason::unreadable("session type", &error))?;
            *document = ResolvedDocument::new(&session, version)?;
            (ACTION_SUCCESS, String::new())
        }
        other => (
            ACTION_UNSUPPORTED,
            format!("{other} is not supported by this client"),
        ),
    };
    Ok(ProcessedAction::new(
        action.action_type.clone(),
        status,
        error,
    ))
}

/// Maximum length of a message for the user, in characters.
const MAX_NOTICE: usize = 500;

/// Maximum number of actions in a request. Agents use two.
const MAX_ACTIONS: usize = 16;

/// Maximum length of an action type, in bytes. The longest used by agents has 13.
const MAX_ACTION_TYPE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printable::is_printable;

    fn request(version: &str, actions: &str) -> String {
        format!(r#"{{"AgentVersion":"{version}","RequestedClientActions":[{actions}]}}"#)
    }

    const PORT: &str = r#"{"ActionType":"SessionType","ActionParameters":{"SessionType":"Port","Properties":{"portNumber":"9001","type":"LocalPortForwarding"}}}"#;

    #[test]
    fn a_port_session_is_answered_once_and_completed() {
        let mut handshake = Handshake::new();

        let response = handshake
            .handle_request(request("3.3.987.0", PORT).as_bytes())
            .unwrap();
        let again = handshake
            .handle_request(request("3.3.987.0", PORT).as_bytes())
            .unwrap();
        let completed = handshake
            .handle_complete(br#"{"CustomerMessage":"hello"}"#)
            .unwrap();

        assert_eq!(
            &response.unwrap()[..],
            br#"{"ClientVersion":"1.2.764.0","ProcessedClientActions":[{"ActionType":"SessionType","ActionStatus":1,"ActionResult":null,"Error":""}],"Errors":null}"#
        );
        assert_eq!(again, None);
        assert_eq!(completed.version.to_string(), "3.3.987.0");
        assert_eq!(completed.notice, "hello");
        assert!(handshake.is_complete());
    }

    #[test]
    fn texts_of_the_agent_are_printable_and_cut() {
        let hostile = format!(r"FORGED\u001b[2J\r\nx\u202e{}", "A".repeat(30_000));
        let complete = format!(r#"{{"CustomerMessage":"{hostile}"}}"#);
        let mut handshake = Handshake::new();

        let refused = Handshake::new().handle_request(request(&hostile, PORT).as_bytes());
        let accepted = handshake.handle_request(request("3.3.987.0", PORT).as_bytes());
        let completed = handshake.handle_complete(complete.as_bytes());

        assert!(accepted.unwrap().is_some());
        let notice = completed.unwrap().notice.to_string();
        for text in [refused.unwrap_err().to_string(), notice] {
            assert!(text.contains("FORGED"), "{text:?}");
            assert!(text.chars().all(is_printable), "{text:?}");
            assert!(text.len() < 10_000, "{} bytes", text.len());
        }
    }

    #[test]
    fn encryption_is_answered_unsupported_by_name() {
        let kms = format!(r#"{PORT},{{"ActionType":"KMSEncryption","ActionParameters":{{}}}}"#);

        let response = Handshake::new().handle_request(request("3.3.987.0", &kms).as_bytes());

        let response: HandshakeResponse = payload::decode(&response.unwrap().unwrap()).unwrap();
        let [_, kms] = &response.processed_client_actions[..] else {
            panic!("two actions")
        };
        assert_eq!(kms.action_status, ACTION_UNSUPPORTED);
        assert!(kms.error.contains("KMSEncryption"));
    }

    #[test]
    fn the_error_for_an_agent_without_mux_names_its_version_and_the_required_one() {
        let error = Handshake::new().handle_request(request("3.0.196.0", PORT).as_bytes());

        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("3.0.196.0") && text.contains("3.0.222.0"),
            "{text}"
        );
    }

    #[test]
    fn another_kind_of_session_is_an_error() {
        let shell = PORT.replace("Port\"", "Standard_Stream\"");

        assert!(
            Handshake::new()
                .handle_request(request("3.3.987.0", &shell).as_bytes())
                .is_err()
        );
    }

    #[test]
    fn more_or_longer_actions_than_an_agent_requests_are_refused() {
        let empty = |count: usize| vec!["{}"; count].join(",");
        let long = |len: usize| format!(r#"{{"ActionType":"{}"}}"#, "x".repeat(len));
        let answer = |actions: &str| {
            let request = request("3.3.987.0", actions);
            Handshake::new().handle_request(request.as_bytes())
        };

        assert!(answer(&empty(MAX_ACTIONS)).is_ok());
        assert!(answer(&empty(MAX_ACTIONS + 1)).is_err());
        assert!(answer(&long(MAX_ACTION_TYPE)).is_ok());
        assert!(answer(&long(MAX_ACTION_TYPE + 1)).is_err());
    }

    #[test]
    fn the_destination_is_that_of_the_resolved_properties() {
        let destination = |properties: &str| {
            let mut handshake = Handshake::new();
            let action = PORT.replace("\"portNumber\":\"9001\"", properties);
            let request = request("3.3.987.0", &action);
            handshake.handle_request(request.as_bytes()).unwrap();
            let destination = handshake
                .handle_complete(b"{}")
                .unwrap()
                .document
                .destination;
            destination.map(|text| text.to_string())
        };
        let hostile = format!(
            r#""host":"a\u001b[2J{}","portNumber":"1\n2""#,
            "b".repeat(9000)
        );

        for (properties, expected) in [
            (r#""portNumber":"5432""#, Some("localhost:5432")),
            (r#""host":"db","portNumber":"5432""#, Some("db:5432")),
            (r#""host":"fd00::1","portNumber":"1""#, Some("[fd00::1]:1")),
            (r#""host":"db""#, None),
            (r#""host":"db","portNumber":5432"#, None),
        ] {
            assert_eq!(destination(properties).as_deref(), expected);
        }
        let shown = destination(&hostile).unwrap();
        assert!(shown.chars().all(is_printable), "{shown:?}");
        assert!(shown.len() < 300, "{} bytes", shown.len());
    }

    #[test]
    fn a_handshake_complete_without_a_request_is_an_error() {
        assert!(Handshake::new().handle_complete(b"{}").is_err());
    }
}
