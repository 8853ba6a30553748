//! Limits the size of responses, and rejects empty ones that are not from AWS. The SDK reads each
//! response into memory as a whole, whoever sends it: a captive portal, a proxy, or an endpoint that
//! is wrong; and an empty one is for it a result without values, such as a list without targets.

use aws_sdk_ssm::config::http::{HttpRequest, HttpResponse};
use aws_sdk_ssm::config::{
    ConfigBag, HttpClient, RuntimeComponents, RuntimeComponentsBuilder, SharedHttpClient,
};
use aws_sdk_ssm::error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

/// Returns the client with the limit. A response with a larger body fails with
/// [`LengthLimitError`](http_body_util::LengthLimitError).
pub(super) fn limited(client: SharedHttpClient) -> SharedHttpClient {
    SharedHttpClient::new(LimitedClient(client))
}

#[derive(Debug)]
struct LimitedClient(SharedHttpClient);

impl HttpClient for LimitedClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = self.0.http_connector(settings, components);
        SharedHttpConnector::new(LimitedConnector(connector))
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.validate_base_client_config(components, config)
    }

    fn validate_final_config(
        &self,
        components: &RuntimeComponents,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.validate_final_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

#[derive(Debug)]
struct LimitedConnector(SharedHttpConnector);

impl HttpConnector for LimitedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let response = self.0.call(request);
        HttpConnectorFuture::new(async move {
            let mut response = response.await?;
            let is_empty = response.body().content_length() == Some(0);
            if response.status().is_success() && is_empty && !is_marked(&response) {
                let status = response.status().as_u16();
                return Err(ConnectorError::other(EmptyResponse(status).into(), None));
            }
            let body = std::mem::replace(response.body_mut(), SdkBody::taken());
            *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, MAX_BODY));
            Ok(response)
        })
    }
}

/// An empty response that is not from AWS. Holds its status.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("HTTP {0} without content, not a response from AWS")]
pub(super) struct EmptyResponse(u16);

/// Returns whether a response looks as if it came from AWS: all of those have an id, and those of the
/// APIs that are called a type of content of their own.
pub(super) fn is_marked(response: &HttpResponse) -> bool {
    let headers = response.headers();
    let media_type = headers.get("content-type").unwrap_or_default();
    headers.contains_key("x-amzn-requestid") || media_type.starts_with("application/x-amz-json")
}

/// Maximum size of a response, in bytes. The largest are pages of 100 tasks of ECS, some hundred
/// KiB.
pub(super) const MAX_BODY: usize = 8 * 1024 * 1024;
