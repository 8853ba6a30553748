//! Tests every file in `config/good` and `config/bad`, and the shipped files.
//!
//! Beside each bad file is a text file with the exact messages for it. After a change of messages
//! regenerate them and read the difference as a user would:
//! `cargo test --test all -- --ignored regenerate_expected_messages`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ssm_proxyd::config::settings::{Absent, SECTIONS, Setting};
use ssm_proxyd::config::{
    Account, Config, Forward, Limits, Listen, Log, LogFormat, LogLevel, Sessions, Upload, parse,
    read,
};

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
fn a_minimal_file_has_every_default() {
    let config = good(&shared("tests/config/good/minimal.toml"));

    assert_eq!(
        described(&config),
        ["db: localhost:5432 -> i-0123456789abcdef0 -> db.internal:5432"]
    );
    assert!(has_defaults(&config.forwards[0]));
    assert_eq!(config.aws, ssm_proxyd::config::Aws::default());
}

#[test]
fn a_full_file_sets_every_value() {
    let config = good(&shared("tests/config/good/everything.toml"));

    assert_eq!(
        described(&config),
        [
            "cache.v2_a: localhost:6379, 10.0.0.7:6379, [fd00::7]:6379, unix:/run/cache.sock \
          -> mi-0123456789abcdef0 -> localhost:6379",
            "shared: localhost:5432 -> i-01234567; else the tags Name=bastion, \
          aws:autoscaling:groupName=a b -> localhost:1",
        ]
    );
    let forward = &config.forwards[0];
    assert_eq!(config.aws.region.as_deref(), Some("us-gov-west-1"));
    assert!(forward.document().ends_with(":document/Our-PortForwarding"));
    assert_eq!(forward.connect_timeout, Duration::from_secs(90));
    assert_eq!(forward.mode, 0o666);
    assert_eq!(forward.resume_timeout, Duration::from_secs(3600));
    assert_eq!(forward.half_close_timeout, Duration::from_secs(7200));
    assert_eq!(
        forward.upload,
        Upload {
            rate: 0,
            payload: 65_536,
            window: 65_536
        }
    );
    assert_eq!(forward.max_connections, 1);
    assert!(forward.allow_remote_clients);
    assert_eq!(forward.line, 21);
    let http = config.http.as_ref().unwrap();
    assert_eq!(http.listen, [Listen::Systemd("http".to_owned())]);
    assert!(http.allow_remote_clients);
    let warm_max_age = Duration::from_secs(60);
    let warm = 1;
    let own = Sessions::PerConnection { warm, warm_max_age };
    assert_eq!(forward.sessions, own);
    assert!(forward.keep_alive);
    let shared = Sessions::Shared {
        max_streams: 2,
        max_age: Some(Duration::from_secs(8 * 3600)),
    };
    assert_eq!(config.forwards[1].sessions, shared);
    let account = Account {
        region: Some("us-gov-east-1".to_owned()),
        profile: Some("shared".to_owned()),
        role_arn: Some("arn:aws-us-gov:iam::111122223333:role/team/shared".to_owned()),
    };
    assert_eq!(config.forwards[1].account, account);
    let proxy = config.aws.proxy.as_ref().unwrap();
    assert_eq!(proxy.to_string(), "http://proxy.corp:3128");
    let limits = Limits {
        max_connections: 2000,
        session_start_rate: 2,
    };
    assert_eq!(config.limits, limits);
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
        Sessions::PerConnection { warm: 2, .. }
    ));
    assert!(matches!(
        shared.sessions,
        Sessions::Shared { max_streams: 9, .. }
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
            Absent::Problem => format!("\n{} = ", setting.key),
            Absent::Nothing => format!("\n#{} = ", setting.key),
            // Valid only in combination with others, in forwards that are examples.
            Absent::Text(value) if is_only_shown(setting) => {
                format!("\n#{} = \"{value}\"\n", setting.key)
            }
            Absent::Number(value) if is_only_shown(setting) => {
                format!("\n#{} = {value}\n", setting.key)
            }
            Absent::Text(value) => format!("\n{} = \"{value}\"\n", setting.key),
            Absent::Number(value) => format!("\n{} = {value}\n", setting.key),
            Absent::Flag(value) => format!("\n{} = {value}\n", setting.key),
        };
        assert!(text.contains(&line), "{line}");
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
    assert!(config.forwards[2].listen[0].path().is_some());
    assert!(matches!(
        config.forwards[3].sessions,
        Sessions::Shared { .. }
    ));
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
    ["mode", "max_streams", "max_session_age"].contains(&setting.key)
}

fn has_defaults(forward: &Forward) -> bool {
    let own = Sessions::PerConnection {
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
