//! `targets`: tables, filters, JSON, errors.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use ssm_proxyd::sim::{ApiFault, EcsService, Operation, Options, Simulator};

use crate::support::daemon_process::{File, caller};
use crate::support::fake_api::Api;
use crate::support::process::{Process, ssm_proxyd};

/// Three nodes, of which one is offline.
async fn three() -> Simulator {
    let node = |id: &str, name: &str, env: &str| {
        let tags = [("Name", name), ("Env", env)];
        let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned()));
        (id.to_owned(), BTreeMap::from(tags))
    };
    let nodes = [
        node("i-0000000000000000a", "bastion", "prod"),
        node("i-0000000000000000b", "database", "prod"),
        node("mi-0000000000000000c", "office", "test"),
    ];
    let options = Options {
        nodes: nodes.into(),
        offline: ["i-0000000000000000b".to_owned()].into(),
        ..Options::default()
    };
    Simulator::start(options).await.unwrap()
}

/// Runs `targets`; returns exit code, stdout and stderr.
fn targets(simulator: &Simulator, arguments: &[&str]) -> (i32, String, String) {
    let endpoint = simulator.endpoint();
    let file = File::new(&format!(
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{endpoint}\"\necs_endpoint = \"{endpoint}\"\n"
    ));
    let mut command = caller(simulator);
    command.arg("targets").arg("--config").arg(file.path());
    let mut process = Process::start(command.args(arguments));
    let code = process.exit_code();
    (code, process.stdout.all(), process.stderr.all())
}

