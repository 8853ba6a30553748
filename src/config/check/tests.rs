//! Tests of parsing and checking whole files, with property tests for arbitrary text.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::check::value::default;
use crate::config::model::{ClientVersion, Listen, Remote, Sessions};
use crate::config::settings::Absent;

const MINIMAL: &str = r#"
[[forward]]
name = "db"
listen = 5432
target = "i-0123456789abcdef0"
remote = "db.internal:5432"
"#;

/// Every setting of this version, with a value other than its default.
const FULL: &str = r#"
[aws]
region = "eu-west-1"
profile = "prod"
role_arn = "arn:aws:iam::111122223333:role/tunnel"
ssm_endpoint = "http://127.0.0.1:4566"
ssmmessages_endpoint = "wss://gateway.corp:8443"
ca_bundle = "/etc/ssl/company.pem"
proxy = "http://me:s%40cret@proxy.corp:3128"
client_version = "1.2.835.0"

[limits]
max_connections = 5000
session_start_rate = 3

[shutdown]
drain_timeout = "2m"

[log]
format = "json"
level = "trace"

[http]
listen = 9187
allow_remote_clients = true
hosts = ["metrics.example.org"]

[admin]
socket = "/run/user/1000/admin.sock"

[[forward]]
name = "cache"
listen = ["localhost:0", "0.0.0.0:6379", "unix:/run/cache.sock"]
mode = "0660"
target = "mi-0123456789abcdef0"
remote = 6379
region = "eu-north-1"
profile = "cache"
role_arn = "arn:aws:iam::111122223333:role/cache"
document = "Our-PortForwarding"
warm = 2
warm_max_age = "5m"
keep_alive = true
connect_timeout = "1m30s"
resume_timeout = "0s"
half_close_timeout = "500s"
upload_rate = 0
upload_payload = 32_768
upload_window = "1MiB"
max_connections = 0x10
allow_remote_clients = true

[[forward]]
name = "shared"
enabled = false
listen = 1
target = "i-01234567"
remote = 1
sessions = "shared"
max_streams = 8
max_session_age = "1h"
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
fn what_is_not_written_has_its_default() {
    let config = good(MINIMAL);

    assert_eq!((&config.aws, &config.http), (&Aws::default(), &None));
    assert_eq!(config.limits.max_connections, 1024);
    assert_eq!(config.limits.session_start_rate, 5);
    let [forward] = config.forwards.as_slice() else {
        panic!("one forward");
    };
    assert_eq!(forward.name, "db");
    assert_eq!(forward.listen, [Listen::Localhost(5432)]);
    assert_eq!(forward.target.to_string(), "i-0123456789abcdef0");
    assert_eq!(forward.remote.to_string(), "db.internal:5432");
    assert_eq!(
        forward.document(),
        "AWS-StartPortForwardingSessionToRemoteHost"
    );
    let sessions = Sessions::PerConnection {
        warm: 0,
        warm_max_age: Duration::from_secs(600),
    };
    assert_eq!(forward.sessions, sessions);
    assert_eq!(forward.connect_timeout, Duration::from_secs(30));
    assert_eq!(forward.mode, 0o600);
    assert_eq!(forward.resume_timeout, Duration::from_secs(300));
    assert_eq!(forward.half_close_timeout, Duration::from_secs(30));
    assert_eq!(forward.upload, Upload::default());
    assert_eq!(forward.max_connections, 64);
    assert!(!forward.keep_alive && !forward.allow_remote_clients);
    assert_eq!(forward.line, 4);
}

#[test]
fn what_is_written_is_meant() {
    let config = good(FULL);

    assert_eq!(config.aws.region.as_deref(), Some("eu-west-1"));
    assert_eq!(config.aws.profile.as_deref(), Some("prod"));
    assert_eq!(
        config.aws.role_arn.as_deref(),
        Some("arn:aws:iam::111122223333:role/tunnel")
    );
    assert_eq!(
        config.aws.ssm_endpoint.as_deref(),
        Some("http://127.0.0.1:4566")
    );
    assert_eq!(
        config.aws.ca_bundle.as_deref(),
        Some("/etc/ssl/company.pem".as_ref())
    );
    assert_eq!(
        config.aws.client_version,
        Some(ClientVersion([1, 2, 835, 0]))
    );
    assert_eq!(config.limits.max_connections, 5000);
    assert_eq!(config.limits.session_start_rate, 3);
    let forward = &config.forwards[0];
    let everywhere = Listen::Tcp("0.0.0.0:6379".parse().unwrap());
    let socket = Listen::Unix("/run/cache.sock".into());
    assert_eq!(forward.listen, [Listen::Localhost(0), everywhere, socket]);
    assert_eq!(forward.mode, 0o660);
    assert_eq!(forward.resume_timeout, Duration::ZERO);
    assert_eq!(forward.target.to_string(), "mi-0123456789abcdef0");
    assert_eq!(forward.remote, Remote::Port(6379));
    assert_eq!(forward.document(), "Our-PortForwarding");
    assert_eq!(forward.connect_timeout, Duration::from_secs(90));
    assert_eq!(forward.half_close_timeout, Duration::from_secs(500));
    let upload = Upload {
        rate: 0,
        payload: 32_768,
        window: 1 << 20,
    };
    assert_eq!(forward.upload, upload);
    assert_eq!(forward.max_connections, 16);
    let http = config.http.as_ref().unwrap();
    assert_eq!(http.listen, [Listen::Localhost(9187)]);
    assert_eq!(http.hosts, ["metrics.example.org"]);
    assert!(forward.allow_remote_clients && http.allow_remote_clients);
    assert_eq!(
        config.admin.socket.as_deref(),
        Some("/run/user/1000/admin.sock".as_ref())
    );
    assert_eq!(
        config.aws.ssmmessages_endpoint.as_deref(),
        Some("wss://gateway.corp:8443")
    );
    let proxy = config.aws.proxy.as_ref().unwrap();
    assert_eq!(proxy.expose(), "http://me:s%40cret@proxy.corp:3128");
    assert_eq!(proxy.exempt, "");
    assert_eq!(forward.line, 33);
    let account = Account {
        region: Some("eu-north-1".to_owned()),
        profile: Some("cache".to_owned()),
        role_arn: Some("arn:aws:iam::111122223333:role/cache".to_owned()),
    };
    assert_eq!(forward.account, account);
    assert!(config.forwards[1].account.is_shared());
    let sessions = Sessions::PerConnection {
        warm: 2,
        warm_max_age: Duration::from_secs(300),
    };
    assert_eq!(forward.sessions, sessions);
    assert!(forward.keep_alive && forward.enabled && !config.forwards[1].enabled);
    let shared = Sessions::Shared {
        max_streams: 8,
        max_age: Some(Duration::from_secs(3600)),
    };
    assert_eq!(config.forwards[1].sessions, shared);
    assert_eq!(config.shutdown.drain_timeout, Duration::from_secs(120));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.level, LogLevel::Trace);
}

