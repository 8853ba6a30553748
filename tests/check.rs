//! `check`: prints what a configuration will do, without network access.

use std::os::unix::ffi::OsStrExt;

use serde_json::Value;
use ssm_proxyd::printable::is_printable;
use ssm_proxyd::sim::{Options, Simulator};

use crate::cli::ended;
use crate::support::daemon_process::File;
use crate::support::process::ssm_proxyd;

const GOOD: &str = r#"
[aws]
region = "eu-west-1"

[http]
listen = 9187

[defaults]
connect_timeout = "90s"

[[forward]]
name = "orders"
listen = [5432, "unix:/run/orders.sock"]
target = "i-0123456789abcdef0"
remote = "orders.internal:5432"
warm = 2

[[forward]]
name = "metrics"
listen = "127.0.0.1:9100"
target = ["mi-0123456789abcdef0", { tags = { Name = "bastion", Env = "prod" } }, "ecs:prod/web/app"]
remote = 9100
sessions = "shared"
region = "eu-north-1"
role_arn = "arn:aws:iam::111122223333:role/tunnel"
"#;

#[test]
fn check_prints_what_each_forward_will_do() {
    let file = File::new(GOOD);

    let (code, out, err) = checked(&file, &[]);

    assert_eq!((code, err.as_str()), (0, ""));
    for text in [
        "is valid: 2 forwards",
        "\n[aws]\n  region                eu-west-1\n\n[limits]\n",
        "\n[http]\n  listen                localhost:9187\n  allow_remote_clients  false\n",
        "\n[[forward]]\n  name                  orders\n  enabled               true\n",
        "  listen                localhost:5432, unix:/run/orders.sock\n",
        "  mode                  0600\n",
        "  document              AWS-StartPortForwardingSessionToRemoteHost\n",
        "  warm                  2\n  warm_max_age          10m\n",
        "  connect_timeout       1m30s\n  resume_timeout        5m\n",
        "  upload_window         256KiB\n",
        "  remote                localhost:9100\n",
        "  sessions              shared\n  max_streams           64\n",
        "  target                mi-0123456789abcdef0, { tags = { Env = prod, Name = bastion } }, { ecs = { cluster = prod, container = app, service = web } }\n",
        "  region                eu-north-1\n",
        "  role_arn              arn:aws:iam::111122223333:role/tunnel\n",
    ] {
        assert!(out.contains(text), "{text:?} is not in:\n{out}");
    }
}

#[test]
fn check_prints_targets_as_they_are_understood() {
    let forward = |name: &str, target: &str| {
        format!("[[forward]]\nname = \"{name}\"\nlisten = 0\nremote = 1\ntarget = {target}\n")
    };
    let file = File::new(
        &[
            "[aws]\nregion = \"us-east-1\"\n".to_owned(),
            forward("a", "\"i-01234567.eu-west-1\""),
            forward("b", "\"bastion\""),
            forward("c", "\"tag:aws:autoscaling:groupName=web\""),
            forward("d", "[\"i-01234567.eu-west-1\", \"bastion\"]"),
        ]
        .concat(),
    );

    let (code, out, err) = checked(&file, &["--json"]);

    assert_eq!((code, err.as_str()), (0, ""));
    let output: Value = serde_json::from_str(&out).unwrap();
    let shown = |index: usize| {
        let forward = &output["forwards"][index];
        (forward["target"].clone(), forward["region"].clone())
    };
    let named = serde_json::json!({ "tags": { "Name": "bastion" } });
    let group = serde_json::json!({ "tags": { "aws:autoscaling:groupName": "web" } });
    let id = Value::from("i-01234567.eu-west-1");
    assert_eq!(shown(0), (id.clone(), "eu-west-1".into()));
    assert_eq!(shown(1), (named.clone(), "us-east-1".into()));
    assert_eq!(shown(2), (group, "us-east-1".into()));
    assert_eq!(shown(3), (vec![id, named].into(), "us-east-1".into()));
}

#[test]
fn check_prints_the_same_as_json_with_the_keys_of_the_file() {
    let file = File::new(GOOD);

    let (code, out, _) = checked(&file, &["--json"]);

    let output: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 0);
    assert_eq!(output["aws"]["region"], "eu-west-1");
    let http = serde_json::json!({ "listen": ["localhost:9187"], "allow_remote_clients": false, "hosts": [] });
    assert_eq!(output["http"], http);
    assert_eq!(output["shutdown"]["drain_timeout"], "8s");
    let [orders, metrics] = &output["forwards"].as_array().unwrap()[..] else {
        panic!("{output}")
    };
    assert_eq!(orders["connect_timeout"], "1m30s");
    assert_eq!(orders["warm"], 2);
    assert_eq!(orders["listen"][1], "unix:/run/orders.sock");
    assert_eq!(metrics["sessions"], "shared");
    assert!(metrics["warm"].is_null());
    assert_eq!(orders["target"], "i-0123456789abcdef0");
    assert_eq!(metrics["target"][0], "mi-0123456789abcdef0");
    assert_eq!(metrics["target"][1]["tags"]["Env"], "prod");
    assert_eq!(metrics["target"][2]["ecs"]["service"], "web");
    assert_eq!(orders["region"], "eu-west-1");
    assert_eq!(metrics["region"], "eu-north-1");
    assert!(orders["role_arn"].is_null());
}

