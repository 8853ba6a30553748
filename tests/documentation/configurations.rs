//! Every configuration in the documentation is valid, and every script is one for a shell.

use std::process::Command;

use super::{blocks, pages};
use crate::cli::ended;
use crate::support::daemon_process::File;
use crate::support::process::{Process, ssm_proxyd};

#[test]
fn every_configuration_is_valid() {
    let mut count = 0;
    for (path, text) in pages() {
        for block in blocks(&text, "toml") {
            let (code, stderr) = checked(&complete(&block));

            assert_eq!(code, 0, "{}: {stderr}\n{block}", path.display());
            count += 1;
        }
    }
    assert!(count > 5, "{count}");
}

#[test]
fn the_example_of_the_manual_page_is_valid() {
    let (_, page, _) = ended(ssm_proxyd().args(["man", "ssm-proxyd.toml"]));
    let (_, from) = page.split_once("\n.nf\n").unwrap();
    let (example, _) = from.split_once("\n.fi\n").unwrap();
    let example = example.replace("\\(dq", "\"").replace("\\-", "-");

    let (code, stderr) = checked(&example);

    assert_eq!(code, 0, "{stderr}\n{example}");
}

#[test]
fn every_script_is_accepted_by_the_shell() {
    for (path, text) in pages() {
        for block in blocks(&text, "sh") {
            let mut bash = Process::start(Command::new("bash").args(["-n", "-c", &block]));

            let code = bash.exit_code();

            let errors = bash.stderr.all();
            assert_eq!(code, 0, "{}: {errors}\n{block}", path.display());
        }
    }
}

/// A part of a configuration, with a forward if it has none.
fn complete(block: &str) -> String {
    match block.contains("[[forward]]") || block.contains("[[proxy]]") {
        true => block.to_owned(),
        false => format!(
            "{block}\n[[forward]]\nname = \"x\"\nlisten = 5432\ntarget = \"bastion\"\nremote = 22\n"
        ),
    }
}

/// The exit code of `check` and its messages.
fn checked(text: &str) -> (i32, String) {
    let file = File::new(text);
    let mut command = ssm_proxyd();
    command.args(["check", "--config"]).arg(file.path());
    let (code, _, stderr) = ended(&mut command);
    (code, stderr)
}