/// The ids in a table.
fn ids(table: &str) -> Vec<&str> {
    let lines = table.lines().skip(1);
    lines.map(|line| line.split(' ').next().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_a_table() {
    let simulator = three().await;

    let (code, table, stderr) = targets(&simulator, &[]);

    assert_eq!((code, stderr.as_str()), (0, ""));
    let lines: Vec<_> = table.lines().collect();
    let expected = [
        "ID                    NAME                            PLATFORM           AGENT      STATUS          LAST PING",
        "i-0000000000000000a   i-0000000000000000a.simulated   Amazon Linux 2023  3.3.987.0  Online          ",
        "i-0000000000000000b   i-0000000000000000b.simulated   Amazon Linux 2023  3.3.987.0  ConnectionLost  ",
        "mi-0000000000000000c  mi-0000000000000000c.simulated  Amazon Linux 2023  3.3.987.0  Online          ",
    ];
    assert_eq!(lines.len(), expected.len(), "{table}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{table}");
    }
    // How long ago depends on the clock.
    let pings: Vec<_> = lines[1..]
        .iter()
        .map(|line| line.split_at(expected[0].len() - 9).1)
        .collect();
    assert!(
        pings
            .iter()
            .all(|ping| ping.ends_with('s') || ping.ends_with('m')),
        "{table}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_select_targets() {
    let simulator = three().await;
    let [a, b, c] = [
        "i-0000000000000000a",
        "i-0000000000000000b",
        "mi-0000000000000000c",
    ];
    for (arguments, expected) in [
        (&["--online"][..], &[a, c][..]),
        (&["--tag", "Env=prod"], &[a, b]),
        (&["--tag", "Env=prod", "--tag", "Name=database"], &[b]),
        (&["i-*"], &[a, b]),
        (&["OFFICE"], &[]),
        (&["0C.SIMUL"], &[c]),
        (&["--platform", "amazon", "--online", "mi-"], &[c]),
        (&["--platform", "windows"], &[]),
    ] {
        let (code, table, stderr) = targets(&simulator, arguments);

        assert_eq!(code, 0, "{arguments:?}: {stderr}");
        assert_eq!(ids(&table), expected, "{arguments:?}");
        let is_noted = stderr.contains("none of 3 managed nodes in us-east-1 matches");
        assert_eq!(is_noted, expected.is_empty(), "{arguments:?}: {stderr}");
        assert_eq!(stderr.is_empty(), !is_noted, "{arguments:?}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_has_the_same_targets() {
    let simulator = three().await;

    let (code, stdout, _) = targets(&simulator, &["--json", "--tag", "Name=bastion"]);

    assert_eq!(code, 0);
    let mut json: Value = serde_json::from_str(&stdout).unwrap();
    let ping = json["targets"][0]["last_ping"].take();
    assert!(ping.as_i64().unwrap() > 1_700_000_000, "{ping}");
    let expected = json!({
        "region": "us-east-1",
        "complete": true,
        "targets": [{
            "id": "i-0000000000000000a",
            "name": "i-0000000000000000a.simulated",
            "platform": "Amazon Linux 2023",
            "agent_version": "3.3.987.0",
            "status": "Online",
            "online": true,
            "last_ping": null,
        }],
    });
    assert_eq!(json, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_a_cluster_are_listed() {
    let mut options = Options::default();
    let web = EcsService::new("prod", "web", &["app", "sidecar"]).with_tasks(2);
    options.ecs.services = vec![web];
    let simulator = Simulator::start(options).await.unwrap();

    let (code, table, stderr) = targets(&simulator, &["--ecs", "prod"]);

    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(ids(&table).len(), 4, "{table}");
    for id in ids(&table) {
        assert!(id.starts_with("ecs:prod_"), "{table}");
    }
    assert_eq!(table.matches("web/sidecar").count(), 2, "{table}");
    let (_, table, _) = targets(&simulator, &["--ecs", "prod", "web/app", "--online"]);
    assert_eq!(ids(&table).len(), 2, "{table}");
    let (code, _, stderr) = targets(&simulator, &["--ecs", "none"]);
    assert_eq!(code, 69, "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_call_is_reported_with_its_permission() {
    let simulator = three().await;
    for (operation, arguments, permission) in [
        (
            Operation::DescribeInstanceInformation,
            &[][..],
            "ssm:DescribeInstanceInformation",
        ),
        (Operation::ListTasks, &["--ecs", "prod"], "ecs:ListTasks"),
    ] {
        let fault = ApiFault {
            code: "AccessDeniedException".to_owned(),
            times: None,
        };
        simulator.fail(operation, fault);

        let (code, stdout, stderr) = targets(&simulator, arguments);

        assert_eq!((code, stdout.as_str()), (77, ""), "{stderr}");
        assert!(stderr.contains(permission), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_call_is_made_again() {
    let simulator = three().await;
    let fault = ApiFault {
        code: "ThrottlingException".to_owned(),
        times: Some(1),
    };
    simulator.fail(Operation::DescribeInstanceInformation, fault);

    let (code, table, stderr) = targets(&simulator, &[]);

    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(ids(&table).len(), 3, "{table}");
}

#[test]
fn a_bad_argument_is_a_usage_error() {
    for (arguments, text) in [
        (&["--tag", "Name"][..], "for example \"Name=bastion\""),
        (&["--ecs", "a b"], "\"a b\" is not a cluster of ECS"),
        (&["--ecs", "prod", "--tag", "a=b"], "cannot be used with"),
        (&["a", "b"], "unexpected argument 'b'"),
    ] {
        let mut command = ssm_proxyd();
        let mut process = Process::start(command.arg("targets").args(arguments));

        assert_eq!(process.exit_code(), 2, "{arguments:?}");
        assert!(
            process.stderr.all().contains(text),
            "{}",
            process.stderr.all()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_pages_is_bounded() {
    let nodes = (0..1001).map(|n| (format!("i-{n:017x}"), BTreeMap::new()));
    let options = Options {
        nodes: nodes.collect(),
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();

    let (code, table, stderr) = targets(&simulator, &[]);

    assert_eq!(code, 0);
    assert_eq!(ids(&table).len(), 1000);
    assert!(
        stderr.contains("only the first 1000 managed nodes"),
        "{stderr}"
    );
    let (_, json, _) = targets(&simulator, &["--json", "--online"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["complete"], false);
}

#[test]
fn texts_of_others_are_printable_and_cut() {
    let node = json!({
        "InstanceId": "i-0123456789abcdef0",
        "ComputerName": format!("\u{1b}[2J\n{}", "x".repeat(500)),
        "PingStatus": "Online",
    });
    let answer = json!({ "InstanceInformationList": [node] }).to_string();
    let api = Api::answering(200, answer);
    let mut command = ssm_proxyd();
    command.args(["targets", "--region", "us-east-1"]);
    command.env("AWS_ENDPOINT_URL_SSM", api.endpoint());
    command.env("SSM_PROXYD_CONFIG", "/dev/null");

    let mut process = Process::start(&mut command);

    assert_eq!(process.exit_code(), 0, "{}", process.stderr.all());
    let table = process.stdout.all();
    assert!(!table.contains('\u{1b}'), "{table:?}");
    assert_eq!(table.lines().count(), 2, "{table:?}");
    assert!(
        table.lines().all(|line| line.chars().count() < 160),
        "{table:?}"
    );
}
