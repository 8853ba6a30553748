//! Tests of parsing and checking whole files, with property tests for arbitrary text.

use proptest::prelude::*;

use super::*;
use crate::config::check::value::{default, errors};
use crate::config::settings::Kind;

const MINIMAL: &str = r#"
[[forward]]
name = "db"
listen = 5432
target = "i-0123456789abcdef0"
remote = "db.internal:5432"
"#;

const MINIMAL_PROXY: &str = r#"
[[proxy]]
name = "db"
listen = 5432
target = "i-0123456789abcdef0"
allow = ["db.internal:5432"]
"#;

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn messages(text: &str) -> Vec<String> {
    let problems = parse(text).unwrap_err();
    problems
        .list
        .into_iter()
        .map(|problem| problem.what)
        .collect()
}

#[test]
fn a_port_of_the_target_has_another_document() {
    let config = good(&MINIMAL.replace("\"db.internal:5432\"", "5432"));

    assert_eq!(
        config.forwards[0].document(),
        "AWS-StartPortForwardingSession"
    );
}

#[test]
fn every_default_is_valid() {
    for setting in SECTIONS.iter().flat_map(|section| section.settings) {
        let errors = default(setting).map(|default| errors(setting, &default));

        assert!(errors.unwrap_or_default().is_empty(), "{}", setting.key);
    }
}

#[test]
fn every_word_of_a_choice_is_in_the_model() {
    for setting in SECTIONS.iter().flat_map(|section| section.settings) {
        let Kind::Choice(words) = setting.kind else {
            continue;
        };
        for word in words {
            let line = format!("{} = \"{word}\"\n", setting.key);
            let config = match setting.key {
                "sessions" | "explain" => good(&format!("{MINIMAL}{line}")),
                "compress" => good(&format!("{MINIMAL}relay = 7400\n{line}")),
                _ => good(&format!("[log]\n{line}{MINIMAL}")),
            };

            let found = match setting.key {
                "format" => config.log.format.as_str(),
                "level" => config.log.level.as_str(),
                "explain" => config.forwards[0].explain.as_str(),
                "compress" => config.forwards[0].relay.unwrap().compress.as_str(),
                _ => config.forwards[0].sessions.as_str(),
            };
            assert_eq!(found, *word);
        }
    }
}

#[test]
fn every_example_is_valid() {
    for section in SECTIONS {
        for setting in section.settings {
            let start = format!("{} = ", setting.key);
            let minimal = match section.name {
                name if name == PROXY.name => MINIMAL_PROXY,
                _ => MINIMAL,
            };
            let others = minimal.lines().filter(|line| !line.starts_with(&start));
            let others = others.collect::<Vec<_>>().join("\n");
            let line = format!("{}\n", setting.example());
            let others = match setting.key {
                "mode" => others.replace("listen = 5432", "listen = \"unix:/run/db.sock\""),
                "max_streams" | "max_session_age" => format!("{others}\nsessions = \"shared\""),
                "stripes" | "compress" => format!("{others}\nrelay = 7400"),
                "parameters" => others.replace("remote = \"", "document = \"Ours:"),
                _ => others,
            };
            let with_label = match setting.key {
                "allow_remote_clients" | "hosts" if section.name == HTTP.name => "listen = 1\n",
                _ => "",
            };

            match section.shape {
                Cardinality::Single => good(&format!(
                    "{}\n{with_label}{line}{MINIMAL}",
                    section.header()
                )),
                Cardinality::Array => good(&format!("{others}\n{line}")),
            };
        }
    }
}

#[test]
fn a_text_that_is_too_long_is_not_read() {
    let messages = messages(&" ".repeat(MAX_LENGTH + 1));

    assert_eq!(messages, ["the configuration is larger than 1048576 bytes"]);
}

#[test]
fn there_are_not_more_forwards_than_the_limit() {
    let forwards = |count: usize| -> String {
        let forward = |n| {
            MINIMAL
                .replace("\"db\"", &format!("\"f{n}\""))
                .replace("= 5432", "= 0")
        };
        (0..count).map(forward).collect()
    };

    assert_eq!(good(&forwards(MAX_FORWARDS)).forwards.len(), MAX_FORWARDS);
    assert_eq!(messages(&forwards(MAX_FORWARDS + 7)), ["1007 forwards"]);
}

#[test]
fn the_messages_for_invalid_text_of_any_length_are_bounded() {
    for piece in [
        "]\n",
        "[[",
        "a=1\n",
        "[[forward]]\n",
        "x = [\n",
        "\"",
        "=",
        "a.",
        "{",
        "'''\n",
    ] {
        let problems = parse(&piece.repeat(20_000)).unwrap_err();

        assert!(problems.list.len() <= 100, "{piece:?}");
        assert!(problems.to_string().len() < 100_000, "{piece:?}");
    }
}

/// Generates fragments of configuration files, valid and invalid.
fn pieces() -> impl Strategy<Value = String> {
    let keys: Vec<&str> = SECTIONS.iter().flat_map(Section::keys).collect();
    let value = prop_oneof![
        Just("\"db:1\"".to_owned()),
        Just("\"i-01234567\"".to_owned()),
        Just("[1, \"[::1]:1\"]".to_owned()),
        Just("\"30s\"".to_owned()),
        Just("\"http://a:b@c\"".to_owned()),
        Just("{ a = 1 }".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        "\"[ -~äß€\u{1f600}]{0,12}\"",
        "[\\[\\]{}\"'=,.#a-z0-9 \t\r\nä]{0,8}",
    ];
    let line = prop_oneof![
        (prop::sample::select(keys), value).prop_map(|(key, value)| format!("{key} = {value}")),
        "(\\[\\[(aws|forward)\\]\\]|\\[(aws|forward|log)\\])",
        ".{0,20}",
    ];
    let end = prop::sample::select(vec!["\n", "\r\n", "\r", "", "\n\n"]);
    let lines = prop::collection::vec((line, end), 0..24);
    lines.prop_map(|lines| {
        lines
            .iter()
            .map(|(line, end)| format!("{line}{end}"))
            .collect()
    })
}

fn is_located_in(diagnostic: &crate::config::diagnostic::Diagnostic, text: &str) -> bool {
    let line = text.split('\n').nth(diagnostic.place.line - 1);
    line.is_some_and(|line| diagnostic.place.column <= line.chars().count() + 1)
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_has_problems_located_in_it(
        text in prop_oneof![any::<String>(), "[ -~\n\t]{0,200}", pieces()]
    ) {
        match parse(&text) {
            Ok(config) => prop_assert!(!config.forwards.is_empty()),
            Err(problems) => {
                prop_assert!(problems.list.iter().all(|problem| is_located_in(problem, &text)));
                prop_assert!(problems.to_string().starts_with("error: "));
                prop_assert!(!problems.to_string().chars().any(|c| c.is_control() && c != '\n'));
            }
        }
    }
}
