//! Calls of AWS, with a timeout and errors that name place and cause.

use std::future::Future;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::config::http::HttpResponse;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};

use super::call_counts::counted;
use super::effect::transience;
use super::guard::guarded;
use super::refusal::classify;
use super::{ApiClient, MAX_CALL, SsmClient, place};
use crate::session::error::{Error, ErrorKind};

impl SsmClient {
    /// Makes a call, and again with other credentials if AWS rejects the first and there are others
    /// by then.
    pub(super) async fn call<T, E, F>(
        &self,
        what: &'static str,
        call: impl Fn(Client) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let call = |api_client: &ApiClient| call(api_client.client.clone());
        self.call_by(what, call).await
    }

    /// As [`SsmClient::call`], for a call of any service.
    pub(super) async fn call_by<T, E, F>(
        &self,
        what: &'static str,
        call: impl Fn(&ApiClient) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let api_client = self.api_client().await?;
        let error = match self.call_once(&api_client, what, &call).await {
            Err(error) if error.kind() == ErrorKind::Credentials => error,
            outcome => return outcome,
        };
        match self.client_other_than(&api_client, &error).await {
            Some(other) => self.call_once(&*other?, what, &call).await,
            None => Err(error),
        }
    }

    async fn call_once<T, E, F>(
        &self,
        api_client: &ApiClient,
        what: &'static str,
        call: impl Fn(&ApiClient) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let response = async { call(api_client).await };
        let response = guarded(what, MAX_CALL, response).await;
        let response = response.and_then(|response| self.classified(api_client, what, response));
        counted(what, response)
    }

    pub(super) fn classified<T, E>(
        &self,
        api_client: &ApiClient,
        what: &'static str,
        response: Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let (settings, region) = (&self.0.settings, self.region());
        let response = response.map_err(|error| {
            let transience = transience(&error);
            let error = classify(what, region, settings, &error);
            let place = place::of(&error, api_client, settings, region);
            error.with_suffix(place).with_transience(transience)
        });
        response.inspect_err(|error| {
            // Another login may have the permission.
            if error.kind() == ErrorKind::Denied {
                self.0.api_clients.drop_if_cached(&api_client.credentials);
            }
        })
    }
}
