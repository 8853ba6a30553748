//! Help and usage errors of the binary.

use std::process::Command;

use ssm_proxyd::printable::is_printable;

use crate::support::daemon_process::File;
use crate::support::process::{Process, ssm_proxyd};

#[test]
fn every_command_is_listed_with_a_sentence_and_has_its_own_help() {
    let (code, help, stderr) = run(&["--help"]);

    assert_eq!((code, stderr.as_str()), (0, ""));
    let commands: Vec<_> = GROUPS
        .iter()
        .flat_map(|heading| section(&help, heading))
        .collect();
    let names: Vec<_> = commands.iter().map(|(name, _)| *name).collect();
    for needed in ["forward", "init", "run", "demo", "man", "help"] {
        assert!(names.contains(&needed), "{help}");
    }
    for (name, sentence) in commands {
        assert_description_style(sentence);
        if name == "help" {
            continue;
        }
        let (code, own, stderr) = run(&[name, "--help"]);
        assert_eq!((code, stderr.as_str()), (0, ""), "{name}");
        assert_eq!(own.lines().next(), Some(sentence), "{name}");
        assert!(own.contains(&format!("Usage: ssm-proxyd {name}")), "{own}");
        assert_eq!(run(&["help", name]).1, own, "help {name}");
        let (_, short, _) = run(&[name, "-h"]);
        for (option, sentence) in section(&short, "Options:") {
            assert!(!sentence.is_empty(), "{name} {option} has no description");
            assert_description_style(sentence);
        }
    }
}

#[test]
fn the_help_of_run_matches_the_expected_text() {
    let (_, help, _) = run(&["run", "--help"]);

    assert_eq!(help, HELP_OF_RUN);
}

