//! Path of a Unix socket.

use std::path::{Path, PathBuf};

use crate::config::check::address::is_digits;
use crate::config::diagnostic::ValueError;
use crate::config::source::quoted;

/// Parses the path after `unix:`.
pub(super) fn socket_path(text: &str) -> Result<PathBuf, ValueError> {
    if let Some(rest) = text.strip_prefix("//") {
        return Err(url(text, rest));
    }
    if !text.starts_with('/') {
        return Err(relative(text));
    }
    check_end(text)?;
    if text.len() > MAX_PATH {
        let what = format!("{} is too long: {} bytes", quoted(text), text.len());
        let hint = format!(
            "the path of a Unix socket has at most {MAX_PATH} bytes; choose a shorter directory"
        );
        return Err(ValueError::new(what, hint));
    }
    Ok(Path::new(text).to_owned())
}

/// Returns the error for an absolute path without `unix:`.
pub(super) fn bare_path(text: &str) -> ValueError {
    let what = format!("{} is a path, not an address", quoted(text));
    let hint = format!(
        "for a Unix socket write {}",
        quoted(&format!("unix:{text}"))
    );
    ValueError::new(what, hint)
}

fn url(text: &str, rest: &str) -> ValueError {
    let what = format!(
        "{} is a URL, not an address",
        quoted(&format!("unix:{text}"))
    );
    let path = rest.trim_start_matches('/');
    ValueError::new(what, format!("write {}", quoted(&format!("unix:/{path}"))))
}

fn relative(text: &str) -> ValueError {
    let what = match text {
        "" => "the path after `unix:` is missing".to_owned(),
        text => format!("{} is not an absolute path", quoted(text)),
    };
    let hint = match text.chars().next() {
        Some('~') => "`~` is not expanded; write an absolute path: \"unix:/home/me/…\"",
        Some('@') => {
            "abstract sockets have no permissions and are not supported; write a path: \"unix:/run/…\""
        }
        Some(_) | None => "write an absolute path: \"unix:/run/ssm-proxyd/db.sock\"",
    };
    ValueError::new(what, hint)
}

/// Checks that the path names a file and is followed by nothing else.
fn check_end(text: &str) -> Result<(), ValueError> {
    let file = text.rsplit('/').next().unwrap_or_default();
    let (what, hint) = if matches!(file, "" | "." | "..") {
        (
            "is a directory",
            "add the name of the socket: \"unix:/run/ssm-proxyd/db.sock\"",
        )
    } else if text.trim() != text || text.contains(char::is_control) {
        (
            "has a trailing space or a control character",
            "write only the path: \"unix:/run/ssm-proxyd/db.sock\"",
        )
    } else if file
        .rsplit_once(':')
        .is_some_and(|(_, port)| is_digits(port))
    {
        (
            "has a port after its path",
            "a Unix socket has no port; write only the path",
        )
    } else if file.contains("mode=") {
        (
            "has text after the path",
            "set `mode` as a separate key: `mode = \"0660\"`",
        )
    } else {
        return Ok(());
    };
    Err(ValueError::new(format!("{} {what}", quoted(text)), hint))
}

/// Maximum bytes of a path in `sockaddr_un`, without the terminating zero.
pub(in crate::config::check) const MAX_PATH: usize =
    if cfg!(target_os = "linux") { 107 } else { 103 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_names_a_file() {
        for good in [
            "/a",
            "/run/ssm-proxyd/db.sock",
            "/run/my db/a b",
            "/a/../b",
            "/x:y",
        ] {
            assert_eq!(socket_path(good), Ok(PathBuf::from(good)));
        }
        for bad in [
            "",
            "a",
            "./a",
            "~/a",
            "@a",
            "/",
            "/a/",
            "/a/.",
            "/a/..",
            "/a ",
            "/a\n",
            "/a\0b",
            "//a",
            "///a",
            "/a:5432",
            "/a,mode=0660",
            "/a?mode=0660",
        ] {
            assert!(socket_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_path_fits_into_an_address() {
        let longest = format!("/{}", "x".repeat(MAX_PATH - 1));

        assert!(socket_path(&longest).is_ok());
        let fault = socket_path(&(longest + "x")).unwrap_err();
        assert!(fault.hint().contains(&MAX_PATH.to_string()));
    }

    #[test]
    fn the_right_path_is_shown_for_a_url() {
        let hint = |text| socket_path(text).unwrap_err().hint().to_owned();

        assert_eq!(hint("///run/a.sock"), "write \"unix:/run/a.sock\"");
        assert_eq!(hint("//run/a.sock"), "write \"unix:/run/a.sock\"");
    }
}
