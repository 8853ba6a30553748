//! The commands in the help texts and in the documentation are commands that this program accepts.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use clap::CommandFactory;

use super::examples::EXAMPLES;
use super::{Cli, GROUPS, HELP};
use crate::cli::parsed;

#[test]
fn every_command_is_in_one_group() {
    let mut grouped: Vec<_> = GROUPS.iter().flat_map(|group| group.commands).collect();
    grouped.retain(|name| **name != HELP);
    let program = Cli::command();
    let mut commands: Vec<_> = program
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name())
        .collect();
    grouped.sort_unstable();
    commands.sort_unstable();

    assert!(
        grouped.iter().copied().eq(&commands),
        "{grouped:?} {commands:?}"
    );
}

#[test]
fn every_example_is_accepted_and_belongs_to_its_command() {
    for (name, examples) in EXAMPLES {
        assert!(Cli::command().find_subcommand(name).is_some(), "{name}");
        for example in *examples {
            let [words] = &commands(example.line)[..] else {
                panic!("not one command: {}", example.line);
            };

            assert_eq!(&words[1], name, "{}", example.line);
            assert_accepted(words, example.line);
        }
    }
}

#[test]
fn every_command_in_the_documentation_is_accepted() {
    let mut count = 0;
    for path in documentation() {
        let text = fs::read_to_string(&path).unwrap();
        for script in scripts(&text) {
            for words in commands(&script) {
                assert_accepted(&words, &path.display().to_string());
                count += 1;
            }
        }
    }

    assert!(count > 60, "{count}");
}

#[test]
fn commands_are_found_in_scripts() {
    let script = "A=1 ssm-proxyd run -v | tee x # ssm-proxyd no\n\
                  echo \"$(ssm-proxyd token db --user 'a b')\"; ssm-proxyd exec \\\n db -- ./x";

    assert_eq!(
        commands(script),
        [
            &["ssm-proxyd", "run", "-v"][..],
            &["ssm-proxyd", "token", "db", "--user", "a b"],
            &["ssm-proxyd", "exec", "db", "--", "./x"],
        ]
    );
}

#[track_caller]
fn assert_accepted(words: &[String], place: &str) {
    let arguments = words.iter().map(OsString::from);
    if let Err(error) = parsed(arguments)
        && error.use_stderr()
    {
        panic!("{place}: {words:?}\n{error}");
    }
}

/// The pages for users.
fn documentation() -> Vec<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    let entries = fs::read_dir(root.join("docs")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    pages.extend(paths.filter(|path| path.extension().is_some_and(|kind| kind == "md")));
    pages.sort_unstable();
    pages
}

/// The blocks of shell commands, and commands in the text. One without arguments is the name of a
/// command, which may need some.
fn scripts(text: &str) -> Vec<String> {
    let mut scripts = Vec::new();
    for (index, block) in text.split("\n```").enumerate() {
        match (index % 2, block.strip_prefix("sh\n")) {
            (1, Some(script)) => scripts.push(script.to_owned()),
            (1, None) => {}
            _ => scripts.extend(
                block
                    .split('`')
                    .skip(1)
                    .step_by(2)
                    .filter(|code| code.starts_with("ssm-proxyd ") && !is_pattern(code))
                    .map(|code| match code.split(' ').count() {
                        2 if !code.contains(" -") => format!("{code} --help"),
                        _ => code.to_owned(),
                    }),
            ),
        }
    }
    scripts
}

/// Whether this stands for several commands.
fn is_pattern(code: &str) -> bool {
    code.contains(['…', '[']) || code.contains("COMMAND")
}

/// The calls of this program in a script.
fn commands(script: &str) -> Vec<Vec<String>> {
    let script = script.replace("\\\n", " ");
    let lines = script.lines().map(without_comment);
    lines
        .flat_map(|line| {
            let starts = line.match_indices("ssm-proxyd ");
            let starts = starts.filter(|(at, _)| {
                let before = &line[..*at];
                // The name of a unit is no command.
                before.is_empty() || before.ends_with([' ', '(', '=']) && !before.ends_with("-u ")
            });
            starts.map(|(at, _)| words(&line[at..])).collect::<Vec<_>>()
        })
        .collect()
}

fn without_comment(line: &str) -> &str {
    match line.starts_with('#') {
        true => "",
        false => line.split_once(" #").map_or(line, |(code, _)| code),
    }
}

/// The words up to the end of a command.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None, None);
    for character in text.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_with(String::new);
            }
            (None, ' ') => words.extend(word.take()),
            (None, '|' | ')' | ';' | '<' | '>' | '&') => break,
            _ => word.get_or_insert_with(String::new).push(character),
        }
    }
    words.extend(word);
    words
}
