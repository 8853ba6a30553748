//! What is asked of a running daemon and what it answers: an object of JSON in a line each.
//!
//! ```text
//!   {"command":"status"}                   {"status":{…}}
//!   {"command":"reload"}                   {"reloaded":{"added":1,…}}
//!   {"command":"stop","now":true}          {"stopped":{"sessions_left":0}}, once it has
//!   {"command":"log","level":"debug"}      {"log":{"filter":"…"}}
//!                                          {"error":{"kind":"configuration","message":"…","hint":"…"}}
//! ```

use serde::{Deserialize, Serialize};

use crate::daemon::Change;
use crate::telemetry::Report;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// How it does.
    Status,
    /// To read its configuration anew.
    Reload,
    /// To stop; the answer comes when it has.
    Stop {
        /// Without waiting for open connections.
        #[serde(default)]
        now: bool,
    },
    /// What the log lets through.
    Log {
        /// What it shall let through from now on: a word of `[log] level`, or a filter.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        level: Option<String>,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// How it does.
    Status(Box<Report>),
    /// What the reload has changed.
    Reloaded(Change),
    /// It has stopped.
    Stopped {
        /// Sessions that may have been left behind; absent if nobody knows.
        sessions_left: Option<usize>,
    },
    /// What the log lets through now.
    Log {
        /// As a filter.
        filter: String,
    },
    /// It was not done.
    Error(ErrorResponse),
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// Whose fault it is.
    pub kind: Fault,
    /// What happened.
    pub message: String,
    /// What to do about it; empty if nothing.
    pub hint: String,
}

/// Whose fault it is that something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// The request's.
    Request,
    /// The configuration's.
    Configuration,
    /// A local address cannot be listened on.
    Listen,
    /// The daemon stops, or has too much to do.
    Busy,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Request, serde_json::Error> {
        serde_json::from_str(line)
    }

    #[test]
    fn what_may_be_left_out_has_a_meaning() {
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
    fn what_is_not_understood_is_refused() {
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
    fn answers_read_as_they_were_written() {
        let rejection = ErrorResponse {
            kind: Fault::Listen,
            message: "no".to_owned(),
            hint: String::new(),
        };
        let line = serde_json::to_string(&Answer::Error(rejection.clone())).unwrap();

        assert_eq!(
            line,
            r#"{"error":{"kind":"listen","message":"no","hint":""}}"#
        );
        let read: Answer = serde_json::from_str(&line).unwrap();
        assert_eq!(read, Answer::Error(rejection));
    }
}
