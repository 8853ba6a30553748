//! What the document of a port session resolved to: its properties, as the agent reports them
//! (docs/protocol.md, section 1.3).

use std::path::PathBuf;

use crate::error_class::ErrorClass;
use crate::printable::Printable;
use crate::proto::channel::version::AgentVersion;
use crate::proto::error::Reason;
use crate::wire::payload::SessionType;

/// The document of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResolvedDocument {
    /// Content of the payloads.
    pub mode: Mode,
    /// Host and port that the agent connects to; `None` if the properties have no port.
    pub destination: Option<Printable>,
    /// What the client connects to the session.
    pub client_side: ClientSide,
}

/// Content of the payloads of a session. Determined by the document, not by an option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Frames of many streams.
    #[default]
    Mux,
    /// The bytes of one connection.
    Single,
}

/// What a client connects to a session, according to its document. Only a drop-in for the official
/// client follows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientSide {
    /// stdin and stdout.
    #[default]
    Stdio,
    /// The connections to a local port, which is a number unless the document is wrong; empty or
    /// `0` for any free port.
    Port(Printable),
    /// The connections to a Unix socket.
    UnixSocket(PathBuf),
}

impl ResolvedDocument {
    /// Returns what a session resolved to.
    ///
    /// # Errors
    ///
    /// If it is not a port session, or the agent is too old for it.
    pub(crate) fn new(session: &SessionType, version: &AgentVersion) -> Result<Self, Reason> {
        Ok(Self {
            mode: mode(session, version)?,
            destination: destination(session),
            client_side: client_side(session),
        })
    }
}

/// Returns the mode of the session. A mux is used with exactly one `type`; with any other, a port
/// session carries one connection (docs/protocol.md, section 1.3).
fn mode(session: &SessionType, version: &AgentVersion) -> Result<Mode, Reason> {
    if session.session_type != "Port" {
        let got = Printable::cut(&session.session_type, MAX_NAME);
        return Err(Reason::handshake(Printable::of(format_args!(
            "the document opens a session of type {got:?}, not a port session; choose another `document`"
        ))));
    }
    if !is_port_forwarding(session) {
        return Ok(Mode::Single);
    }
    if !version.has_mux() {
        return Err(Reason::Handshake {
            why: Printable::of(format_args!(
                "the agent on the target has version {version}, too old to multiplex; update it to 3.0.222.0 or later"
            )),
            class: ErrorClass::AgentTooOld,
        });
    }
    Ok(Mode::Mux)
}

fn is_port_forwarding(session: &SessionType) -> bool {
    session.property("type") == "LocalPortForwarding"
}

/// Returns where the agent connects to, in the form of the configuration.
fn destination(session: &SessionType) -> Option<Printable> {
    let host = Some(session.property("host")).filter(|host| !host.is_empty());
    let host = Printable::cut(host.unwrap_or("localhost"), MAX_HOST);
    let port = Printable::cut(session.property("portNumber"), MAX_PORT);
    (!port.is_empty()).then(|| match host.contains(':') {
        true => Printable::of(format_args!("[{host}]:{port}")),
        false => Printable::of(format_args!("{host}:{port}")),
    })
}

fn client_side(session: &SessionType) -> ClientSide {
    if !is_port_forwarding(session) {
        return ClientSide::Stdio;
    }
    match session.property("localConnectionType") {
        "unix" => {
            let path = session.property("localUnixSocket").chars();
            ClientSide::UnixSocket(path.take(MAX_PATH).collect::<String>().into())
        }
        _ => ClientSide::Port(Printable::cut(
            session.property("localPortNumber"),
            MAX_LOCAL_PORT,
        )),
    }
}

/// Maximum length of a session type in an error, in characters.
const MAX_NAME: usize = 40;

/// Maximum length of a host, in characters; that of a name in DNS.
const MAX_HOST: usize = 255;

/// Maximum length of a port, in characters.
const MAX_PORT: usize = 5;

/// The same for a local one. Longer, so that a cut text is not taken for a number.
const MAX_LOCAL_PORT: usize = 20;

/// Maximum length of the path of a socket, in characters: more than a socket address can hold.
const MAX_PATH: usize = 1024;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn side(properties: &serde_json::Value) -> ClientSide {
        let session = json!({ "SessionType": "Port", "Properties": properties });
        let session: SessionType = serde_json::from_value(session).unwrap();
        let version = AgentVersion::new("3.3.987.0");
        ResolvedDocument::new(&session, &version)
            .unwrap()
            .client_side
    }

    #[test]
    fn the_client_side_is_that_of_the_properties() {
        let kind = "LocalPortForwarding";

        for (properties, expected) in [
            (json!({}), ClientSide::Stdio),
            (json!({ "portNumber": "22" }), ClientSide::Stdio),
            (json!({ "type": kind }), ClientSide::Port("".into())),
            (
                json!({ "type": kind, "localPortNumber": "5432" }),
                ClientSide::Port("5432".into()),
            ),
            (
                json!({ "type": kind, "localConnectionType": "unix", "localUnixSocket": "/a/b" }),
                ClientSide::UnixSocket("/a/b".into()),
            ),
        ] {
            assert_eq!(side(&properties), expected, "{properties}");
        }
    }

    #[test]
    fn long_properties_are_cut() {
        let kind = "LocalPortForwarding";
        let long = "1".repeat(100_000);

        let port = side(&json!({ "type": kind, "localPortNumber": long }));
        let unix = json!({ "type": kind, "localConnectionType": "unix", "localUnixSocket": long });

        let ClientSide::Port(port) = port else {
            panic!("{port:?}")
        };
        assert!(port.parse::<u16>().is_err() && port.len() < 30, "{port}");
        let ClientSide::UnixSocket(path) = side(&unix) else {
            panic!("a socket")
        };
        assert_eq!(path.as_os_str().len(), MAX_PATH);
    }
}
