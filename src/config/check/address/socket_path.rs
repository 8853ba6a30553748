//! Path of a Unix socket.

use std::path::{Component, Path, PathBuf};

use crate::config::check::address::is_digits;
use crate::config::diagnostic::ValueError;
use crate::config::source::quoted;

/// Parses the path after `unix:`.
pub(super) fn socket_path(text: &str) -> Result<PathBuf, ValueError> {
    let file = text.rsplit('/').next().unwrap_or_default();
    let port = file.rsplit_once(':').map_or("", |(_, port)| port);
    let (what, hint) = if let Some(rest) = text.strip_prefix("//") {
        let path = format!("unix:/{}", rest.trim_start_matches('/'));
        let url = quoted(&format!("unix:{text}"));
        let what = format!("{url} is a URL, not an address");
        return Err(ValueError::new(what, format!("write {}", quoted(&path))));
    } else if text.is_empty() {
        let what = "the path after `unix:` is missing";
        return Err(ValueError::new(what, ABSOLUTE));
    } else if text.starts_with('~') {
        let hint = "`~` is not expanded; write an absolute path: \"unix:/home/me/…\"";
        ("is not an absolute path", hint)
    } else if text.starts_with('@') {
        let hint = "abstract sockets have no permissions and are not supported; write a path: \"unix:/run/…\"";
        ("is not an absolute path", hint)
    } else if !text.starts_with('/') {
        ("is not an absolute path", ABSOLUTE)
    } else if matches!(file, "" | "." | "..") {
        let hint = "add the name of the socket: \"unix:/run/ssm-proxyd/db.sock\"";
        ("is a directory", hint)
    } else if text.trim() != text || text.contains(char::is_control) {
        let hint = "write only the path: \"unix:/run/ssm-proxyd/db.sock\"";
        ("has a trailing space or a control character", hint)
    } else if is_digits(port) {
        let hint = "a Unix socket has no port; write only the path";
        ("has a port after its path", hint)
    } else if file.contains("mode=") {
        let hint = "set `mode` as a separate key: `mode = \"0660\"`";
        ("has text after the path", hint)
    } else if text.len() > MAX_PATH {
        let what = format!("{} is too long: {} bytes", quoted(text), text.len());
        let hint = format!(
            "the path of a Unix socket has at most {MAX_PATH} bytes; choose a shorter directory"
        );
        return Err(ValueError::new(what, hint));
    } else {
        return Ok(Path::new(text).to_owned());
    };
    Err(ValueError::new(format!("{} {what}", quoted(text)), hint))
}

/// Returns an absolute path without `.`, `..` and doubled slashes, for comparison. No file is
/// accessed, so directories that are symbolic links are not resolved.
pub(in crate::config::check) fn normalized(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => normal.push(part),
        }
    }
    normal
}

/// Returns the error for an absolute path without `unix:`.
pub(super) fn bare_path(text: &str) -> ValueError {
    let what = format!("{} is a path, not an address", quoted(text));
    let address = quoted(&format!("unix:{text}"));
    ValueError::new(what, format!("for a Unix socket write {address}"))
}

const ABSOLUTE: &str = "write an absolute path: \"unix:/run/ssm-proxyd/db.sock\"";

/// Maximum bytes of a path in `sockaddr_un`, without the terminating zero.
pub(in crate::config::check) const MAX_PATH: usize =
    if cfg!(target_os = "linux") { 107 } else { 103 };
