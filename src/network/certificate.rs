//! The issuer of an X.509 certificate, for display.
//!
//! A certificate that was not verified may contain anything: every input has a result.

use crate::printable::Printable;

/// Returns the issuer: its common name and organisation. `None` if it has neither, or the bytes are
/// not a certificate.
pub(super) fn issuer(certificate: &[u8]) -> Option<Printable> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut fields, _) = element(certificate, SEQUENCE)?;
    if let Some((_version, rest)) = element(fields, VERSION) {
        fields = rest;
    }
    let (_serial, fields) = element(fields, INTEGER)?;
    let (_algorithm, fields) = element(fields, SEQUENCE)?;
    let (mut names, _) = element(fields, SEQUENCE)?;
    let (mut common_name, mut organisation) = (None, None);
    while let Some((set, rest)) = element(names, SET) {
        names = rest;
        let (attribute, _) = element(set, SEQUENCE)?;
        let (kind, value) = element(attribute, OBJECT_ID)?;
        match kind {
            COMMON_NAME => common_name = text(value),
            ORGANISATION => organisation = text(value),
            _ => {}
        }
    }
    match (common_name, organisation) {
        (Some(name), Some(of)) => Some(Printable::of(format_args!("{name} ({of})"))),
        (Some(name), None) | (None, Some(name)) => Some(name),
        (None, None) => None,
    }
}

/// Returns the content of the element at the begin of `der`, if it has this tag, and what follows.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    if *found != tag {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(*first) {
        short @ ..0x80 => (short, rest),
        // The number of bytes of the length; certificates are shorter than 16 MiB.
        long => {
            let (bytes, rest) = rest.split_at_checked(long - 0x80)?;
            let is_sane = (1..=3).contains(&bytes.len());
            let bytes = Some(bytes).filter(|_| is_sane)?;
            let length = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        }
    };
    rest.split_at_checked(length)
}

/// Returns the text of a string element of any kind.
fn text(value: &[u8]) -> Option<Printable> {
    let (content, _) = element(value, *value.first()?)?;
    let text = Printable::from_bytes(content, MAX_NAME);
    Some(text).filter(|text| !text.is_empty())
}

const INTEGER: u8 = 0x02;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// The version is in a tagged element, which version 1 certificates do not have.
const VERSION: u8 = 0xa0;

/// 2.5.4.3 and 2.5.4.10.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];

/// Maximum number of characters shown of a name.
const MAX_NAME: usize = 100;

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(names: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["host".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, name) in names {
            params.distinguished_name.push(kind.clone(), *name);
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_issuer_is_its_common_name_and_organisation() {
        let both = certificate(&[
            (DnType::CountryName, "DE"),
            (DnType::OrganizationName, "Corp\u{1b}[2J"),
            (DnType::CommonName, "Inspecting CA"),
        ]);
        let name = certificate(&[(DnType::CommonName, "Inspecting CA")]);

        assert_eq!(issuer(&both).unwrap(), "Inspecting CA (Corp\u{fffd}[2J)");
        assert_eq!(issuer(&name).unwrap(), "Inspecting CA");
        assert_eq!(issuer(&certificate(&[])), None);
    }

    #[test]
    fn damaged_certificates_have_no_issuer() {
        let whole = certificate(&[(DnType::CommonName, "x")]);
        for length in 0..whole.len().min(60) {
            assert_eq!(issuer(&whole[..length]), None, "{length}");
        }
        for position in 0..whole.len() {
            let mut changed = whole.clone();
            changed[position] ^= 0xff;
            drop(issuer(&changed));
        }
        assert_eq!(issuer(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
