//! The official plugin: which sessions are left to it, where it is, and how it takes over.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::NAME;
use super::request::Request;
use crate::cli::terminal;

/// What a session is for, as far as its request tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Connections to a local port or socket.
    Port,
    /// stdin and stdout as one connection, for ssh.
    Ssh,
    /// A shell or a command.
    Shell,
    /// Only the agent knows what the document is: another one, or the default of the service, or
    /// none is known.
    Unknown,
}

impl Purpose {
    /// Returns the purpose of a request.
    pub(super) fn of(request: Option<&Request>) -> Self {
        let Some(Request {
            document,
            parameters,
            ..
        }) = request
        else {
            return Self::Unknown;
        };
        let has_port = || {
            PORT_PARAMETERS
                .iter()
                .any(|name| parameters.contains_key(*name))
        };
        match document.as_deref() {
            None => Self::Unknown,
            Some(SSH) => Self::Ssh,
            Some(name) if name.starts_with(PORT_FORWARDING) => Self::Port,
            Some(name) if SHELLS.contains(&name) => Self::Shell,
            Some(_) if has_port() => Self::Port,
            Some(_) => Self::Unknown,
        }
    }
}

/// The official plugin, or a copy of this program, which then looks for the official one itself.
#[derive(Debug)]
pub(super) struct OfficialPlugin {
    pub(super) path: PathBuf,
    /// The files of this program that were found so far.
    ours: Vec<FileId>,
}

impl OfficialPlugin {
    /// Returns the official plugin if it is installed besides this program and its copies.
    pub(super) fn find() -> Option<Self> {
        let mut ours = parsed(&terminal::environment(HANDED_OVER).unwrap_or_default());
        if ours.len() >= MAX_COPIES {
            return None;
        }
        let itself = std::env::current_exe();
        // Counted even if it is unknown, so that the search ends.
        ours.push(
            itself
                .ok()
                .and_then(|path| identity(&path))
                .unwrap_or_default(),
        );
        let path = terminal::environment("PATH").unwrap_or_default();
        let places = std::env::split_paths(&path).filter(|place| place.is_absolute());
        let path = find_in(places.chain(USUAL.iter().map(PathBuf::from)), &ours)?;
        Some(Self { path, ours })
    }

    /// Replaces this process by it, with the same arguments and environment. Returns only if that
    /// fails.
    pub(super) fn hand_over(&self, arguments: &[OsString]) -> io::Error {
        Command::new(&self.path)
            .args(arguments)
            .env(HANDED_OVER, listed(&self.ours))
            .exec()
    }
}

fn find_in(places: impl Iterator<Item = PathBuf>, ours: &[FileId]) -> Option<PathBuf> {
    let mut candidates = places.map(|place| place.join(NAME));
    candidates.find(|path| {
        identity(path).is_some_and(|found| !ours.contains(&found)) && is_executable(path)
    })
}

/// Device and number of a file, of what a link points to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

fn listed(files: &[FileId]) -> String {
    let files = files.iter();
    let files = files.map(|FileId { device, inode }| format!("{device}:{inode}"));
    files.collect::<Vec<_>>().join(",")
}

/// Parses [`listed`]; what is not a file is left out.
fn parsed(list: &str) -> Vec<FileId> {
    let files = list.split(',').take(MAX_COPIES);
    let file = |text: &str| {
        let (device, inode) = text.split_once(':')?;
        Some(FileId {
            device: device.parse().ok()?,
            inode: inode.parse().ok()?,
        })
    };
    files.filter_map(file).collect()
}

/// Returns the identity of the file at a path.
pub(super) fn identity(path: &Path) -> Option<FileId> {
    let file = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(FileId {
        device: file.dev(),
        inode: file.ino(),
    })
}

fn is_executable(path: &Path) -> bool {
    let mode = fs::metadata(path).map(|file| file.permissions().mode());
    mode.is_ok_and(|mode| mode & 0o111 != 0)
}

