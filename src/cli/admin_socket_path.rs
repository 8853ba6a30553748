//! Default path of the admin socket, used if neither configuration nor option sets one.
//!
//! A service manager or login session provides a directory (`RUNTIME_DIRECTORY`,
//! `XDG_RUNTIME_DIR`). A container has neither: there the daemon takes the first of /run/ssm-proxyd
//! and /tmp/ssm-proxyd-UID that is writable, and commands try the same paths. A directory in /tmp
//! is used only if it is a real directory, owned by this user and inaccessible to others, as
//! another user may have created it or a link in its place.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::process::geteuid;
use tracing::warn;

use super::terminal;

/// Returns the socket path of the daemon; `None` if there is no usable directory.
pub(super) fn of_daemon() -> Option<PathBuf> {
    let usual = usual();
    if usual.is_some() || !is_bare() {
        return usual;
    }
    let is_usable = |directory: &PathBuf| make(directory).is_ok() && check(directory).is_ok();
    let found = fallbacks().into_iter().find(is_usable);
    if found.is_none() {
        let [first, second] = fallbacks().map(|directory| directory.display().to_string());
        warn!(
            hint = "mount a writable directory, and set `socket` in [admin] to a path in it",
            "no admin socket: neither {first} nor {second} can be used; `status`, `wait`, `reload` and `stop` cannot reach this daemon"
        );
    }
    found.map(|directory| directory.join(SOCKET))
}

/// Returns the paths at which commands look for a daemon, in order.
pub(super) fn of_clients() -> Vec<PathBuf> {
    let [_, temporary] = fallbacks();
    let temporary = check(&temporary).ok().map(|()| temporary.join(SOCKET));
    let places = usual().into_iter().chain([PathBuf::from(SYSTEM)]);
    places.chain(temporary).collect()
}

/// Returns the path provided by the service manager or login session.
fn usual() -> Option<PathBuf> {
    // Several directories are separated by colons.
    let of_service = terminal::environment("RUNTIME_DIRECTORY");
    let of_service = of_service.and_then(|paths| paths.split(':').next().map(PathBuf::from));
    let of_user =
        || terminal::environment("XDG_RUNTIME_DIR").map(|path| Path::new(&path).join("ssm-proxyd"));
    Some(of_service.or_else(of_user)?.join(SOCKET))
}

fn fallbacks() -> [PathBuf; 2] {
    let user = geteuid().as_raw();
    [
        PathBuf::from("/run/ssm-proxyd"),
        PathBuf::from(format!("/tmp/ssm-proxyd-{user}")),
    ]
}

/// Returns whether the process has no login environment, as in a container.
fn is_bare() -> bool {
    let home = terminal::environment("HOME").filter(|home| home != "/");
    let can_write = |home: String| access(home.as_str(), Access::WRITE_OK).is_ok();
    std::process::id() == 1 || !home.is_some_and(can_write)
}

fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(PRIVATE).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Fails unless the path is a directory, not a link, owned by this user, inaccessible to others,
/// and writable.
fn check(directory: &Path) -> io::Result<()> {
    let metadata = std::fs::symlink_metadata(directory)?;
    let is_private = metadata.is_dir()
        && metadata.uid() == geteuid().as_raw()
        && metadata.mode() & !PRIVATE & ALL == 0;
    if !is_private {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Path of the system service.
pub(super) const SYSTEM: &str = "/run/ssm-proxyd/admin.sock";
const SOCKET: &str = "admin.sock";

/// Permissions of a private directory, and the mask of all permission bits.
const PRIVATE: u32 = 0o700;
const ALL: u32 = 0o7777;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn only_a_private_directory_of_this_user_is_used() {
        let parent = tempfile::tempdir().unwrap();
        let [own, open, file, link] =
            ["own", "open", "file", "link"].map(|name| parent.path().join(name));
        make(&own).unwrap();
        make(&own).unwrap();
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(&file, "").unwrap();
        symlink(&own, &link).unwrap();

        assert!(check(&own).is_ok());
        for other in [&open, &file, &link, &parent.path().join("none")] {
            assert!(check(other).is_err(), "{}", other.display());
        }
    }
}
