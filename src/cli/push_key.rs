//! `--push-key`: the public key that `connect` pushes to an instance.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::files::{self, Pipes};
use crate::session::{OsUser, PublicKey, PublicKeyError, PushedKey};

#[derive(Args, Clone, Debug, Default)]
pub(super) struct PushKeyOptions {
    /// Push this public key to the EC2 instance when the connection is ready (EC2 Instance Connect);
    /// its sshd accepts it for 60 s, without a key of its own for the user
    #[arg(long, value_name = "PUBLIC_KEY", requires = "user")]
    push_key: Option<PathBuf>,
    /// The user of the instance that the key is for
    #[arg(long, value_name = "USER", requires = "push_key")]
    user: Option<OsUser>,
}

impl PushKeyOptions {
    /// Reads the key, if there is one. Blocks.
    pub(super) fn read(self) -> Result<Option<PushedKey>, KeyError> {
        let Some((path, user)) = self.push_key.zip(self.user) else {
            return Ok(None);
        };
        let key = read(&path)?;
        Ok(Some(PushedKey { key, user }))
    }
}

/// Reads a public key. Blocks.
pub(super) fn read(path: &Path) -> Result<PublicKey, KeyError> {
    let error = |cause| KeyError {
        path: path.to_owned(),
        cause,
    };
    let bytes = files::read(path, MAX_SIZE, Pipes::Read);
    let bytes = bytes.map_err(|source| error(Cause::Unreadable(source)))?;
    let key = String::from_utf8_lossy(&bytes).parse();
    key.map_err(|invalid| error(Cause::Invalid(invalid)))
}

/// A file that is not a public key. Contains nothing of its content.
#[derive(Debug)]
pub(super) struct KeyError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Unreadable(files::ReadError),
    Invalid(PublicKeyError),
}

impl KeyError {
    /// Returns what the user can do about it.
    pub(super) fn hint(&self) -> &'static str {
        match &self.cause {
            Cause::Unreadable(_) => {
                "name a file with one public key, for example ~/.ssh/id_ed25519.pub"
            }
            Cause::Invalid(invalid) => invalid.hint(),
        }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            Cause::Unreadable(source) => write!(f, "cannot read the public key {path}: {source}"),
            Cause::Invalid(invalid) => write!(f, "{path}: {invalid}"),
        }
    }
}

/// Maximum size of the file of a public key: that of a key in the API.
const MAX_SIZE: u64 = 4096;
