//! Syntax of identifiers: names, regions, paths, documents, modes.

use std::path::Path;

use crate::config::check::address::MAX_PATH;
use crate::config::diagnostic::ValueError;
use crate::config::source::quoted;
use crate::printable::is_printable;

/// Checks the name of a forward.
pub(in crate::config) fn check_name(text: &str) -> Result<(), ValueError> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_good = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.len() <= MAX_NAME
        && text.chars().all(is_letter);
    let hint = "use 1 to 64 letters, digits, `-`, `_` and `.`, starting with a letter or digit: \"orders-db\"";
    or(is_good, text, "is not a valid name", hint)
}

/// Checks the name of a region.
pub(in crate::config) fn check_region(text: &str) -> Result<(), ValueError> {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let has_number = |text: &str| {
        text.rsplit_once('-').is_some_and(|(area, number)| {
            area.contains('-') && number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty()
        })
    };
    let is_good = text.len() <= MAX_REGION && text.chars().all(is_letter) && has_number(text);
    let zone = text.strip_suffix(|c: char| c.is_ascii_lowercase());
    let hint = match zone.filter(|region| has_number(region)) {
        Some(region) => format!(
            "that is an availability zone; its region is {}",
            quoted(region)
        ),
        None => match region_meant(text).filter(|meant| has_number(meant)) {
            Some(meant) => format!("did you mean {}?", quoted(&meant)),
            None => "for example \"eu-west-1\"".to_owned(),
        },
    };
    or(is_good, text, "is not a region", &hint)
}

/// Returns the text in the spelling of a region, if it differs.
fn region_meant(text: &str) -> Option<String> {
    let meant = text.trim().to_ascii_lowercase().replace(['_', ' '], "-");
    let is_plain = meant.len() <= MAX_REGION
        && meant
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && meant.starts_with(|c: char| c.is_ascii_lowercase());
    (is_plain && meant != text).then_some(meant)
}

/// Checks the name of a profile.
pub(in crate::config) fn check_profile(text: &str) -> Result<(), ValueError> {
    let is_good = !text.trim().is_empty()
        && text.trim() == text
        && text.chars().count() <= MAX_PROFILE
        && !text
            .chars()
            .any(|c| c.is_control() || matches!(c, '[' | ']'));
    let hint = "write the name of a `[profile NAME]` in ~/.aws/config: \"prod\"";
    // It is printed wherever the profile is named. Names may have an `@`.
    let has_password = text
        .split_once('@')
        .is_some_and(|(user, _)| user.contains(':'));
    let is_url = text.contains("://") || has_password;
    or(
        is_good && !is_url,
        text,
        "is not a valid profile name",
        hint,
    )
}

/// Checks the ARN of a role. By the IAM reference, names consist of letters, digits and `+=,.@-_`;
/// paths may contain more.
pub(in crate::config) fn check_role(text: &str) -> Result<(), ValueError> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let is_partition = |text: &str| {
        text.starts_with("aws") && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
    };
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    let is_path = |text: &str| {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || "+=,.@-_/".contains(c);
        !text.is_empty() && !text.ends_with('/') && text.chars().all(is_letter)
    };
    let is_good = matches!(parts[..], ["arn", partition, "iam", "", account, role]
        if is_partition(partition) && is_account(account) && role.strip_prefix("role/").is_some_and(is_path));
    let hint = match parts[..] {
        ["arn", _, "sts", ..] => {
            "this is the ARN of a role session; write the ARN of the role: \"arn:aws:iam::111122223333:role/tunnel\""
        }
        ["arn", _, "iam", ..] => {
            "expected an account of 12 digits, then `role/`, path and name: \"arn:aws:iam::111122223333:role/tunnel\""
        }
        _ => {
            "write the ARN (`aws iam get-role` prints it): \"arn:aws:iam::111122223333:role/tunnel\""
        }
    };
    or(
        is_good && text.len() <= MAX_ROLE,
        text,
        "is not the ARN of a role",
        hint,
    )
}

/// Checks the path of a file. Must be absolute, so that it does not depend on the working
/// directory.
pub(in crate::config) fn check_path(text: &str) -> Result<(), ValueError> {
    let is_good = Path::new(text).is_absolute() && !text.contains('\0');
    let hint = match text.strip_prefix('~') {
        Some(_) => "`~` is not expanded; write an absolute path: \"/home/me/…\"",
        None => "write an absolute path: \"/etc/ssl/company.pem\"",
    };
    or(is_good, text, "is not an absolute path", hint)
}

