//! StartSession.

use super::api_client::ApiClient;
use super::call_counts::counted;
use super::effect::Transmission;
use super::guard::guarded;
use super::{MAX_CALL, SsmClient, incomplete};
use crate::session::error::{Effect, Error};
use crate::session::{ChannelAccess, StartRequest};

impl SsmClient {
    /// Calls StartSession once. [`Error::effect`] of the error says whether a session may have been
    /// started.
    pub(in crate::session) async fn start(
        &self,
        api_client: &ApiClient,
        request: &StartRequest,
    ) -> Result<Started, Error> {
        let transmission = Transmission::default();
        let call = async {
            let parameters = request.parameters.clone().into_iter().collect();
            let call = api_client.client.start_session();
            call.target(&request.target)
                .set_parameters(Some(parameters))
                .document_name(&request.document)
                .reason(&request.reason)
                .customize()
                .interceptor(transmission.clone())
                .send()
                .await
        };
        let response = guarded(START, MAX_CALL, call).await;
        // A panic or a timeout.
        let response = response.map_err(|error| error.with_effect(transmission.effect_of_cut()));
        let response = response.or_else(|error| counted(START, Err(error)))?;
        let effect = match &response {
            Ok(_) => Effect::Answered,
            Err(error) => transmission.effect(error),
        };
        let response = counted(START, self.classified(api_client, START, response));
        let response = response.map_err(|error| error.with_effect(effect))?;
        let id = response.session_id.filter(|id| is_session_id(id));
        let id = id.ok_or_else(|| {
            // The session was started, but cannot be terminated by its id.
            incomplete(START, "a valid session id").with_effect(Effect::Unknown)
        })?;
        let access = self.access(START, response.stream_url, response.token_value);
        Ok(Started { id, access })
    }
}

/// A started session, even if the rest of the response is unusable.
pub(in crate::session) struct Started {
    pub(in crate::session) id: String,
    /// What opens its data channel, or why that cannot be used.
    pub(in crate::session) access: Result<ChannelAccess, Error>,
}

/// Returns whether an id can be logged in one line and used in a call. AWS's own ids consist of
/// letters, digits and `-`.
pub(in crate::session) fn is_session_id(id: &str) -> bool {
    (1..=MAX_SESSION_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

const START: &str = "StartSession";

/// Maximum length of a session id in bytes; the API says 96.
const MAX_SESSION_ID: usize = 256;
