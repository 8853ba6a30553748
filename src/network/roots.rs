//! Platform roots and a company's own.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls_native_certs::ErrorKind;

use super::shortage;
use crate::files::{self, Pipes};

/// Reads the platform's roots, and adds those of a PEM file.
pub(super) fn load(ca_bundle: Option<&Path>) -> Result<RootCertStore, RootsError> {
    let mut roots = RootCertStore::empty();
    // Unusable ones are not ours to complain about.
    roots.add_parsable_certificates(of_platform()?);
    if let Some(path) = ca_bundle {
        add_bundle(&mut roots, path)?;
    }
    Ok(roots)
}

/// The certificates that the platform trusts. Unreadable ones are not ours to complain about, but
/// those that were not read for want of descriptors or memory would be missing for ever.
fn of_platform() -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let loaded = rustls_native_certs::load_native_certs();
    for error in loaded.errors {
        if let ErrorKind::Io {
            inner: source,
            path,
        } = error.kind
            && shortage::hint(&source).is_some()
        {
            return Err(RootsError::Unreadable { path, source });
        }
    }
    Ok(loaded.certs)
}

/// The certificates that the platform trusts and that can be used, in PEM; an empty text if there are
/// none, as on a small machine until somebody installs them. Blocks.
///
/// # Errors
///
/// If they cannot be read because this process or machine has run out of something.
pub fn platform_roots() -> Result<String, RootsError> {
    let usable = of_platform()?.into_iter().filter(|certificate| {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).is_ok()
    });
    let pem = usable.map(|certificate| {
        let text = BASE64_STANDARD.encode(&certificate);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    });
    Ok(pem.collect())
}

/// Reads a file of certificates, which is no pipe and has at most 16 MiB. Blocks.
///
/// # Errors
///
/// If it cannot be read, is larger, or is no file.
pub fn read_ca_bundle(path: &Path) -> io::Result<Vec<u8>> {
    Ok(files::read(path, MAX_BUNDLE, Pipes::Refused)?)
}

fn add_bundle(roots: &mut RootCertStore, path: &Path) -> Result<(), RootsError> {
    let path = path.to_owned();
    let text = match read_ca_bundle(&path) {
        Ok(text) => text,
        Err(source) => return Err(RootsError::Unreadable { path, source }),
    };
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let certificates = match certificates {
        Ok(certificates) => certificates,
        Err(source) => return Err(RootsError::NotPem { path, source }),
    };
    if certificates.is_empty() {
        return Err(RootsError::NoCertificate { path });
    }
    for certificate in certificates {
        if let Err(source) = roots.add(certificate) {
            return Err(RootsError::Invalid { path, source });
        }
    }
    Ok(())
}

/// Why there are no roots to verify against.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The bundle cannot be read.
    #[error("cannot read the certificates in {}", path.display())]
    Unreadable {
        /// The bundle.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The bundle is no PEM file.
    #[error("{} is not a PEM file", path.display())]
    NotPem {
        /// The bundle.
        path: PathBuf,
        /// Why.
        source: PemError,
    },
    /// The bundle holds no certificate.
    #[error("{} holds no certificate (a PEM section that begins with BEGIN CERTIFICATE)", path.display())]
    NoCertificate {
        /// The bundle.
        path: PathBuf,
    },
    /// A certificate of the bundle cannot be used as a root.
    #[error("{} holds a certificate that cannot be used", path.display())]
    Invalid {
        /// The bundle.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The TLS library refused its own defaults.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// Several dozen times what systems trust.
const MAX_BUNDLE: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(text: &str) -> RootsError {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(Some(file.path())).unwrap_err()
    }

    #[test]
    fn a_bundle_that_is_none_is_an_error() {
        assert!(matches!(bundle("hello"), RootsError::NoCertificate { .. }));
        let torn = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
        assert!(matches!(bundle(torn), RootsError::NotPem { .. }));
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(bundle(empty), RootsError::Invalid { .. }));
    }

    #[test]
    fn a_bundle_without_an_end_or_a_writer_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        for path in [Path::new("/dev/zero"), &fifo, directory.path()] {
            let error = load(Some(path)).unwrap_err();

            let is_named =
                matches!(&error, RootsError::Unreadable { path: named, .. } if named == path);
            assert!(is_named, "{error:?}");
        }
    }

    #[test]
    fn the_platform_trusts_the_same_in_pem() {
        let pem = platform_roots().unwrap();

        let read = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();

        let roots = load(None).unwrap();
        assert_eq!(read.unwrap().len(), roots.len());
    }

    #[test]
    fn a_missing_bundle_is_named() {
        let error = load(Some(Path::new("/nowhere/company.pem"))).unwrap_err();

        assert_eq!(
            error.to_string(),
            "cannot read the certificates in /nowhere/company.pem"
        );
    }
}
