//! Why a simulator did not start, and what to do about it.

use std::io;
use std::path::PathBuf;

use super::super::exit::Exit;
use super::super::stdout::StdoutClosed;
use super::super::terminal;
use crate::sim::StartError;

/// Why `simulate` ends without having been told to.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Failure {
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its clients cannot be told whom to trust.
    #[error("cannot write the certificate to {}: {}", path.display(), terminal::words(source))]
    Certificate {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody was told where it is.
    #[error(transparent)]
    Unheard(#[from] StdoutClosed),
}

impl Failure {
    /// Tells it, if it is one; how the command ends.
    pub(in super::super) fn tell(&self) -> Exit {
        match self {
            Self::Start(StartError::Listen { address, source }) => {
                let port = address.port();
                let hint = match source.kind() == io::ErrorKind::AddrInUse {
                    true => format!(
                        "another program holds this port; choose another --listen, or find it with `ss -ltnp 'sport = :{port}'`"
                    ),
                    false => "choose another --listen".to_owned(),
                };
                let error = format!("{self}: {}", terminal::words(source));
                terminal::fail(Exit::CannotListen, &error, &hint)
            }
            Self::Start(StartError::NotLoopback(_)) => {
                terminal::fail(Exit::Usage, self, "choose another --listen")
            }
            Self::Start(StartError::Certificate(source) | StartError::Thread(source)) => {
                terminal::fail(Exit::Failed, &format!("{self}: {source}"), "")
            }
            Self::Certificate { .. } => terminal::fail(
                Exit::Failed,
                self,
                "--certificate names a file that is made or replaced, in a directory that is there and may be written to",
            ),
            Self::Unheard(unheard) => unheard.exit(),
        }
    }
}
