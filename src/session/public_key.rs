//! Public keys of ssh users that are pushed to an instance.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::printable::Printable;

/// A public key, and the user of the instance that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedKey {
    /// The key.
    pub key: PublicKey,
    /// The user.
    pub user: OsUser,
}

/// A public key that EC2 Instance Connect supports: type and data, without options and comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(String);

impl PublicKey {
    /// Returns the key as in a line of `authorized_keys`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Parses the content of a `.pub` file.
impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        // Checked first: no part of a private key may be in an error.
        if PRIVATE.iter().any(|mark| text.contains(mark)) {
            return Err(PublicKeyError::Private);
        }
        let text = text.trim_start_matches(BYTE_ORDER_MARK);
        let mut lines = text.lines().map(str::trim).filter(|line| {
            let is_comment = line.starts_with('#');
            !line.is_empty() && !is_comment
        });
        let line = lines.next().ok_or(PublicKeyError::NotAKey)?;
        if lines.next().is_some() {
            return Err(PublicKeyError::SeveralLines);
        }
        let mut words = line.split_ascii_whitespace();
        let (name, data) = words
            .next()
            .zip(words.next())
            .ok_or(PublicKeyError::NotAKey)?;
        let Some((_, numbers)) = TYPES.iter().find(|(known, _)| *known == name) else {
            let is_name = name.contains('-') && STANDARD.decode(data).is_ok();
            return Err(match is_name {
                true => PublicKeyError::Type(Printable::cut(name, MAX_NAME)),
                false => PublicKeyError::NotAKey,
            });
        };
        let key = format!("{name} {data}");
        let blob = STANDARD.decode(data).unwrap_or_default();
        match is_public(&blob, name, numbers) && LENGTH.contains(&key.len()) {
            true => Ok(Self(key)),
            false => Err(PublicKeyError::Damaged),
        }
    }
}

/// Returns whether a blob consists of the name of its type and the numbers of a public key, of which
/// some have a fixed length. The blob of a private key begins in the same way, and has more of them.
fn is_public(blob: &[u8], name: &str, numbers: &[Option<usize>]) -> bool {
    let Some((first, mut rest)) = part(blob) else {
        return false;
    };
    for length in numbers {
        let Some((number, behind)) = part(rest) else {
            return false;
        };
        if number.is_empty() || length.is_some_and(|length| length != number.len()) {
            return false;
        }
        rest = behind;
    }
    first == name.as_bytes() && rest.is_empty()
}

/// Splits the first part off a blob: its length in 32 bits, and its bytes.
fn part(blob: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = blob.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.split_at_checked(length)
}

/// A text that is not a public key of a supported type. Contains nothing of a private key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// A private key.
    #[error("this is a private key; it was not sent")]
    Private,
    /// Something else.
    #[error("this is not a public key")]
    NotAKey,
    /// More than one key.
    #[error("this has more than one line")]
    SeveralLines,
    /// A key of another type.
    #[error("EC2 Instance Connect does not support keys of the type {0}")]
    Type(Printable),
    /// A key that is incomplete or too large.
    #[error("the data of this key is incomplete, damaged or too large")]
    Damaged,
}

impl PublicKeyError {
    /// Returns what the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Private => {
                "name the public key; it is usually in the file of the same name with `.pub`"
            }
            Self::NotAKey => "a public key is one line, `ssh-ed25519 AAAA…` or `ssh-rsa AAAA…`",
            Self::SeveralLines => "name a file with one public key",
            Self::Type(_) => {
                "use a key of the type ed25519 or rsa; `ssh-keygen -t ed25519` creates one"
            }
            Self::Damaged => "`ssh-keygen -y -f PRIVATE_KEY` prints the public key again",
        }
    }
}

/// The name of a user of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OsUser(String);

impl OsUser {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OsUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Parses a name as the API does: `^[A-Za-z_][A-Za-z0-9\@\._-]{0,30}[A-Za-z0-9\$_-]?$`.
impl FromStr for OsUser {
    type Err = OsUserError;

