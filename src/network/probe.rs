//! Connects step by step for a diagnosis: how far a connection gets, and who issued the certificate.
//!
//! The certificate is verified as for every other connection. Its issuer is recorded before that, so
//! that a proxy which inspects TLS is recognised although it is not trusted.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::certificate::issuer;
use super::{DialError, Endpoint, Network, NetworkStream};
use crate::printable::Printable;

/// A step of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DialStep {
    /// The name is resolved.
    #[default]
    Dns,
    /// A TCP connection is opened.
    Tcp,
    /// The proxy connects to the host.
    Proxy,
    /// The TLS handshake.
    Tls,
}

/// How far a connection got.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// The last step that was begun.
    pub step: DialStep,
    /// Addresses of the name; empty through a proxy, which resolves the name itself.
    pub addresses: Vec<SocketAddr>,
    /// The address that is connected, of the host or of the proxy.
    pub peer: Option<SocketAddr>,
    /// The issuer in the certificate of the host, whether it is trusted or not.
    pub issuer: Option<Printable>,
}

/// A connection that failed, and how far it got.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct ProbeError {
    /// How far it got; its `step` has failed.
    pub route: Route,
    /// The error.
    pub source: DialError,
}

impl Network {
    /// Connects as [`Network::dial`] does. Also returns how.
    ///
    /// # Errors
    ///
    /// The error of [`Network::dial`], and the step that failed.
    pub async fn probe(
        &self,
        endpoint: &Endpoint,
        limit: Duration,
    ) -> Result<(NetworkStream, Route), ProbeError> {
        let mut route = Route::default();
        let recorder = Recorder::new(self);
        let tls = match &recorder {
            Some(recorder) => recorder.config(),
            None => Arc::clone(&self.tls),
        };
        let connected = self.connect_within(endpoint, tls, &mut route, limit).await;
        route.issuer = recorder.and_then(|recorder| recorder.issuer());
        match connected {
            Ok(stream) => Ok((stream, route)),
            Err(source) => Err(ProbeError { route, source }),
        }
    }
}

/// Verifies certificates, and records the issuer of the last one.
#[derive(Debug)]
struct Recorder {
    verifier: Arc<WebPkiServerVerifier>,
    issuer: Mutex<Option<Printable>>,
}

impl Recorder {
    /// Returns `None` without trusted roots: then every certificate is rejected.
    fn new(network: &Network) -> Option<Arc<Self>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = Arc::clone(&network.store);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider);
        Some(Arc::new(Self {
            verifier: verifier.build().ok()?,
            issuer: Mutex::default(),
        }))
    }

    fn config(self: &Arc<Self>) -> Arc<ClientConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier: Arc<Self> = Arc::clone(self);
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider supports the default versions, as for every other connection")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Arc::new(config)
    }

    fn issuer(&self) -> Option<Printable> {
        let issuer = self.issuer.lock().unwrap_or_else(PoisonError::into_inner);
        issuer.clone()
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.issuer.lock().unwrap_or_else(PoisonError::into_inner) = issuer(end_entity);
        self.verifier
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