#[test]
fn check_prints_the_document_and_its_parameters_where_there_is_no_destination() {
    let forward = "[[forward]]\nlisten = 0\ntarget = \"i-01234567\"\ndocument = \"Ours\"\n";
    let forward = |name: &str, more: &str| format!("{forward}name = \"{name}\"\n{more}\n");
    let some = forward("some", "parameters = { b = [\"1\", \"2\"], a = \"x\" }");
    let file = File::new(&(some + &forward("none", "") + &forward("remote", "remote = 1")));

    let (code, out, err) = checked(&file, &[]);
    let (_, json, _) = checked(&file, &["--json"]);

    assert_eq!((code, err.as_str()), (0, ""));
    let line = "  document              Ours\n";
    assert!(out.contains(&format!(
        "{line}  parameters            {{ a = x, b = 1, 2 }}\n"
    )));
    assert_eq!(out.matches(line).count(), 3, "{out}");
    assert_eq!(out.matches("  parameters ").count(), 1, "{out}");
    assert_eq!(out.matches("  remote  ").count(), 1, "{out}");
    let json: Value = serde_json::from_str(&json).unwrap();
    let of = |key: &str| [0, 1, 2].map(|index| json["forwards"][index][key].clone());
    let parameters = [
        serde_json::json!({ "a": ["x"], "b": ["1", "2"] }),
        serde_json::json!({}),
        Value::Null,
    ];
    assert_eq!(of("parameters"), parameters);
    assert_eq!(
        of("remote"),
        [Value::Null, Value::Null, "localhost:1".into()]
    );
}

#[test]
fn problems_are_reported_as_by_run() {
    let file = File::new("[[forward]]\nname = \"f\"\nlisten = 1\n");

    let (code, out, err) = checked(&file, &[]);

    assert_eq!((code, out.as_str()), (78, ""));
    assert!(err.contains("`target`, `remote` are missing"), "{err}");
}

#[test]
fn certificate_problems_are_reported_as_by_run() {
    let file = File::new(&with_bundle("/nowhere/company.pem"));
    let run = ended(ssm_proxyd().args(["run", "--config"]).arg(file.path()));

    let (code, out, err) = checked(&file, &[]);

    assert_eq!((code, out.as_str()), (78, ""));
    assert!(
        err.contains("cannot read the certificates in /nowhere/company.pem"),
        "{err}"
    );
    assert!(
        err.contains(&format!(
            "`ca_bundle` in [aws] of {}",
            file.path().display()
        )),
        "{err}"
    );
    assert!(run.2.ends_with(&err), "{}", run.2);
    assert_eq!(checked(&file, &["--json"]).0, 78);
}

#[test]
fn the_variable_that_names_bad_certificates_is_reported() {
    let file = File::new(GOOD);
    let mut command = ssm_proxyd();
    command.env("AWS_CA_BUNDLE", "/nowhere/other.pem");

    let (code, _, err) = ended(command.args(["check", "--config"]).arg(file.path()));

    assert_eq!(code, 78, "{err}");
    assert!(err.contains("/nowhere/other.pem"), "{err}");
    assert!(
        err.contains("hint: check AWS_CA_BUNDLE in the environment"),
        "{err}"
    );
    assert!(!err.contains(&file.path().display().to_string()), "{err}");
}

#[tokio::test]
async fn usable_certificates_are_shown() {
    let options = Options {
        tls: true,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let bundle = File::new(simulator.certificate_pem().unwrap());
    let file = File::new(&with_bundle(&bundle.path().display().to_string()));

    let (code, out, err) = checked(&file, &[]);

    assert_eq!((code, err.as_str()), (0, ""));
    let row = format!("  ca_bundle             {}\n", bundle.path().display());
    assert!(out.contains(&row), "{out}");
}

#[test]
fn paths_are_printed_without_control_characters() {
    let directory = tempfile::tempdir().unwrap();
    let name = "a\u{202e}b\u{1b}[2J.toml";
    let (file, bundle) = (
        directory.path().join(name),
        directory.path().join("c\u{9b}.pem"),
    );
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&bundle, authority.cert.pem()).unwrap();
    let bundle = bundle.to_str().unwrap();
    std::fs::write(&file, with_bundle(&bundle.replace('\u{9b}', "\\u009b"))).unwrap();
    let check = |options: &[&str]| {
        let mut command = ssm_proxyd();
        ended(command.args(["check", "--config"]).arg(&file).args(options))
    };

    let (code, out, err) = check(&[]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_printable(&out);
    assert!(out.contains("a\\u{202e}b\\u{1b}[2J.toml is valid"), "{out}");

    let (code, out, _) = check(&["--json"]);
    assert_eq!(code, 0);
    assert_printable(&out);
    let output: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(output["config"], file.to_str().unwrap());
    assert_eq!(output["aws"]["ca_bundle"], bundle);
}

#[test]
fn a_path_that_is_not_utf_8_does_not_panic() {
    let directory = tempfile::tempdir().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"\xff.toml");
    let file = directory.path().join(name);
    std::fs::write(&file, GOOD).unwrap();

    for options in [&[][..], &["--json"]] {
        let mut command = ssm_proxyd();
        let (code, out, err) = ended(command.args(["check", "--config"]).arg(&file).args(options));

        assert_eq!((code, err.as_str()), (0, ""), "{options:?}");
        assert!(out.contains("\u{fffd}.toml"), "{out}");
    }
}

fn assert_printable(text: &str) {
    let mut lines = text.lines();
    assert!(lines.all(|line| line.chars().all(is_printable)), "{text:?}");
}

fn with_bundle(path: &str) -> String {
    GOOD.replace("[aws]", &format!("[aws]\nca_bundle = \"{path}\""))
}

/// Exit code, stdout and stderr.
fn checked(file: &File, options: &[&str]) -> (i32, String, String) {
    let mut command = ssm_proxyd();
    ended(
        command
            .args(["check", "--config"])
            .arg(file.path())
            .args(options),
    )
}
