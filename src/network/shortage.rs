//! Detects errors caused by a shortage of descriptors or memory on this machine.
//!
//! They look like faults of the network or of an address.

use std::fs::File;
use std::io;

use rustix::io::Errno;

/// Returns the suggested action for an error that is a shortage on this machine; `None` if it is
/// another error.
pub fn hint(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error)? {
        Errno::MFILE => Some(
            "this process has reached its limit of open files and sockets: raise the limit (`ulimit -n`, `LimitNOFILE=` in a systemd unit), or lower `max_connections`",
        ),
        Errno::NFILE => Some(
            "this machine has reached its limit of open files: raise `fs.file-max` (sysctl), or find the processes that hold them with `lsof`",
        ),
        Errno::NOMEM | Errno::NOBUFS => {
            Some("out of memory: free some, or raise the memory limit of the service or container")
        }
        _ => None,
    }
}

/// Returns the shortage behind an error, or the error itself if there is none. Name resolution
/// opens files and sockets, and reports the name as unknown if that fails.
pub fn behind(error: io::Error) -> io::Error {
    current().unwrap_or(error)
}

/// Returns the shortage that prevents this process from opening a file now, if there is one.
pub fn current() -> Option<io::Error> {
    let error = File::open(ALWAYS_THERE).err()?;
    hint(&error).is_some().then_some(error)
}

const ALWAYS_THERE: &str = "/dev/null";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_has_a_hint_that_names_its_limit() {
        for (errno, expected) in [
            (Errno::MFILE, "LimitNOFILE"),
            (Errno::NFILE, "fs.file-max"),
            (Errno::NOMEM, "memory"),
            (Errno::NOBUFS, "memory"),
        ] {
            let hint = hint(&errno.into()).unwrap();

            assert!(hint.contains(expected), "{errno}: {hint}");
        }
        for errno in [Errno::ADDRINUSE, Errno::ACCESS, Errno::CONNREFUSED] {
            assert_eq!(hint(&errno.into()), None);
        }
        assert_eq!(hint(&io::ErrorKind::TimedOut.into()), None);
    }

    #[test]
    fn an_error_without_a_shortage_behind_it_is_unchanged() {
        let error = behind(io::ErrorKind::NotFound.into());

        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
