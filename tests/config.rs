//! Tests every file in `config/good` and `config/bad`, and the shipped files.
//!
//! Beside each bad file is a text file with the exact messages for it, and beside some good files
//! one with the configuration. After a change regenerate them and read the difference as a user
//! would:
//! `cargo test --test all -- --ignored regenerate_expected_messages`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ssm_proxyd::config::settings::{Default, Kind, SECTIONS, Setting};
use ssm_proxyd::config::{
    Config, Forward, Log, LogFormat, LogLevel, SessionMode, Upload, format_size, parse, read,
};
use ssm_proxyd::duration::written;

#[test]
fn every_bad_file_gives_the_expected_messages() {
    for file in files("bad") {
        let expected = fs::read_to_string(file.with_extension("txt")).unwrap_or_default();

        assert_eq!(rendered(&file), expected, "{}", file.display());
    }
}

#[test]
#[ignore = "writes the messages that the other test expects"]
fn regenerate_expected_messages() {
    for file in files("bad") {
        fs::write(file.with_extension("txt"), rendered(&file)).unwrap();
    }
    for file in ["minimal", "everything", "limits", "targets", "ecs"].map(good_file) {
        fs::write(file.with_extension("txt"), debugged(&file)).unwrap();
    }
}

#[test]
fn every_file_begins_with_a_comment() {
    for file in files("bad").iter().chain(&files("good")) {
        let text = fs::read_to_string(file).unwrap();
        let text = text.trim_start_matches('\u{feff}');

        assert!(
            text.is_empty() || text.starts_with("# "),
            "{}",
            file.display()
        );
    }
}

#[test]
fn no_message_repeats_a_secret() {
    for file in files("bad") {
        let rendered = rendered(&file);

        assert!(!rendered.contains("s3cret"), "{rendered}");
    }
}

#[test]
fn every_good_file_is_read() {
    for file in files("good") {
        good(&file);
    }
}

#[test]
fn a_file_gives_the_expected_configuration() {
    for file in ["minimal", "everything", "limits", "targets", "ecs"].map(good_file) {
        let expected = fs::read_to_string(file.with_extension("txt")).unwrap_or_default();

        assert_eq!(debugged(&file), expected, "{}", file.display());
    }
}

#[test]
fn the_full_file_has_every_setting() {
    let text = fs::read_to_string(good_file("everything")).unwrap();

    for section in SECTIONS.iter().filter(|section| section.name != "defaults") {
        let header = format!("\n{}\n", section.header());
        let tables: Vec<_> = text.split(&header).skip(1).collect();
        for key in section.keys() {
            let line = format!("{key} = ");
            let has_key = |table: &&str| {
                let lines = table.lines().take_while(|line| !line.starts_with('['));
                lines.into_iter().any(|own| own.starts_with(&line))
            };
            assert!(tables.iter().any(has_key), "{} {key}", section.header());
        }
    }
}

#[test]
fn unset_values_of_a_forward_come_from_the_defaults() {
    let config = good(&shared("tests/config/good/defaults.toml"));

    let [own, shared] = &config.forwards[..] else {
        panic!("{config:?}")
    };
    let timeouts = [own, shared].map(|forward| forward.connect_timeout.as_secs());
    assert_eq!(timeouts, [3, 7]);
    assert!(matches!(
        own.sessions,
        SessionMode::PerConnection { warm: 2, .. }
    ));
    assert!(matches!(
        shared.sessions,
        SessionMode::Shared { max_streams: 9, .. }
    ));
    assert!(own.keep_alive && shared.keep_alive);
    assert_eq!(config.shutdown.drain_timeout, Duration::ZERO);
    let log = Log {
        format: LogFormat::Json,
        level: LogLevel::Debug,
    };
    assert_eq!(config.log, log);
}

#[test]
fn a_document_without_a_remote_gets_exactly_its_parameters() {
    let config = good(&shared("tests/config/good/documents.toml"));

    let requests = config.forwards.iter().map(|forward| {
        let parameters = forward.remote.parameters().into_iter();
        let parameters = parameters.map(|(name, values)| format!(" {name}={}", values.join(",")));
        let (name, document) = (&forward.name, forward.document());
        format!("{name}: {document}{}", parameters.collect::<String>())
    });
    assert_eq!(
        requests.collect::<Vec<_>>(),
        [
            "inherited: Our-Database database=orders",
            "own: Our-Database database=stock user=a,b",
            "none: Our-Cache",
            "remote: Our-Database host=db.internal portNumber=5432",
        ]
    );
    assert_eq!(
        config.forwards[0].remote.to_string(),
        "document Our-Database"
    );
}

