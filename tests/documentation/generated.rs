//! Reference pages are those that the program prints.

use std::fs;

use crate::cli::ended;
use crate::support::process::ssm_proxyd;

#[test]
fn the_reference_of_the_commands_is_current() {
    assert_current("cli", "docs/cli.md");
}

#[test]
fn the_reference_of_the_configuration_is_current() {
    assert_current("configuration", "docs/configuration.md");
}

#[track_caller]
fn assert_current(page: &str, path: &str) {
    let (code, printed, stderr) = ended(ssm_proxyd().args(["reference", page]));
    assert_eq!((code, stderr.as_str()), (0, ""));

    assert_eq!(
        printed,
        fs::read_to_string(path).unwrap(),
        "update it: cargo run -- reference {page} > {path}"
    );
}
