//! Trusted root certificates: those of the platform and of a CA bundle.

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
    // Unusable platform certificates are ignored.
    roots.add_parsable_certificates(of_platform()?);
    if let Some(path) = ca_bundle {
        add_bundle(&mut roots, path)?;
    }
    Ok(roots)
}

/// Returns the certificates that the platform trusts. Unreadable ones are ignored, except for a
/// shortage of descriptors or memory: those would be missing permanently.
fn of_platform() -> Result<Vec<CertificateDer<'static>>, RootsError> {
    #[cfg(test)]
    if crate::virtual_net::is_active() {
        return Ok(Vec::new());
    }
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

/// Returns the usable certificates of the platform in PEM; empty if there are none, as on a minimal
/// system. Blocks.
///
/// # Errors
///
/// If they cannot be read because of a shortage in this process or machine.
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

/// Reads a CA bundle, which must not be a pipe and has at most 16 MiB. Blocks.
///
/// # Errors
///
/// If it cannot be read, is larger, or is not a file.
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

/// Error of loading the roots.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The bundle cannot be read.
    #[error("cannot read the certificates in {}", path.display())]
    Unreadable {
        /// Path of the bundle.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The bundle is not a PEM file.
    #[error("{} is not a PEM file", path.display())]
    NotPem {
        /// Path of the bundle.
        path: PathBuf,
        /// The cause.
        source: PemError,
    },
    /// The bundle contains no certificate.
    #[error("{} contains no certificate (a PEM section that begins with BEGIN CERTIFICATE)", path.display())]
    NoCertificate {
        /// Path of the bundle.
        path: PathBuf,
    },
    /// A certificate of the bundle cannot be used as a root.
    #[error("{} contains an invalid certificate", path.display())]
    Invalid {
        /// Path of the bundle.
        path: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
    /// The TLS library rejected its own defaults.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
}

/// Several dozen times the size of a platform's roots.
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
    fn a_file_without_valid_certificates_is_an_error() {
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
    fn the_platform_roots_are_the_same_in_pem() {
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
