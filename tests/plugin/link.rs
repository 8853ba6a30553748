//! `plugin --install` and `--remove`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cli::ended;
use crate::support::process::ssm_proxyd;

fn plugin(option: &str, directory: &Path) -> Command {
    let mut command = ssm_proxyd();
    command.args(["plugin", option]).arg(directory);
    command.env("PATH", directory);
    command
}

#[test]
fn the_link_is_made_once_works_and_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("session-manager-plugin");

    let (code, out, err) = ended(&mut plugin("--install", directory.path()));
    let again = ended(&mut plugin("--install", directory.path()));
    let version = ended(Command::new(&link).arg("--version"));

    assert_eq!((code, &err[..]), (0, ""));
    assert!(out.starts_with(&format!("{} -> ", link.display())), "{out}");
    assert!(!out.contains("note"), "{out}");
    assert_eq!(again.0, 0);
    assert!(again.1.contains("exists already"), "{again:?}");
    assert_eq!(version.1, "1.2.764.0\n");
    assert_eq!(ended(&mut plugin("--remove", directory.path())).0, 0);
    assert!(link.symlink_metadata().is_err());
    assert_eq!(ended(&mut plugin("--remove", directory.path())).0, 0);
}

#[test]
fn a_file_that_is_not_ours_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("session-manager-plugin");
    fs::write(&file, "official").unwrap();

    for option in ["--install", "--remove"] {
        let (code, out, err) = ended(&mut plugin(option, directory.path()));

        assert_eq!((code, &out[..]), (1, ""));
        assert!(err.contains("is not a link to this program"), "{err}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"official");
}

#[test]
fn a_link_that_the_aws_cli_does_not_find_is_noted() {
    let directory = tempfile::tempdir().unwrap();

    let (code, out, _) = ended(plugin("--install", directory.path()).env("PATH", "/nowhere"));

    assert_eq!(code, 0);
    assert!(out.contains("is not in the PATH"), "{out}");
}

#[test]
fn a_missing_directory_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");

    let (code, _, err) = ended(&mut plugin("--install", &missing));

    assert_eq!(code, 1);
    assert!(err.contains("the directory must exist"), "{err}");
}

/// A package manager keeps the link, and replaces what it leads to.
#[test]
fn the_link_leads_to_the_path_by_which_the_program_was_called() {
    let directory = tempfile::tempdir().unwrap();
    let (bin, links) = (directory.path().join("bin"), directory.path().join("links"));
    fs::create_dir(&bin).unwrap();
    fs::create_dir(&links).unwrap();
    let stable = bin.join("proxy");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ssm-proxyd"), &stable).unwrap();
    let link = links.join("session-manager-plugin");
    let call = |program: &Path, option: &str| {
        let mut command = Command::new(program);
        command.args(["plugin", option]).arg(&links);
        ended(command.env("PATH", &bin))
    };

    for program in [Path::new("proxy"), &stable] {
        let made = call(program, "--install");

        assert_eq!(made.0, 0, "{made:?}");
        assert_eq!(fs::read_link(&link).unwrap(), stable);
        assert_eq!(call(program, "--remove").0, 0);
        assert!(link.symlink_metadata().is_err());
    }
}
