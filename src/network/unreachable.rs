//! Tells why a host was not reached, by the messages of the resolver and of TLS.

use crate::error_class::ErrorClass;

/// Returns the class of a failed connection. `sources` is the text of the error and its sources.
pub fn class_of_unreachable(sources: &str) -> ErrorClass {
    let has = |texts: &[&str]| texts.iter().any(|text| sources.contains(text));
    if has(&UNTRUSTED) {
        return ErrorClass::TlsUntrusted;
    }
    match has(&UNRESOLVED) {
        true => ErrorClass::EndpointNotResolved,
        false => ErrorClass::EndpointUnreachable,
    }
}

/// The message of rustls.
const UNTRUSTED: [&str; 1] = ["invalid peer certificate"];

/// The messages of the standard library and of hyper.
const UNRESOLVED: [&str; 2] = ["failed to lookup address information", "dns error"];

#[cfg(test)]
mod tests {
    use std::net::ToSocketAddrs;

    use super::*;

    #[test]
    fn a_failed_connection_has_the_class_of_its_cause() {
        let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        // Not a valid name, so that no server is asked.
        let unresolved = ("a..b", 443).to_socket_addrs().unwrap_err();

        for (error, class) in [
            (untrusted.to_string(), ErrorClass::TlsUntrusted),
            (unresolved.to_string(), ErrorClass::EndpointNotResolved),
            (
                "tcp connect error".to_owned(),
                ErrorClass::EndpointUnreachable,
            ),
        ] {
            assert_eq!(class_of_unreachable(&error), class, "{error}");
        }
    }
}
