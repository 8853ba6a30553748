//! A session that another program has started and hands over, such as the AWS CLI to its plugin.
//! From then on it is like one of our own: registered, in the journal, and terminated when dropped.

use std::fmt;

use tracing::Span;

use super::aws::{SsmClient, Started, is_session_id};
use super::dispatcher::Sessions;
use super::error::{Error, ErrorKind, SUPPLIED};
use super::{Session, Token};

/// A started session: the response of StartSession.
#[derive(Clone)]
pub struct SuppliedSession {
    /// The session id.
    pub id: String,
    /// The node that it was started on; empty if unknown.
    pub target: String,
    /// The stream URL, not checked yet. It may contain a signature.
    pub stream_url: String,
    /// The token that opens the data channel.
    pub token: Token,
}

impl SuppliedSession {
    /// Returns whether the id may be one of Session Manager.
    pub fn has_valid_id(&self) -> bool {
        is_session_id(&self.id)
    }
}

/// Omits the stream URL and the token.
impl fmt::Debug for SuppliedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SuppliedSession")
            .field("id", &self.id)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Sessions {
    /// Takes over a session of the account and region of `ssm`. It is terminated if it cannot be
    /// used.
    ///
    /// # Errors
    ///
    /// If the id, the stream URL or the token is invalid, or the id is known already.
    pub async fn adopt(
        &self,
        ssm: &SsmClient,
        supplied: SuppliedSession,
        span: Span,
    ) -> Result<Session, Error> {
        let SuppliedSession {
            id,
            target,
            stream_url,
            token,
        } = supplied;
        if !is_session_id(&id) {
            let why = "the session id is empty, too long, or has characters that are not allowed";
            return Err(Error::new(SUPPLIED, ErrorKind::Invalid, why));
        }
        let access = ssm.access(SUPPLIED, Some(stream_url), Some(token.0));
        let started = Started { id, access };
        let mut session = self.keep(started, target, ssm.clone(), span).await?;
        session.is_supplied = true;
        Ok(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_and_stream_url_are_not_shown() {
        let supplied = SuppliedSession {
            id: "me-0a1b".to_owned(),
            target: "i-0123456789abcdef0".to_owned(),
            stream_url: "wss://host/?X-Amz-Signature=secret".to_owned(),
            token: Token::new("secret".to_owned()),
        };

        let text = format!("{supplied:?}");

        assert!(
            text.contains("me-0a1b") && !text.contains("secret"),
            "{text}"
        );
    }
}