#[test]
fn addresses_may_be_written_in_many_ways() {
    let config = good(&shared("tests/config/good/addresses.toml"));

    assert_eq!(
        described(&config),
        [
            "port: localhost:5432 -> i-01234567 -> localhost:5432",
            "free: localhost:0, localhost:0, 127.0.0.1:0, [::1]:0 -> i-01234567 -> localhost:22",
            "text: localhost:5433 -> i-01234567 -> localhost:22",
            "families: 127.0.0.1:5434, [::1]:5434, 127.0.0.2:5434 -> i-01234567 -> localhost:22",
            "sockets: unix:/run/a.sock, unix:/run/my db/b:c.sock -> i-01234567 -> localhost:22",
            "hosts: 127.0.0.3:5434 \
             -> ecs:my_cluster_0123456789abcdef0123456789abcdef_0123456789abcdef-0123456789 \
             -> [2001:db8::7]:5432",
            "passed: systemd:db, systemd:web_2.socket -> i-01234567 -> localhost:22",
            "host: 127.90.48.146:5432, 127.90.48.146:5435, localhost:5436 -> i-01234567 \
             -> db.internal:5432",
        ]
    );
}

#[test]
fn inline_tables_and_other_line_ends_mean_the_same() {
    let inline = good(&shared("tests/config/good/inline.toml"));
    let windows = good(&shared("tests/config/good/windows.toml"));

    assert_eq!(inline.aws.region.as_deref(), Some("eu-west-1"));
    assert_eq!(
        described(&inline),
        [
            "a: localhost:1 -> i-01234567 -> localhost:22",
            "b: localhost:2 -> i-01234567 -> db:10"
        ]
    );
    assert_eq!(
        described(&windows),
        ["db: localhost:5432 -> i-01234567 -> db:5432"]
    );
    assert_eq!(windows.forwards[0].line, 4);
    let lines: Vec<_> = inline.forwards.iter().map(|forward| forward.line).collect();
    assert_eq!(lines, [4, 5]);
}

#[test]
fn the_shipped_files_are_valid_and_have_the_defaults() {
    let minimal = good(&shared("config/minimal.toml"));
    let full = good(&shared("config/ssm-proxyd.toml"));

    assert!(
        minimal
            .forwards
            .iter()
            .chain(&full.forwards)
            .all(has_defaults)
    );
    assert_eq!(full.aws, ssm_proxyd::config::Aws::default());
}

#[test]
fn the_shipped_file_shows_every_setting_with_its_default() {
    let text = fs::read_to_string(shared("config/ssm-proxyd.toml")).unwrap();

    for setting in supported() {
        let line = match setting.absent {
            Default::Required if is_only_shown(setting) => format!("\n#{} = ", setting.key),
            Default::Required | Default::Unless(_) => format!("\n{} = ", setting.key),
            Default::None => format!("\n#{} = ", setting.key),
            // Valid only in combination with others, in forwards that are examples.
            Default::Text(value) if is_only_shown(setting) => {
                format!("\n#{} = \"{value}\"\n", setting.key)
            }
            Default::Number(value) if is_only_shown(setting) => {
                format!("\n#{} = {value}\n", setting.key)
            }
            Default::Text(value) => format!("\n{} = \"{value}\"\n", setting.key),
            Default::Number(value) => format!("\n{} = {value}\n", setting.key),
            Default::Flag(value) => format!("\n{} = {value}\n", setting.key),
        };
        assert!(text.contains(&line), "{line}");
    }
}

