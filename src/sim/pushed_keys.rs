//! Keys that were pushed to instances: their requests, records, and validity.

use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub(super) struct PushRequest {
    #[serde(rename = "InstanceId")]
    pub(super) instance: String,
    #[serde(rename = "InstanceOSUser")]
    pub(super) user: String,
    #[serde(rename = "SSHPublicKey")]
    pub(super) key: String,
}

/// A key that was pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PushedKey {
    /// The id of the instance.
    pub instance: String,
    /// The user of the instance.
    pub user: String,
    /// The key, as sent.
    pub key: String,
    /// When the call arrived.
    pub pushed_us: u64,
    /// Result of the signature check.
    pub signature: String,
}

/// The keys that are valid now.
#[derive(Debug, Default)]
pub(super) struct ValidKeys {
    /// Users with their keys, and when they expire, in this order.
    keys: Mutex<Vec<(String, String, Instant)>>,
    /// Held while the keys of a user are read and written to a file.
    writing: Mutex<()>,
}

impl ValidKeys {
    fn lock(&self) -> MutexGuard<'_, Vec<(String, String, Instant)>> {
        self.keys.lock().expect("no holder of this lock panics")
    }

    pub(super) fn add(&self, key: &PushedKey, now: Instant) {
        let mut keys = self.lock();
        if keys.len() >= MAX_KEYS {
            keys.remove(0);
        }
        keys.push((key.user.clone(), key.key.clone(), now + KEY_LIFE));
    }

    /// Passes the valid keys of a user to `write`, one writer at a time, so that the last one writes
    /// all of them. Blocks.
    pub(super) fn write<T>(&self, user: &str, now: Instant, write: impl FnOnce(String) -> T) -> T {
        let _writing = self.writing.lock().expect("no holder of this lock panics");
        write(self.of(user, now))
    }

    /// Returns the valid keys of a user, one per line.
    fn of(&self, user: &str, now: Instant) -> String {
        let mut keys = self.lock();
        keys.retain(|(_, _, expiry)| now < *expiry);
        let of_user = keys.iter().filter(|(owner, _, _)| owner == user);
        of_user.map(|(_, key, _)| format!("{key}\n")).collect()
    }
}

impl PushRequest {
    /// Checks the constraints of the API. Returns the problem.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let id = self.instance.strip_prefix("i-").unwrap_or_default();
        let is_user = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@$".contains(&byte);
        let (first, user) = (self.user.as_bytes().first(), self.user.as_bytes());
        let is_first = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
        if !INSTANCE.contains(&id.len()) || !id.bytes().all(is_hex) {
            return Err("InstanceId is invalid");
        }
        if !first.is_some_and(is_first)
            || user.len() > MAX_USER
            || !user.iter().copied().all(is_user)
        {
            return Err("InstanceOSUser is invalid");
        }
        if !KEY.contains(&self.key.len())
            || !TYPES.iter().any(|name| self.key.starts_with(name))
            || self.key.contains(char::is_control)
        {
            return Err("SSHPublicKey is not a public key of the type ssh-ed25519 or ssh-rsa");
        }
        Ok(())
    }
}

/// Types of keys that the service supports.
const TYPES: [&str; 2] = ["ssh-ed25519 AAAA", "ssh-rsa AAAA"];

/// How long a key is valid.
pub(super) const KEY_LIFE: Duration = Duration::from_secs(60);

/// Maximum number of valid keys; the oldest one is removed.
const MAX_KEYS: usize = 1000;

/// Length of the id of an instance after `i-`.
const INSTANCE: RangeInclusive<usize> = 8..=30;

/// Maximum length of a user name.
const MAX_USER: usize = 32;

/// Length of a key.
const KEY: RangeInclusive<usize> = 80..=4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn request(instance: &str, user: &str, key: &str) -> PushRequest {
        PushRequest {
            instance: instance.to_owned(),
            user: user.to_owned(),
            key: key.to_owned(),
        }
    }

    #[test]
    fn requests_are_checked_as_by_the_service() {
        let key = format!("ssh-ed25519 AAAA{}", "x".repeat(64));
        assert!(
            request("i-0123456789abcdef0", "ec2-user", &key)
                .check()
                .is_ok()
        );
        for (instance, user, key, word) in [
            ("mi-0123456789abcdef0", "a", &key, "InstanceId"),
            ("i-0123", "a", &key, "InstanceId"),
            ("i-01234567", "", &key, "InstanceOSUser"),
            ("i-01234567", "../a", &key, "InstanceOSUser"),
            ("i-01234567", "a/b", &key, "InstanceOSUser"),
            (
                "i-01234567",
                "a",
                &"ssh-ed25519 AAAA".to_owned(),
                "SSHPublicKey",
            ),
            ("i-01234567", "a", &format!("{key}\nx"), "SSHPublicKey"),
            (
                "i-01234567",
                "a",
                &key.replace("ssh-ed25519", "ssh-dss"),
                "SSHPublicKey",
            ),
        ] {
            let problem = request(instance, user, key).check().unwrap_err();
            assert!(problem.contains(word), "{problem}");
        }
    }

    #[test]
    fn a_key_is_valid_for_its_user_for_a_minute() {
        let (keys, now) = (ValidKeys::default(), clock::now());
        let key = |user: &str, key: &str| PushedKey {
            instance: "i-01234567".to_owned(),
            user: user.to_owned(),
            key: key.to_owned(),
            pushed_us: 0,
            signature: String::new(),
        };

        keys.add(&key("a", "1"), now);
        keys.add(&key("b", "2"), now);
        keys.add(&key("a", "3"), now + Duration::from_secs(1));

        assert_eq!(keys.of("a", now + Duration::from_millis(59_999)), "1\n3\n");
        assert_eq!(keys.of("a", now + KEY_LIFE), "3\n");
        assert_eq!(keys.of("b", now + KEY_LIFE), "");
    }
}
