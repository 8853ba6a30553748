//! A certificate generated at start, for a simulator that serves `https` and `wss`.
//!
//! A private CA signs one server certificate for `localhost`, `127.0.0.1` and `::1` and, if
//! requested, for AWS's own names. Clients use the CA certificate as `ca_bundle`; the CA key is
//! discarded at once.

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// TLS configuration of the server, and the CA certificate for its clients.
pub(super) struct Certificate {
    /// Accepts connections with the server certificate.
    pub(super) acceptor: TlsAcceptor,
    /// The CA certificate, as PEM.
    pub(super) authority_pem: String,
}

impl Certificate {
    /// Generates keys and certificates.
    ///
    /// # Errors
    ///
    /// Fails if no random numbers are available or the generated parts do not match.
    pub(super) fn generate(names: Vec<String>) -> io::Result<Self> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut authority = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        name(&mut authority, "ssm-proxyd simulator CA");
        let certificate = authority.self_signed(&key).map_err(io::Error::other)?;
        let acceptor = leaf(&Issuer::new(authority, key), names)?;
        Ok(Self {
            acceptor,
            authority_pem: certificate.pem(),
        })
    }
}

fn leaf(issuer: &Issuer<'_, KeyPair>, names: Vec<String>) -> io::Result<TlsAcceptor> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    params.use_authority_key_identifier_extension = true;
    name(&mut params, "ssm-proxyd simulator");
    let certificate = params.signed_by(&key, issuer).map_err(io::Error::other)?;
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], secret)
        .map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn name(params: &mut CertificateParams, common: &str) {
    params.distinguished_name.push(DnType::CommonName, common);
}

/// Returns the names of the server: local ones and, with a region, those of AWS.
pub(super) fn names(region: Option<&String>) -> Vec<String> {
    let public = region.into_iter().flat_map(|region| {
        ["ssm", "ssmmessages"].map(|service| format!("{service}.{region}.amazonaws.com"))
    });
    let here = NAMES.map(str::to_owned).into_iter();
    here.chain(public).collect()
}

const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
