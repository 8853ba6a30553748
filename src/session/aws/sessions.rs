//! DescribeSessions: finds a session by its `Reason` if its id was lost.

use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::{SessionFilter, SessionFilterKey, SessionState};

use super::SsmClient;
use super::paging::{AfterPage, Pages};
use super::start::is_session_id;
use crate::session::StartRequest;
use crate::session::error::{Error, ErrorKind};

impl SsmClient {
    /// Returns the id of the active session on the target of `request` with exactly its reason.
    ///
    /// # Errors
    ///
    /// The error of the call: [`ErrorKind::Denied`] without the permission for DescribeSessions.
    pub(in crate::session) async fn find_session(
        &self,
        request: &StartRequest,
    ) -> Result<Option<String>, Error> {
        let filter = SessionFilter::builder()
            .key(SessionFilterKey::TargetId)
            .value(&request.target)
            .build()
            .map_err(|error| Error::new(DESCRIBE, ErrorKind::Invalid, error.to_string()))?;
        let mut pages = Pages::new(MAX_PAGES);
        loop {
            let call = |client: Client| {
                let call = client.describe_sessions().state(SessionState::Active);
                let call = call.filters(filter.clone()).max_results(PAGE);
                call.set_next_token(pages.token()).send()
            };
            let response = self.call(DESCRIBE, call).await?;
            let sessions = response.sessions.unwrap_or_default();
            let has_entries = !sessions.is_empty();
            let mut sessions = sessions.into_iter();
            let found = sessions.find(|session| session.reason.as_ref() == Some(&request.reason));
            if let Some(session) = found {
                return Ok(session.session_id.filter(|id| is_session_id(id)));
            }
            match pages.turn(response.next_token, has_entries) {
                AfterPage::Next => {}
                AfterPage::End | AfterPage::Cut => return Ok(None),
            }
        }
    }
}

const DESCRIBE: &str = "DescribeSessions";

/// Sessions per page; the API allows 200.
const PAGE: i32 = 200;

/// Maximum number of pages searched per target.
const MAX_PAGES: usize = 50;