    fn from_str(text: &str) -> Result<Self, OsUserError> {
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let is_within = |byte: &u8| is_letter(byte) || matches!(byte, b'@' | b'.');
        let is_good = match text.as_bytes() {
            [first, middle @ .., last] => {
                is_first(*first)
                    && middle.len() <= MAX_MIDDLE
                    && middle.iter().all(is_within)
                    && (is_within(last) && middle.len() < MAX_MIDDLE
                        || is_letter(last)
                        || *last == b'$')
            }
            [only] => is_first(*only),
            [] => false,
        };
        is_good.then(|| Self(text.to_owned())).ok_or(OsUserError)
    }
}

fn is_first(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

/// A text that is not the name of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a user name: write 1 to 32 letters, digits and `_-.@`, for example ec2-user")]
pub struct OsUserError;

/// The types, and the numbers of their public keys (RFC 4253, section 6.6, and RFC 8709): their
/// lengths, if these are fixed.
const TYPES: [(&str, &[Option<usize>]); 2] =
    [("ssh-ed25519", &[Some(32)]), ("ssh-rsa", &[None, None])];

/// Editors may put it at the begin of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// What private keys of OpenSSH, OpenSSL and PuTTY contain.
const PRIVATE: [&str; 3] = ["PRIVATE KEY", "-----BEGIN", "PuTTY-User-Key-File"];

/// Length of `SSHPublicKey` in the API.
const LENGTH: std::ops::RangeInclusive<usize> = 80..=4096;

/// Maximum length of the name of a type in an error.
const MAX_NAME: usize = 60;

/// Maximum number of characters of a user name but the first and the last.
const MAX_MIDDLE: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKE2gYFYBGl5yXOxbMbZrTnJmWkxVrrX5Yc0cxyF1nqJ";

    fn parse(text: &str) -> Result<String, PublicKeyError> {
        text.parse().map(|key: PublicKey| key.as_str().to_owned())
    }

    #[test]
    fn a_key_is_read_without_its_comment() {
        let rsa = format!(
            "ssh-rsa {}",
            STANDARD.encode(blob(&[b"ssh-rsa", &[3], &[1; 257]]))
        );
        for (text, key) in [
            (format!("{ED25519} me@host\n"), ED25519),
            (format!("\u{feff}{ED25519} me@host\r\n"), ED25519),
            (format!("\r\n# mine\r\n  {ED25519}\r\n"), ED25519),
            (rsa.clone(), &rsa),
        ] {
            assert_eq!(parse(&text).as_deref(), Ok(key), "{text}");
        }
    }

    fn blob(parts: &[&[u8]]) -> Vec<u8> {
        let part = |part: &&[u8]| {
            let length = u32::try_from(part.len()).unwrap();
            [&length.to_be_bytes(), *part].concat()
        };
        parts.iter().flat_map(part).collect()
    }

    /// As an agent of ssh gets them: the blob of the public key, and more.
    #[test]
    fn the_blob_of_a_private_key_is_rejected() {
        for (name, parts) in [
            ("ssh-ed25519", &[&[1; 32][..], &[2; 64], b"me"][..]),
            ("ssh-ed25519", &[&[1; 32], b""]),
            ("ssh-ed25519", &[&[1; 64]]),
            ("ssh-ed25519", &[&[1; 33]]),
            ("ssh-rsa", &[&[1; 256], &[3], &[2; 256], &[4; 128]]),
            ("ssh-rsa", &[&[3; 100]]),
            ("ssh-rsa", &[b"", &[3; 100]]),
        ] {
            let parts: Vec<_> = [name.as_bytes()].iter().chain(parts).copied().collect();
            let blob = blob(&parts);
            let text = format!("{name} {}", STANDARD.encode(blob));

            assert_eq!(parse(&text), Err(PublicKeyError::Damaged), "{text}");
        }
        let cut = STANDARD.encode([0, 0, 1, 0, 1]);
        let text = format!("ssh-rsa {}{cut}", "AAAAB3NzaC1yc2EA".repeat(9));
        assert_eq!(parse(&text), Err(PublicKeyError::Damaged));
    }

    #[test]
    fn other_texts_are_rejected_with_their_cause() {
        use PublicKeyError::{Damaged, NotAKey, Private, SeveralLines};
        let secret = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END";
        let other = |name: &str| PublicKeyError::Type(name.into());
        for (text, error) in [
            (secret, Private),
            ("PuTTY-User-Key-File-3: ssh-ed25519\nc2VjcmV0", Private),
            ("", NotAKey),
            ("ssh-ed25519", NotAKey),
            ("hello world", NotAKey),
            ("---- BEGIN SSH2 PUBLIC KEY ----", NotAKey),
            (&format!("command=\"x\" {ED25519}"), NotAKey),
            (&format!("{ED25519}\n{ED25519}"), SeveralLines),
            ("ecdsa-sha2-nistp256 AAAA", other("ecdsa-sha2-nistp256")),
            (
                "sk-ssh-ed25519@openssh.com AAAA",
                other("sk-ssh-ed25519@openssh.com"),
            ),
            (&ED25519[..ED25519.len() - 4], Damaged),
            (&ED25519.replace("KE2g", "K!2g"), Damaged),
            (&ED25519.replace("ssh-ed25519", "ssh-rsa"), Damaged),
            (
                &format!("ssh-rsa AAAAB3NzaC1yc2EA{}", "A".repeat(4080)),
                Damaged,
            ),
        ] {
            assert_eq!(parse(text), Err(error.clone()), "{text}");
            assert!(!format!("{error:?} {error}").contains("c2Vj"), "{error}");
        }
    }

    #[test]
    fn user_names_are_those_of_the_api() {
        let longest = format!("a{}", "b".repeat(31));
        for good in [
            "ec2-user",
            "_",
            "a",
            "a.b@c",
            "svc$",
            "a.",
            longest.as_str(),
        ] {
            assert_eq!(good.parse().map(|OsUser(name)| name), Ok(good.to_owned()));
        }
        let long = format!("{longest}b");
        for bad in [
            "", "-a", "1a", "$", "a b", "a$b", "a/b", "\u{e4}", "a\n", &long,
        ] {
            assert_eq!(bad.parse::<OsUser>(), Err(OsUserError), "{bad}");
        }
    }
}
