//! Reads the AWS configuration files.
//!
//! A file that cannot be read is a [`Problem`](super::Problem) of its profiles. Reading never waits
//! for another process: a FIFO is rejected, and at most [`MAX_SIZE`] bytes are read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use aws_types::os_shim_internal::Env;

use super::Profiles;
use crate::files::{self, Pipes, ReadError};

impl Profiles {
    /// Reads the files that the environment names, or those in the home directory. Blocks.
    pub(in crate::session::aws) fn read(env: &Env) -> Self {
        let mut profiles = Self::default();
        if let Some(path) = location(env, "AWS_CONFIG_FILE", ".aws/config") {
            let text = profiles.text_of(&path);
            profiles.add_config(&path, &text);
        }
        if let Some(path) = location(env, "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials") {
            let text = profiles.text_of(&path);
            profiles.add_credentials(&path, &text);
        }
        profiles
    }

    /// Returns the text of a file; empty if it does not exist or cannot be read.
    fn text_of(&mut self, path: &Path) -> String {
        match text_of(path) {
            Ok(Some(text)) => text,
            Ok(None) => {
                self.absent.push(path.to_owned());
                String::new()
            }
            Err(why) => {
                self.add_problem(path, 0, why);
                String::new()
            }
        }
    }
}

/// Returns the path of a file. `~/` at the start of a variable's value is the home directory.
fn location(env: &Env, variable: &str, usual: &str) -> Option<PathBuf> {
    let value = |name| env.get(name).ok().filter(|value| !value.trim().is_empty());
    match value(variable) {
        Some(named) => Some(in_home(env, &named)),
        None => Some(home(env)?.join(usual)),
    }
}

/// Returns a path with `~/` at its start replaced by the home directory, if that is known.
pub(in crate::session::aws) fn in_home(env: &Env, path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), home(env)) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => path.into(),
    }
}

fn home(env: &Env) -> Option<PathBuf> {
    let home = env.get("HOME").ok();
    home.filter(|home| !home.trim().is_empty())
        .map(PathBuf::from)
}

/// Returns `None` if the file does not exist.
fn text_of(path: &Path) -> Result<Option<String>, String> {
    let bytes = match files::read(path, MAX_SIZE, Pipes::Refused) {
        Ok(bytes) => bytes,
        Err(ReadError::System(error))
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(ReadError::System(error)) => return Err(format!("cannot be read: {error}")),
        Err(ReadError::NotAFile(name)) => return Err(format!("is {name}; ignored")),
        Err(ReadError::TooLarge(max)) => {
            return Err(format!("is larger than {max} bytes; ignored"));
        }
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("is not valid UTF-8 in line {line}; ignored")
    });
    text.map(Some)
}

/// Maximum size of a file, in bytes.
const MAX_SIZE: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn problem(path: &Path) -> String {
        let path = path.to_str().unwrap();
        let env = Env::from_slice(&[
            ("AWS_CONFIG_FILE", path),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ]);
        let profiles = Profiles::read(&env);
        let problems = profiles.problems().iter();
        let problems: Vec<_> = problems.map(ToString::to_string).collect();
        assert!(problems.iter().all(|problem| problem.contains(path)));
        problems.join("\n").replace(path, "FILE")
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_and_never_hangs() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let fifo = std::process::Command::new("mkfifo")
            .arg(at("fifo"))
            .status();
        assert!(fifo.unwrap().success());
        std::fs::write(at("large"), vec![b'\n'; 1024 * 1024 + 1]).unwrap();
        std::fs::write(at("latin"), b"[default]\nregion = a\n# \xe4\n").unwrap();
        std::fs::write(at("closed"), "[default]\n").unwrap();
        std::fs::set_permissions(at("closed"), PermissionsExt::from_mode(0o000)).unwrap();

        assert_eq!(problem(&at("fifo")), "FILE: is a FIFO; ignored");
        let large = "FILE: is larger than 1048576 bytes; ignored";
        assert_eq!(problem(&at("large")), large);
        assert_eq!(problem(Path::new("/dev/zero")), large);
        let latin = "FILE: is not valid UTF-8 in line 3; ignored";
        assert_eq!(problem(&at("latin")), latin);
        let place = "FILE: is a directory; ignored";
        assert_eq!(problem(directory.path()), place);
        assert_eq!(problem(&at("absent")), "");
        if !rustix::process::geteuid().is_root() {
            let closed = problem(&at("closed"));
            assert!(closed.contains("Permission denied"), "{closed}");
        }
    }

    #[test]
    fn the_environment_selects_the_files() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        std::fs::create_dir(home.join(".aws")).unwrap();
        std::fs::write(home.join(".aws/config"), "[profile a]\n").unwrap();
        std::fs::write(home.join(".aws/credentials"), "[b]\n").unwrap();
        std::fs::write(home.join("config"), "[profile c]\n").unwrap();
        let home = home.to_str().unwrap();

        for (environment, expected) in [
            (&[("HOME", home)][..], &["a", "b"][..]),
            (
                &[("HOME", home), ("AWS_CONFIG_FILE", "~/config")],
                &["b", "c"],
            ),
            (
                &[("HOME", home), ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")],
                &["a"],
            ),
            (&[("HOME", home), ("AWS_CONFIG_FILE", "")], &["a", "b"]),
            (&[], &[]),
        ] {
            let profiles = Profiles::read(&Env::from_slice(environment));
            let names: Vec<_> = profiles.names().collect();
            assert_eq!(names, expected, "{environment:?}");
        }
    }
}