#[test]
fn a_shared_session_has_no_age_if_nobody_says_so() {
    let config = good(&format!("{MINIMAL}\nsessions = \"shared\"\n"));

    let shared = Sessions::Shared {
        max_streams: 64,
        max_age: None,
    };
    assert_eq!(config.forwards[0].sessions, shared);
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
fn every_setting_of_this_version_is_in_the_full_text() {
    let settings = SECTIONS.iter().flat_map(|section| section.settings);

    for setting in settings {
        assert!(
            FULL.contains(&format!("\n{} = ", setting.key)),
            "{}",
            setting.key
        );
    }
}

#[test]
fn every_default_makes_sense() {
    for setting in SECTIONS.iter().flat_map(|section| section.settings) {
        let has_default = !matches!(setting.absent, Absent::Problem | Absent::Nothing);

        assert_eq!(default(setting).is_some(), has_default, "{}", setting.key);
    }
}

#[test]
fn every_example_makes_sense() {
    for section in SECTIONS {
        for setting in section.settings {
            let start = format!("{} = ", setting.key);
            let others = MINIMAL.lines().filter(|line| !line.starts_with(&start));
            let others = others.collect::<Vec<_>>().join("\n");
            let line = format!("{start}{}\n", setting.example);
            let others = match setting.key {
                "mode" => others.replace("listen = 5432", "listen = \"unix:/run/db.sock\""),
                "max_streams" | "max_session_age" => format!("{others}\nsessions = \"shared\""),
                _ => others,
            };
            let beside = match setting.key {
                "allow_remote_clients" | "hosts" if section.name == HTTP.name => "listen = 1\n",
                _ => "",
            };

            match section.shape {
                Shape::One => good(&format!("{}\n{beside}{line}{MINIMAL}", section.header())),
                Shape::Many => good(&format!("{others}\n{line}")),
            };
        }
    }
}

#[test]
fn a_line_is_that_of_the_address_to_listen_on() {
    let text = format!(
        "# one\r\n[aws]\r\n{MINIMAL}\n[[forward]]\nname = \"b\"\nlisten = 1\n\
                        target = \"i-01234567\"\nremote = 1\n"
    );

    let lines: Vec<_> = good(&text)
        .forwards
        .iter()
        .map(|forward| forward.line)
        .collect();

    assert_eq!(lines, [6, 12]);
}

#[test]
fn forwards_may_stand_in_an_inline_array() {
    let config = good(
        "forward = [\n  { name = \"a\", listen = 1, target = \"i-01234567\", remote = 1 },\n  \
         { name = \"b\", listen = 2, target = \"i-01234567\", remote = 2 },\n]",
    );

    let lines: Vec<_> = config.forwards.iter().map(|forward| forward.line).collect();
    assert_eq!(lines, [2, 3]);
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
fn nonsense_of_any_length_is_told_in_bounded_words() {
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

fn lies_in(problem: &crate::config::diagnostic::Problem, text: &str) -> bool {
    let line = text.split('\n').nth(problem.place.line - 1);
    line.is_some_and(|line| problem.place.column <= line.chars().count() + 1)
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_has_problems_that_lie_in_it(
        text in prop_oneof![any::<String>(), "[ -~\n\t]{0,200}", pieces()]
    ) {
        match parse(&text) {
            Ok(config) => prop_assert!(!config.forwards.is_empty()),
            Err(problems) => {
                prop_assert!(problems.list.iter().all(|problem| lies_in(problem, &text)));
                prop_assert!(problems.to_string().starts_with("error: "));
                prop_assert!(!problems.to_string().chars().any(|c| c.is_control() && c != '\n'));
            }
        }
    }
}
