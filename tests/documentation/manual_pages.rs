//! Manual pages: their sections, and what mandoc says about them.

use std::process::Command;

use crate::cli::ended;
use crate::support::process::{Process, ssm_proxyd};

#[test]
fn the_page_of_the_program_has_the_usual_sections() {
    let text = page(&[]);
    for heading in [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "FILES",
        "ENVIRONMENT",
        "SIGNALS",
        "\"EXIT STATUS\"",
        "EXAMPLES",
        "\"SEE ALSO\"",
    ] {
        let is_heading =
            |line: &str| line.replace('"', "") == format!(".SH {}", heading.replace('"', ""));
        assert!(text.lines().any(is_heading), "{heading}: {text}");
    }
}

#[test]
fn the_page_of_the_configuration_has_every_table_and_key() {
    let text = page(&["ssm-proxyd.toml"]);

    assert!(text.starts_with(".TH ssm-proxyd.toml 5 "), "{text}");
    for section in ssm_proxyd::config::settings::SECTIONS {
        assert!(text.contains(&format!(".SS \"{}\"", section.header())));
        for key in section.keys() {
            assert!(text.contains(&format!("\\fB{key}\\fR")), "{key}");
        }
    }
}

/// Pages have no date, and clap_mangen breaks lines around lists of values.
#[test]
fn mandoc_has_no_other_warnings_about_any_page() {
    let (_, help, _) = ended(ssm_proxyd().arg("--help"));
    let entries = help.lines().filter_map(|line| line.strip_prefix("  "));
    let names = entries.filter_map(|entry| entry.split_once("  "));
    let mut pages: Vec<_> = names
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with('-') && *name != "help")
        .collect();
    assert!(pages.len() > 20, "{pages:?}");
    pages.extend(["ssm-proxyd.toml", ""]);

    for name in pages {
        let arguments: &[&str] = if name.is_empty() { &[] } else { &[name] };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), page(arguments)).unwrap();
        let mut mandoc = Command::new("mandoc");
        let mut mandoc = Process::start(
            mandoc
                .args(["-T", "lint", "-W", "warning"])
                .arg(file.path()),
        );
        mandoc.exit_code();
        let output = mandoc.stdout.all() + &mandoc.stderr.all();
        let unexpected: Vec<_> = output
            .lines()
            .filter(|line| !EXPECTED.iter().any(|part| line.contains(part)))
            .collect();

        assert!(unexpected.is_empty(), "{name}: {unexpected:#?}");
    }
}

const EXPECTED: [&str; 3] = ["missing date", "br before sp", "br after sp"];

fn page(arguments: &[&str]) -> String {
    let (code, text, stderr) = ended(ssm_proxyd().arg("man").args(arguments));
    assert_eq!((code, stderr.as_str()), (0, ""));
    text
}
