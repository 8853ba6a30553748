//! The APIs of SSM, ECS and EC2 Instance Connect over HTTP: AWS JSON 1.1, their operations, and their
//! errors.
//!
//! A request is checked in the order of AWS: signature, operation, JSON, constraints, document,
//! parameters, target. Where the error text of AWS is unknown, the text describes the error.
//!
//! Specification: docs/protocol.md, section 1.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::action::operation;
use super::agent::Job;
use super::documents::{DOCUMENT_NAME, Document, is_document_name};
use super::ecs;
use super::faults::Operation;
use super::history::{self, SessionsRequest};
use super::instance_connect;
use super::nodes::{self, DescribeRequest};
use super::records::{SessionRecord, micros};
use super::service::Service;
use super::session::Session;
use super::signature::{Signature, SignatureError};
use super::target_id::is_target;
use crate::clock;

/// Response to an API call.
#[derive(Debug)]
pub(super) struct ApiResponse {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

/// Handles one call; `None` if the response must be dropped. `arrived`: time of its last byte.
pub(super) async fn answer(
    service: &Arc<Service>,
    headers: &HeaderMap,
    body: &[u8],
    signature: &Signature,
    arrived: Instant,
) -> Option<ApiResponse> {
    let operation = operation(headers);
    let outcome = call(service, headers, body, signature, arrived);
    tokio::time::sleep(service.options.api_delay).await;
    let (code, answer) = match outcome {
        Ok(body) => (
            "ok".to_owned(),
            ApiResponse {
                status: StatusCode::OK,
                body,
            },
        ),
        Err(error) => (error.code.clone(), error.answer()),
    };
    let name = operation.map_or("unknown", Operation::as_str);
    service
        .ledger
        .count_call(name, &code, &signature.to_string(), arrived);
    if operation == Some(Operation::SendSshPublicKey) && code == "ok" {
        instance_connect::write_keys(service, body).await;
    }
    let has_started = operation == Some(Operation::StartSession) && code == "ok";
    (!has_started || !service.drops_response()).then_some(answer)
}

fn call(
    service: &Arc<Service>,
    headers: &HeaderMap,
    body: &[u8],
    signature: &Signature,
    arrived: Instant,
) -> Result<Vec<u8>, ApiError> {
    if service.options.require_signature {
        check_signature(signature)?;
    }
    let operation = operation(headers).ok_or_else(unknown_operation)?;
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    if !content_type.is_some_and(|value| value.starts_with(MEDIA_TYPE)) {
        return Err(ApiError::new(
            "SerializationException",
            "expected application/x-amz-json-1.1",
        ));
    }
    if let Some(code) = service.fail_call(operation, arrived) {
        return Err(ApiError::new(code, "injected by the simulator"));
    }
    let region = &service.options.region;
    if let Some(answer) = service.with_ecs(|ecs| ecs::call(ecs, region, operation, body)) {
        return answer
            .map(|answer| encode(&answer))
            .map_err(|(code, message)| ApiError::new(code, message));
    }
    match operation {
        Operation::StartSession => start(service, parse(body)?, signature, arrived),
        Operation::ResumeSession => resume(service, &parse(body)?),
        Operation::TerminateSession => terminate(service, &parse(body)?),
        Operation::DescribeSessions => list(service, &parse(body)?),
        Operation::DescribeInstanceInformation => describe(service, &parse(body)?),
        Operation::ListTasks | Operation::DescribeTasks => Err(unknown_operation()),
        Operation::DescribeDocument => describe_document(service, parse(body)?),
        Operation::SendSshPublicKey => {
            instance_connect::call(service, body, &signature.to_string(), arrived)
                .map(|answer| encode(&answer))
                .map_err(|(code, message)| ApiError::new(code, message))
        }
    }
}

fn unknown_operation() -> ApiError {
    ApiError::new(
        "UnknownOperationException",
        "the simulator implements the session operations, DescribeInstanceInformation, DescribeDocument, ListTasks, DescribeTasks and SendSSHPublicKey",
    )
}

fn check_signature(signature: &Signature) -> Result<(), ApiError> {
    let (code, message) = match signature {
        Signature::Valid => return Ok(()),
        Signature::Unsigned => (
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        ),
        Signature::Wrong(SignatureError::UnknownKey | SignatureError::UnknownToken) => (
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        Signature::Wrong(fault) => {
            let message = format!("the signature is invalid: {fault}");
            return Err(ApiError::new("InvalidSignatureException", message));
        }
    };
    Err(ApiError::new(code, message))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new("SerializationException", error.to_string()))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StartRequest {
    target: Option<String>,
    document_name: Option<String>,
    parameters: Option<BTreeMap<String, Vec<String>>>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SessionRequest {
    session_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DocumentRequest {
    name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct OpenedResponse<'a> {
    session_id: &'a str,
    stream_url: &'a str,
    token_value: &'a str,
}

fn start(
    service: &Arc<Service>,
    request: StartRequest,
    signature: &Signature,
    arrived: Instant,
) -> Result<Vec<u8>, ApiError> {
    let target = constrained("target", request.target, 1..=400, |_| true)?;
    let reason = match request.reason {
        Some(reason) => constrained("reason", Some(reason), 1..=256, |_| true)?,
        None => String::new(),
    };
    let document = request
        .document_name
        .unwrap_or_else(|| SHELL_DOCUMENT.to_owned());
    let document = constrained(
        "documentName",
        Some(document),
        DOCUMENT_NAME,
        is_document_name,
    )?;
    let parameters = request.parameters.unwrap_or_default();
    let properties = find_document(service, &document)?
        .properties(&document, &parameters)
        .map_err(|problem| ApiError::new("InvalidParameters", problem))?;
    if !is_target(&target) || service.is_offline(&target) {
        return Err(ApiError::new(
            "TargetNotConnected",
            format!("{target} is not connected."),
        ));
    }
    let record = SessionRecord {
        target,
        document,
        parameters,
        reason,
        start_signature: signature.to_string(),
        requested_us: service.ledger.micros(arrived),
        api_delay_us: micros(service.options.api_delay),
        ..SessionRecord::default()
    };
    let (job, addresses) = job(service, properties);
    let (opened, started) = service.start(record, job, addresses);
    service.spawn(Session::new(Arc::clone(service), started).run());
    Ok(encode(&OpenedResponse {
        session_id: &opened.session_id,
        stream_url: &service.stream_url(&opened.session_id),
        token_value: &opened.token,
    }))
}

fn job(
    service: &Service,
    properties: BTreeMap<String, String>,
) -> (Job, Vec<std::net::SocketAddr>) {
    let port = properties
        .get("portNumber")
        .and_then(|port| port.parse().ok());
    let host = properties.get("host").map(String::as_str);
    let resolved = service
        .options
        .resolver
        .resolve(host, port.unwrap_or_default());
    let (addresses, refusal) = match resolved {
        Ok(addresses) => (addresses, None),
        Err(refusal) => (Vec::new(), Some(refusal)),
    };
    (
        Job {
            properties,
            refusal,
        },
        addresses,
    )
}

fn find_document(service: &Service, name: &str) -> Result<Document, ApiError> {
    if let Some(own) = service.options.documents.get(name) {
        return Ok(own.clone());
    }
    // AWS has many more documents, such as the shell, which are not supported here.
    Document::like(name).map_err(|error| {
        let message = format!(
            "Document with name {name} does not exist: {error}, or one given by --document."
        );
        ApiError::new("InvalidDocument", message)
    })
}

fn resume(service: &Service, request: &SessionRequest) -> Result<Vec<u8>, ApiError> {
    let session_id = session_id(request)?;
    let Some(token) = service.resume(&session_id) else {
        let message = format!("Session {session_id} does not exist.");
        return Err(ApiError::new("DoesNotExistException", message));
    };
    Ok(encode(&OpenedResponse {
        session_id: &session_id,
        stream_url: &service.stream_url(&session_id),
        token_value: &token,
    }))
}

fn terminate(service: &Service, request: &SessionRequest) -> Result<Vec<u8>, ApiError> {
    let session_id = session_id(request)?;
    service.terminate(&session_id);
    Ok(encode(&json!({ "SessionId": session_id })))
}

fn describe(service: &Service, request: &DescribeRequest) -> Result<Vec<u8>, ApiError> {
    let is_offline = |id: &str| service.is_offline(id);
    let now = clock::wall().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let version = service.options.agent.version.to_string();
    let listed = nodes::describe(&service.nodes(), request, is_offline, &version, now);
    listed
        .map(|answer| encode(&answer))
        .map_err(|(code, message)| ApiError::new(code, message))
}

fn describe_document(service: &Service, request: DocumentRequest) -> Result<Vec<u8>, ApiError> {
    let name = constrained("name", request.name, DOCUMENT_NAME, is_document_name)?;
    let document = find_document(service, &name)?;
    Ok(encode(&json!({ "Document": document.description(&name) })))
}

fn list(service: &Service, request: &SessionsRequest) -> Result<Vec<u8>, ApiError> {
    history::describe(&service.ledger.snapshot().sessions, request)
        .map(|answer| encode(&answer))
        .map_err(|(code, message)| ApiError::new(code, message))
}

fn session_id(request: &SessionRequest) -> Result<String, ApiError> {
    constrained("sessionId", request.session_id.clone(), 1..=96, |_| true)
}

/// Checks the constraints of a member, as AWS does before it interprets the value.
fn constrained(
    member: &str,
    value: Option<String>,
    length: std::ops::RangeInclusive<usize>,
    fits: impl Fn(&str) -> bool,
) -> Result<String, ApiError> {
    let problem = match &value {
        None => "Member must not be null".to_owned(),
        Some(value) if !length.contains(&value.chars().count()) => {
            format!(
                "Member must have length between {} and {}",
                length.start(),
                length.end()
            )
        }
        Some(value) if !fits(value) => "Member must satisfy regular expression pattern".to_owned(),
        Some(_) => return Ok(value.unwrap_or_default()),
    };
    let shown = value.map_or_else(|| "null".to_owned(), |value| format!("'{value}'"));
    let message = format!(
        "1 validation error detected: Value {shown} at '{member}' failed to satisfy constraint: \
         {problem}"
    );
    Err(ApiError::new("ValidationException", message))
}

fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    serde_json::to_vec(body).expect("the types of this file are serializable")
}

/// An error response, worded as by AWS.
#[derive(Debug)]
struct ApiError {
    code: String,
    message: String,
}

impl ApiError {
    fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }

    fn answer(&self) -> ApiResponse {
        ApiResponse {
            status: status(&self.code),
            body: encode(&json!({ "__type": self.code, "message": self.message })),
        }
    }
}

/// Returns the HTTP status of an error code; AWS JSON uses 400 for all modelled errors.
fn status(code: &str) -> StatusCode {
    match code {
        "InternalServerError" | "InternalFailure" => StatusCode::INTERNAL_SERVER_ERROR,
        "ServiceUnavailable" => StatusCode::SERVICE_UNAVAILABLE,
        "MissingAuthenticationTokenException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException" => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// Content type of the protocol.
pub(super) const MEDIA_TYPE: &[u8] = b"application/x-amz-json-1.1";

/// Default document of StartSession: a shell, which the simulator does not support.
const SHELL_DOCUMENT: &str = "SSM-SessionManagerRunShell";
