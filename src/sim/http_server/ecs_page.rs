//! `POST /simulator/ecs`: changes a service of ECS.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use super::{MAX_BODY, invalid, page, text};
use crate::sim::ecs::EcsChange;
use crate::sim::service::Service;

/// Applies a change. Responds with all services, or with an error.
pub(super) async fn change(service: &Service, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let Ok(body) = Limited::new(request.into_body(), MAX_BODY).collect().await else {
        let refusal = "the request is too long or incomplete";
        return text(StatusCode::PAYLOAD_TOO_LARGE, refusal);
    };
    let change = serde_json::from_slice::<EcsChange>(&body.to_bytes());
    let change = change.map_err(|error| error.to_string());
    match change.and_then(|change| service.change_ecs(|ecs| change.apply(ecs))) {
        Ok(()) => service.with_ecs(page),
        Err(error) => invalid(&error),
    }
}
