//! `completions` and `man`: scripts for shells and pages for a pager.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{Fixture, forward_in_file};
use crate::cli::ended;
use crate::support::process::ssm_proxyd;

/// A real bash completes: commands, options, and the forwards of the configuration.
#[test]
fn bash_completes_commands_options_and_forward_names() {
    let fixture = Fixture::new();
    let cache = forward_in_file("orders-cache", 2).replace("listen = 1", "listen = 2");
    fixture.configure(&(forward_in_file("orders-db", 1) + &cache));
    let complete = |text: &str| {
        // As bash does when Tab is pressed: it calls the function of the script.
        let script = format!(
            "eval \"$(ssm-proxyd completions bash)\"; COMP_WORDS=({text}); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_TYPE=9; \
             _clap_complete_ssm_proxyd ssm-proxyd \"${{COMP_WORDS[COMP_CWORD]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let program = Path::new(env!("CARGO_BIN_EXE_ssm-proxyd"));
        let path = format!(
            "{}:{}",
            program.parent().unwrap().display(),
            std::env::var_os("PATH").unwrap().display()
        );
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", &script])
            .env("PATH", path)
            .env("HOME", fixture.home.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("SSM_PROXYD_CONFIG")
            .stdin(Stdio::null());
        let (code, out, output) = ended(&mut bash);
        assert_eq!(code, 0, "{output}");
        out
    };

    assert_eq!(complete("ssm-proxyd relo").trim(), "reload");
    assert_eq!(complete("ssm-proxyd status --js").trim(), "--json");
    let names = complete("ssm-proxyd exec orders-");
    assert!(
        names.contains("orders-db") && names.contains("orders-cache"),
        "{names}"
    );
    assert!(complete("ssm-proxyd wait orders-d").contains("orders-db"));
    assert!(complete("ssm-proxyd connect orders-d").contains("orders-db"));
}

#[test]
fn supported_shells_get_a_script_and_others_an_error() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, output) = ended(ssm_proxyd().args(["completions", shell]));

        assert_eq!((code, output.as_str()), (0, ""), "{shell}");
        assert!(out.contains("SSM_PROXYD_COMPLETE"), "{out}");
    }
    assert_eq!(ended(ssm_proxyd().args(["completions", "tcsh"])).0, 2);
}

#[test]
fn every_command_has_a_man_page() {
    let (code, page, _) = ended(ssm_proxyd().arg("man"));
    assert_eq!(code, 0);
    assert!(page.contains(".TH ssm-proxyd 1"), "{page}");
    let commands: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("ssm\\-proxyd\\-")?.strip_suffix("(1)"))
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        let command = command.replace('\\', "");
        if command == "help" {
            continue;
        }
        let (code, page, output) = ended(ssm_proxyd().args(["man", &command]));
        assert_eq!(code, 0, "{command}: {output}");
        assert!(
            page.contains(&format!(".TH ssm-proxyd-{command} 1")),
            "{page}"
        );
    }
    assert_eq!(ended(ssm_proxyd().args(["man", "fly"])).0, 2);
}
