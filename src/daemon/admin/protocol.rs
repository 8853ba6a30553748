//! Messages of the admin socket: one JSON object per line.
//!
//! ```text
//!   {"command":"status"}              {"status":{…}}
//!   {"command":"forward","name":"db"} {"forward":{…}}
//!   {"command":"close","connection":7} {"closed":{"connection":7}}
//!   {"command":"reload"}              {"reloaded":{"added":1,…}}
//!   {"command":"stop","now":true}     {"stopped":{"sessions_left":0}}, when it has stopped
//!   {"command":"log","level":"debug"} {"log":{"filter":"…"}}
//!                                     {"error":{"kind":"listen","message":"…","hint":"…"}}
//! ```

use serde::{Deserialize, Serialize};

use crate::daemon::ReloadSummary;
use crate::telemetry::{ForwardDetail, StatusReport};

/// A request to the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Return the status of the daemon and its forwards.
    Status,
    /// Return the status of one forward, with its sessions and connections.
    Forward {
        /// Name of the forward.
        name: String,
    },
    /// Reset one connection.
    Close {
        /// Its number.
        connection: u64,
    },
    /// Reload the configuration.
    Reload,
    /// Stop the daemon. The response is sent when it has stopped.
    Stop {
        /// Do not wait for open connections.
        #[serde(default)]
        now: bool,
    },
    /// Return the log filter, or change it.
    Log {
        /// The new filter: a level of `[log] level`, or a filter expression.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        level: Option<String>,
    },
}

/// A response of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    /// The status of the daemon and its forwards.
    Status(Box<StatusReport>),
    /// The status of one forward.
    Forward(Box<ForwardDetail>),
    /// A connection was reset.
    Closed {
        /// Its number.
        connection: u64,
    },
    /// The changes made by a reload.
    Reloaded(ReloadSummary),
    /// The daemon has stopped.
    Stopped {
        /// The number of sessions that may still be active; absent if unknown.
        sessions_left: Option<usize>,
    },
    /// The current log filter.
    Log {
        /// The filter expression.
        filter: String,
    },
    /// The request failed.
    Error(ErrorResponse),
}

/// Error of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// The cause.
    pub kind: ErrorKind,
    /// Error message, in one line.
    pub message: String,
    /// Suggested action; empty if there is none.
    pub hint: String,
    /// Complete text for a terminal, if there is more: all problems of a configuration, with
    /// excerpts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendered: Option<String>,
}

/// The cause of a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorKind {
    /// The request is invalid.
    Request,
    /// The configuration is invalid.
    Configuration,
    /// A local address cannot be listened on.
    Listen,
    /// The daemon is stopping or overloaded.
    Busy,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Request, serde_json::Error> {
        serde_json::from_str(line)
    }

    #[test]
    fn omitted_values_have_defaults() {
        assert_eq!(
            read(r#"{"command":"stop"}"#).unwrap(),
            Request::Stop { now: false }
        );
        assert_eq!(
            read(r#"{"command":"log"}"#).unwrap(),
            Request::Log { level: None }
        );
    }

    #[test]
    fn unknown_requests_are_rejected() {
        for bad in [
            "",
            "status",
            "{}",
            r#"{"command":"go"}"#,
            r#"{"command":"stop","force":true}"#,
            r#"{"command":"stop","now":1}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn responses_are_parsed_as_they_were_written() {
        let error_response = ErrorResponse {
            kind: ErrorKind::Listen,
            message: "no".to_owned(),
            hint: String::new(),
            rendered: None,
        };
        let line = serde_json::to_string(&Response::Error(error_response.clone())).unwrap();

        assert_eq!(
            line,
            r#"{"error":{"kind":"listen","message":"no","hint":""}}"#
        );
        let read: Response = serde_json::from_str(&line).unwrap();
        assert_eq!(read, Response::Error(error_response));
    }
}