#[test]
fn the_version_output_has_program_and_protocol_versions() {
    let expected = format!(
        "ssm-proxyd {} (protocol: client version 1.2.764.0)\n",
        env!("CARGO_PKG_VERSION")
    );

    for arguments in ["--version", "-V"] {
        let (code, version, stderr) = run(&[arguments]);
        assert_eq!(
            (code, version.as_str(), stderr.as_str()),
            (0, expected.as_str(), ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn bad_usage_exits_with_2_and_names_the_bad_argument() {
    for (arguments, text) in [
        (&[][..], "Usage: ssm-proxyd"),
        (&["walk"], "unrecognized subcommand 'walk'"),
        (&["rum"], "'run'"),
        (&["--config", "x"], "'--config'"),
        (&["run", "--confg", "x"], "'--config'"),
        (
            &["run", "--config"],
            "a value is required for '--config <FILE>'",
        ),
        (&["run", "x.toml"], "unexpected argument 'x.toml'"),
        (&["-q", "-v", "run"], "cannot be used with"),
        (&["demo", "--kep"], "'--keep'"),
        (&["run", "--version"], "'--version'"),
    ] {
        let (code, out, stderr) = run(arguments);

        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(
            stderr.contains(text),
            "{arguments:?}: {text:?} is not in\n{stderr}"
        );
        assert!(stderr.contains("--help"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn arguments_in_a_message_have_no_control_characters() {
    let hostile = "x\u{202e}y\u{1b}[2J\u{9b}\r\nz";
    for arguments in [
        &[hostile][..],
        &["run", hostile],
        &["run", &format!("--{hostile}")],
        &["connect", hostile],
        &["forward", "i-0123456789abcdef0", "-L", hostile],
        &["wait", "--timeout", hostile],
        &["stop", "--now", hostile],
    ] {
        let (code, out, stderr) = run(arguments);

        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {stderr}");
        let mut lines = stderr.lines();
        let is_printable = lines.all(|line| line.chars().all(is_printable));
        assert!(is_printable, "{arguments:?}: {stderr:?}");
    }
}

#[test]
fn a_long_argument_in_a_message_is_cut() {
    let long = format!("a={}", "x".repeat(70_000));
    let target = "i-0123456789abcdef0";
    let arguments = [
        "connect",
        target,
        "--document",
        "Ours",
        "--parameter",
        &long,
    ];

    let (code, _, stderr) = run(&arguments);

    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.len() < 1500, "{} bytes", stderr.len());
    assert!(stderr.contains("--parameter"), "{stderr}");
    assert!(
        stderr.contains("is not a valid parameter value"),
        "{stderr}"
    );
}

#[test]
fn an_invalid_log_filter_is_bad_usage_with_an_example() {
    for filter in [
        "ssm_proxyd=loud",
        "a=b=c",
        "warning",
        "info,verbose",
        "ssm-proxyd=debug",
    ] {
        let mut command = ssm_proxyd();
        command
            .args(["run", "--config", "/nowhere"])
            .env("SSM_PROXYD_LOG", filter);

        let (code, out, stderr) = ended(&mut command);

        assert_eq!((code, out.as_str()), (2, ""), "{filter}: {stderr}");
        assert!(
            stderr.contains(&format!("SSM_PROXYD_LOG={filter:?}")),
            "{stderr}"
        );
        assert!(
            stderr.contains(" hint: for example SSM_PROXYD_LOG=ssm_proxyd=debug"),
            "{stderr}"
        );
    }
}

#[test]
fn a_log_filter_may_be_a_level_or_name_modules() {
    for filter in [
        "debug",
        "OFF",
        "3",
        "warn,ssm_proxyd=trace",
        "ssm_proxyd::forward=debug",
        "ssm_proxyd[connection]=debug",
        "",
    ] {
        let mut command = ssm_proxyd();
        command
            .args(["run", "--config", "/nowhere"])
            .env("SSM_PROXYD_LOG", filter);

        let (code, _, stderr) = ended(&mut command);

        assert_eq!(code, 78, "{filter}: {stderr}");
    }
}

#[test]
fn an_error_has_no_colour_unless_requested() {
    let file = File::new("[[forward]]\n");
    let path = file.path().display().to_string();
    for no_colour in ["", "1"] {
        let mut command = ssm_proxyd();
        command
            .args(["run", "--config", &path])
            .env("NO_COLOR", no_colour);

        let (_, _, stderr) = ended(&mut command);

        assert!(stderr.starts_with("error: "), "{stderr}");
        assert!(!stderr.contains('\u{1b}'), "{stderr:?}");
    }
}

#[test]
fn the_exit_code_does_not_depend_on_readers_of_the_output() {
    for arguments in [&["run", "--config", "/nowhere"][..], &["walk"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let expected = run(arguments).0;
        let mut command = ssm_proxyd();
        command.args(arguments).stdout(writer.try_clone().unwrap());

        let status = command.stderr(writer).status().unwrap();

        assert_eq!(status.code(), Some(expected), "{arguments:?}");
    }
}

/// Runs the binary; returns its exit code, stdout and stderr.
#[test]
fn options_are_checked_like_the_configuration_file() {
    let node = "i-0123456789abcdef0";
    for (arguments, fault, hint) in [
        (
            &["connect", node, "--region", "xx yy"][..],
            "\"xx yy\" is not a region",
            "for example \"eu-west-1\"",
        ),
        (
            &["forward", node, "-L", "0:db:5432", "--role-arn", "tunnel"],
            "\"tunnel\" is not the ARN of a role",
            "write the ARN",
        ),
        (
            &["exec", "db", "--region", "eu-west-1a", "--", "true"],
            "\"eu-west-1a\" is not a region",
            "its region is \"eu-west-1\"",
        ),
        (
            &["ssh-config", "--profile", "prod\nHost *"],
            "is not a valid profile name",
            "write the name of a `[profile NAME]` in ~/.aws/config",
        ),
        (
            &["connect", node, "--document", "a b"],
            "\"a b\" is not a valid document name",
            "3 to 128 letters",
        ),
        (
            &["wait", "--timeout", "5"],
            "\"5\" is not a duration",
            "write \"5s\"",
        ),
    ] {
        let (code, out, stderr) = run(arguments);

        assert_eq!((code, out.as_str()), (2, ""), "{stderr}");
        assert!(stderr.contains(fault), "{stderr}");
        let output = stderr.split_once("\n hint: ").map(|(_, output)| output);
        assert!(
            output.is_some_and(|output| output.contains(hint)),
            "{stderr}"
        );
    }
}

#[test]
fn a_region_after_a_target_is_used() {
    let (code, _, stderr) = run(&["connect", "i-0123456789abcdef0.nowhere"]);

    assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
    assert!(
        stderr.contains("\"nowhere\" is not a region; for example"),
        "{stderr}"
    );
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    ended(ssm_proxyd().args(arguments))
}

pub(crate) fn ended(command: &mut Command) -> (i32, String, String) {
    let mut process = Process::start(command);
    let code = process.exit_code();
    (code, process.stdout.all(), process.stderr.all())
}

/// The entries under a heading of a help text: the syntax and its description.
fn section<'a>(help: &'a str, heading: &str) -> Vec<(&'a str, &'a str)> {
    let lines = help.lines().skip_while(|line| *line != heading).skip(1);
    let entries = lines.take_while(|line| line.starts_with(' '));
    let entries = entries.map(|line| line.trim().split_once("  "));
    let entries: Option<Vec<_>> = entries.collect();
    let entries = entries.unwrap_or_else(|| panic!("an entry without a description: {help}"));
    assert!(!entries.is_empty(), "no {heading} in {help}");
    entries
        .into_iter()
        .map(|(name, sentence)| (name, sentence.trim()))
        .collect()
}

/// A description begins with a capital and has no full stop.
fn assert_description_style(sentence: &str) {
    assert!(
        sentence.starts_with(|first: char| first.is_uppercase()),
        "{sentence:?}"
    );
    assert!(!sentence.ends_with('.'), "{sentence:?}");
}

/// The headings of the commands.
const GROUPS: [&str; 5] = [
    "Forward ports:",
    "Prepare and check:",
    "Run and operate the daemon:",
    "Try and test without AWS:",
    "Documentation and shells:",
];

const HELP_OF_RUN: &str = "\
Run the daemon in the foreground

Usage: ssm-proxyd run [OPTIONS]

Options:
      --config <FILE>  The configuration file [default: $SSM_PROXYD_CONFIG, then ~/.config/ssm-proxyd/config.toml, then /etc/ssm-proxyd/config.toml]
      --strict         Fail at startup or reload if any forward cannot start
      --test           After the start, make the checks of `doctor` for all forwards, and log each failure
  -v, --verbose...     Log more: -v for decisions, -vv for every message
  -q, --quiet          Log errors only
  -h, --help           Print help

Examples:
  The configuration of this user:
      ssm-proxyd run
  Another file, and fail if a forward cannot start:
      ssm-proxyd run --config ./config.toml --strict
";