/// Where the packages of the official plugin install it, besides the PATH.
const USUAL: &[&str] = &[
    "/usr/local/sessionmanagerplugin/bin",
    "/usr/local/bin",
    "/usr/bin",
    "/opt/homebrew/bin",
];

/// Set for the official plugin: the files that are copies of this program, so that they do not call
/// each other for ever.
const HANDED_OVER: &str = "SSM_PROXYD_HANDED_OVER";

/// Maximum number of copies that look for the official plugin in turn.
const MAX_COPIES: usize = 16;

/// How the names of AWS's documents for port forwarding begin.
const PORT_FORWARDING: &str = "AWS-StartPortForwardingSession";

/// AWS's document for one connection over stdin and stdout.
const SSH: &str = "AWS-StartSSHSession";

/// AWS's documents for shells and commands.
const SHELLS: &[&str] = &[
    "SSM-SessionManagerRunShell",
    "AWS-StartInteractiveCommand",
    "AWS-StartNonInteractiveCommand",
];

/// Parameters that only documents for port sessions have.
const PORT_PARAMETERS: &[&str] = &["portNumber", "localPortNumber", "localUnixSocket"];

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn purpose(document: Option<&str>, parameters: &[&str]) -> Purpose {
        let parameters = parameters
            .iter()
            .map(|name| ((*name).to_owned(), Vec::new()));
        Purpose::of(Some(&Request {
            target: "i-1".to_owned(),
            document: document.map(str::to_owned),
            parameters: parameters.collect(),
            ..Request::default()
        }))
    }

    #[test]
    fn the_purpose_is_known_from_the_document_or_its_parameters() {
        assert_eq!(purpose(None, &[]), Purpose::Unknown);
        assert_eq!(
            purpose(Some("SSM-SessionManagerRunShell"), &[]),
            Purpose::Shell
        );
        assert_eq!(
            purpose(Some("AWS-StartSSHSession"), &["portNumber"]),
            Purpose::Ssh
        );
        let port = "AWS-StartPortForwardingSessionToRemoteHost";
        assert_eq!(purpose(Some(port), &[]), Purpose::Port);
        assert_eq!(purpose(Some("Our-Db"), &["localPortNumber"]), Purpose::Port);
        assert_eq!(purpose(Some("Our-Shell"), &["user"]), Purpose::Unknown);
        assert_eq!(Purpose::of(None), Purpose::Unknown);
    }

    #[test]
    fn another_program_of_the_name_is_found_but_neither_this_one_nor_a_file() {
        let root = tempfile::tempdir().unwrap();
        let place = |name: &str| root.path().join(name);
        for name in ["empty", "ours", "text", "theirs"] {
            fs::create_dir(place(name)).unwrap();
        }
        let itself = std::env::current_exe().unwrap();
        symlink(&itself, place("ours").join(NAME)).unwrap();
        fs::write(place("text").join(NAME), "").unwrap();
        fs::write(place("theirs").join(NAME), "").unwrap();
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(place("theirs").join(NAME), executable).unwrap();
        let ours = [identity(&itself).unwrap()];
        let places = ["empty", "ours", "text", "theirs"].map(place);

        let without = find_in(places[..3].iter().cloned(), &ours);
        let with = find_in(places.iter().cloned(), &ours);

        assert_eq!(without, None);
        assert_eq!(with, Some(place("theirs").join(NAME)));
    }

    #[test]
    fn the_list_of_copies_is_read_again_and_is_bounded() {
        let file = |inode| FileId { device: 7, inode };
        let files = [file(1), file(2)];

        assert_eq!(parsed(&listed(&files)), files);
        assert_eq!(parsed("1,x:2,7:1,7:-1,:"), [file(1)]);
        assert_eq!(parsed(&"7:1,".repeat(10_000)).len(), MAX_COPIES);
        assert_eq!(parsed(""), []);
    }
}