/// Checks the path of a Unix socket.
pub(in crate::config) fn check_socket(text: &str) -> Result<(), ValueError> {
    let hint = match text.strip_prefix("unix:") {
        Some(path) => format!("write only the path: {}", quoted(path)),
        None => "write an absolute path: \"/run/ssm-proxyd/admin.sock\"".to_owned(),
    };
    let is_file = !text.ends_with(['/', '.']) && !text.contains(char::is_control);
    let is_good = text.starts_with('/') && is_file;
    or(is_good, text, "is not the absolute path of a socket", &hint)?;
    let what = format!("is too long: {} bytes", text.len());
    let hint = format!("the path of a Unix socket has at most {MAX_PATH} bytes");
    or(text.len() <= MAX_PATH, text, &what, &hint)
}

/// Checks the name or ARN of a document (SSM API reference: `^[a-zA-Z0-9_\-.:/]{3,128}$`).
pub(in crate::config) fn check_document(text: &str) -> Result<(), ValueError> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c);
    let is_good = (3..=128).contains(&text.len()) && text.chars().all(is_letter);
    let hint =
        "3 to 128 letters, digits and `_-.:/`: \"AWS-StartPortForwardingSession\", or an ARN";
    or(is_good, text, "is not a valid document name", hint)
}

/// Checks the text for the `Reason` of sessions. The API allows 256 characters; the rest is for this
/// program.
pub(in crate::config) fn check_reason(text: &str) -> Result<(), ValueError> {
    let length = text.chars().count();
    let is_good =
        (1..=MAX_REASON).contains(&length) && text.trim() == text && text.chars().all(is_printable);
    let hint = match length {
        0..=MAX_REASON => "write one line without control characters: \"on call, INC-4711\"",
        _ => "write at most 100 characters: \"on call, INC-4711\"",
    };
    or(is_good, text, "is not a valid reason", hint)
}

/// Checks file permissions in octal digits.
pub(in crate::config) fn check_mode(text: &str) -> Result<(), ValueError> {
    let is_octal = text.len() <= MAX_MODE && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal);
    let hint = "octal digits up to \"0777\": \"0600\" is for the owner, \"0660\" for the group too";
    let is_good = mode.is_some_and(|mode| mode <= 0o777);
    or(is_good, text, "is not a mode", hint)?;
    if mode.is_some_and(|mode| mode & 0o222 != 0) {
        return Ok(());
    }
    let what = format!("no client could connect with mode {}", quoted(text));
    let hint = "connecting requires write permission: \"0600\"";
    Err(ValueError::new(what, hint))
}

/// Returns an error that begins with the value, unless the value is good.
fn or(is_good: bool, text: &str, what: &str, hint: &str) -> Result<(), ValueError> {
    let error = || ValueError::new(format!("{} {what}", quoted(text)), hint);
    is_good.then_some(()).ok_or_else(error)
}

/// Maximum length of a name, which is a metric label and is printed in tables.
const MAX_NAME: usize = 64;

/// Maximum length of a region, which is a label of a host name.
const MAX_REGION: usize = 63;

/// Maximum length of a profile name; longer than any in use.
const MAX_PROFILE: usize = 256;

/// Maximum bytes of a role ARN, as in IAM.
const MAX_ROLE: usize = 2048;

/// Maximum length of a reason in characters.
const MAX_REASON: usize = 100;

/// Maximum length of a mode: four digits, the first of which is 0.
const MAX_MODE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_no_url() {
        for good in ["prod", "me@example.com", "team:prod", "my prod"] {
            assert_eq!(check_profile(good), Ok(()), "{good}");
        }
        for bad in [
            "http://proxy",
            "http://me:s3cret@proxy:1",
            "me:s3cret@proxy",
        ] {
            let error = check_profile(bad).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn paths_are_absolute() {
        assert_eq!(check_path("/etc/ssl/a b.pem"), Ok(()));
        for bad in ["", "a.pem", "./a.pem", "~/a.pem", "/a\0b"] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_socket_has_an_absolute_path_that_fits() {
        assert_eq!(check_socket("/run/ssm-proxyd/admin.sock"), Ok(()));
        let longest = format!("/{}", "x".repeat(MAX_PATH - 1));
        assert_eq!(check_socket(&longest), Ok(()));
        for bad in ["", "a.sock", "/", "/run/", "/run/..", "unix:/a", "/a\nb"] {
            assert!(check_socket(bad).is_err(), "{bad}");
        }
        assert!(check_socket(&format!("{longest}x")).is_err());
    }
}
