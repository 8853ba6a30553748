//! The HTTP client under the SDK in the virtual network, for unit tests in virtual time: hyper over a
//! stream for each call. The SDK's own client, its connection pool and TLS are not used.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use aws_sdk_ssm::config::SharedHttpClient;
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::{HeaderValue, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::clock;
use crate::virtual_net::{self, Address};

/// Returns the client.
pub(super) fn client() -> SharedHttpClient {
    http_client_fn(|settings, _| {
        let connect_timeout = settings.connect_timeout().unwrap_or(Duration::MAX);
        SharedHttpConnector::new(Connector { connect_timeout })
    })
}

#[derive(Debug)]
struct Connector {
    connect_timeout: Duration,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(call(request, self.connect_timeout))
    }
}

async fn call(
    request: HttpRequest,
    connect_timeout: Duration,
) -> Result<HttpResponse, ConnectorError> {
    let request = request
        .try_into_http1x()
        .map_err(|e| ConnectorError::user(e.into()))?;
    let body = request.body().bytes().map(Bytes::copy_from_slice);
    let mut request = request.map(|_| Full::new(body.unwrap_or_default()));
    let uri = request.uri().clone();
    let port = uri.port_u16().unwrap_or(80);
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(host).map_err(|e| ConnectorError::user(e.into()))?;
    request.headers_mut().entry(header::HOST).or_insert(host);
    *request.uri_mut() = http::Uri::from_static("/");
    let address = Address::Tcp((Ipv4Addr::LOCALHOST, port).into());
    let stream = timeout(connect_timeout, virtual_net::connect(&address)).await;
    let stream = stream
        .map_err(|error| ConnectorError::timeout(error.into()))?
        .map_err(|error| ConnectorError::io(error.into()))?;
    let io = |error: hyper::Error| ConnectorError::io(error.into());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io)?;
    let response = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok::<_, hyper::Error>(http::Response::from_parts(parts, SdkBody::from(body)))
    };
    let response = tokio::select! {
        biased;
        response = response => response.map_err(io)?,
        Err(error) = connection => return Err(io(error)),
    };
    HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
}

/// The wall clock of the program, for the dates of signatures.
#[derive(Debug)]
pub(super) struct WallClock;

impl TimeSource for WallClock {
    fn now(&self) -> SystemTime {
        clock::wall()
    }
}