#[test]
fn the_table_of_keys_in_the_documentation_has_every_default_and_range() {
    let text = fs::read_to_string(shared("docs/interfaces.md")).unwrap();
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with("| table | key |"));
    let mut table = String::new();
    let mut documented = Vec::new();
    for row in rows.skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row
            .split(" | ")
            .map(|cell| cell.trim_matches(['|', ' ']))
            .collect();
        if cells[0].starts_with("`[") {
            table = cells[0].trim_matches('`').to_owned();
        }
        documented.push((table.clone(), cells[1], cells[2..].join(" | ")));
    }

    for section in SECTIONS.iter().filter(|section| section.name != "defaults") {
        for setting in section.settings {
            let key = format!("`{}`", setting.key);
            let is_row = |(table, keys, _): &&(String, &str, String)| {
                *table == section.header() && keys.split(", ").any(|own| own == key)
            };
            let (_, _, words) = documented.iter().find(is_row).expect(&key);
            let default = match setting.absent {
                Default::Required => "required".to_owned(),
                Default::Unless(_) => "required unless".to_owned(),
                Default::None => String::new(),
                Default::Text(text) => text.to_owned(),
                Default::Number(number) => number.to_string(),
                Default::Flag(flag) => flag.to_string(),
            };
            let range = match setting.kind {
                Kind::Number(min, max) => format!("{min} to {max}"),
                Kind::Duration(min, max) => format!("{} to {}", written(min), written(max)),
                Kind::Size(min, max) => format!("{} to {}", format_size(min), format_size(max)),
                Kind::Flag
                | Kind::Choice(_)
                | Kind::Text(..)
                | Kind::Listen
                | Kind::Hosts
                | Kind::Target
                | Kind::Remote
                | Kind::Allow
                | Kind::Parameters => String::new(),
            };
            assert!(
                words.contains(&default) && words.contains(&range),
                "{key}: {default:?}, {range:?}"
            );
        }
    }
}

#[test]
fn the_commented_settings_of_the_shipped_file_are_valid() {
    let text = fs::read_to_string(shared("config/ssm-proxyd.toml")).unwrap();
    let shown = text.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
            setting
        }
        Some(_) | None => line,
    });

    let config = parse(&shown.collect::<Vec<_>>().join("\n")).unwrap();

    assert!(config.aws.region.is_some() && config.aws.profile.is_some());
    assert!(config.aws.ssm_endpoint.is_some() && config.aws.ca_bundle.is_some());
    assert!(config.http.is_some() && config.admin.socket.is_some());
    assert!(config.forwards[0].document.is_some());
    assert_eq!(config.forwards[2].remote.parameters().len(), 1);
    assert!(config.forwards[3].listen[0].path().is_some());
    assert!(matches!(
        config.forwards[4].sessions,
        SessionMode::Shared { .. }
    ));
    assert!(config.forwards[5].relay.is_some());
    assert!(config.forwards[6].is_proxy());
}

/// The messages for a file.
fn rendered(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let name = file.file_name().unwrap();
    match parse(&text) {
        Ok(config) => panic!("{} is valid: {config:?}", file.display()),
        Err(problems) => format!("{}\n", problems.in_file(Path::new(name))),
    }
}

/// Returns the configuration in a file, in the form of `Debug`.
fn debugged(file: &Path) -> String {
    format!("{:#?}\n", good(file))
}

fn good_file(name: &str) -> PathBuf {
    shared(&format!("tests/config/good/{name}.toml"))
}

fn good(file: &Path) -> Config {
    read(file).unwrap_or_else(|error| panic!("{error}"))
}

/// One line for each forward.
fn described(config: &Config) -> Vec<String> {
    let line = |forward: &Forward| {
        let listen: Vec<_> = forward.listen.iter().map(ToString::to_string).collect();
        let Forward {
            name,
            target,
            remote,
            ..
        } = forward;
        format!("{name}: {} -> {target} -> {remote}", listen.join(", "))
    };
    config.forwards.iter().map(line).collect()
}

/// True if a setting is valid only together with others that are not the default.
fn is_only_shown(setting: &Setting) -> bool {
    let shared = ["max_streams", "max_session_age", "mode", "allow"];
    shared.contains(&setting.key) || ["relay", "stripes", "compress"].contains(&setting.key)
}

fn has_defaults(forward: &Forward) -> bool {
    let own = SessionMode::PerConnection {
        warm: 0,
        warm_max_age: Duration::from_secs(600),
    };
    forward.document.is_none()
        && forward.sessions == own
        && !forward.keep_alive
        && forward.connect_timeout == Duration::from_secs(30)
        && forward.mode == 0o600
        && forward.resume_timeout == Duration::from_secs(300)
        && forward.half_close_timeout == Duration::from_secs(30)
        && forward.upload
            == Upload {
                rate: 900,
                payload: 1024,
                window: 262_144,
            }
        && forward.max_connections == 64
        && !forward.allow_remote_clients
}

fn supported() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.iter().flat_map(|section| section.settings)
}

/// A packaged file.
fn shared(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(shared("tests/config").join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    assert!(!files.is_empty(), "no files in {folder}");
    files.sort();
    files
}
