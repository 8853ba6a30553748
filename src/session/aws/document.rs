//! DescribeDocument: what a document is, and the parameters that it takes.

use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::{DocumentParameter, DocumentType};

use super::{SsmClient, incomplete};
use crate::printable::Printable;
use crate::session::error::Error;

/// A document of SSM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentInfo {
    /// Its type, such as `Session` or `Command`.
    pub kind: Printable,
    /// Whether sessions can be started with it.
    pub is_for_sessions: bool,
    /// Its parameters.
    pub parameters: Vec<ParameterInfo>,
}

/// A parameter of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    /// Its name.
    pub name: Printable,
    /// Whether it must be given: it has no default value.
    pub is_required: bool,
}

impl SsmClient {
    /// Describes a document.
    ///
    /// # Errors
    ///
    /// The error of the call: [`ErrorKind::Document`](crate::session::ErrorKind::Document) if it
    /// does not exist, [`ErrorKind::Denied`](crate::session::ErrorKind::Denied) without the
    /// permission.
    pub async fn document(&self, name: &str) -> Result<DocumentInfo, Error> {
        let call = |client: Client| client.describe_document().name(name).send();
        let response = self.call(WHAT, call).await?;
        let document = response.document;
        let document = document.ok_or_else(|| incomplete(WHAT, "a document"))?;
        let kind = document.document_type;
        let parameters = document.parameters.unwrap_or_default();
        Ok(DocumentInfo {
            is_for_sessions: kind == Some(DocumentType::Session),
            kind: kind.map_or_else(Printable::default, |kind| kind.as_str().into()),
            parameters: parameters.into_iter().filter_map(parameter).collect(),
        })
    }
}

fn parameter(parameter: DocumentParameter) -> Option<ParameterInfo> {
    Some(ParameterInfo {
        name: parameter.name?.into(),
        is_required: parameter.default_value.is_none(),
    })
}

const WHAT: &str = "DescribeDocument";
