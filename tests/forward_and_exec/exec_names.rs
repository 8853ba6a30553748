//! `exec` with several forwards of the configuration, and with the options that all commands
//! without a daemon have.

use ssm_proxyd::sim::{Options, ServerKind, Simulator};

use super::{Fixture, forward_in_file};
use crate::cli::ended;
use crate::support::daemon_process::{assert_clean, assert_names};
use crate::support::in_process::{TARGET, destination};

/// Asks each address for its first line.
const CLIENT: &str = "import os, socket, sys\n\
    def ask(port, text):\n\
    \x20   s = socket.create_connection(('127.0.0.1', int(port)), 60)\n\
    \x20   s.sendall(text.encode()); return s.recv(100).decode()\n\
    e = os.environ\n\
    print(ask(sys.argv[1], 'one'), ask(sys.argv[2], 'two'))\n\
    print(ask(e['SSM_PROXYD_PORT'], 'three'), ask(e['SSM_PROXYD_ORDERS_DB_PORT'], 'four'))\n\
    print(e['SSM_PROXYD_PORT'] == e['SSM_PROXYD_CACHE_V2_PORT'] == sys.argv[1] == sys.argv[3])\n\
    print(e['SSM_PROXYD_ORDERS_DB_HOST'], sys.argv[4])\n";

#[tokio::test(flavor = "multi_thread")]
async fn each_forward_has_placeholders_and_variables_in_the_order_of_the_names() {
    let (orders, cache) = (
        destination(ServerKind::Echo).await,
        destination(ServerKind::Echo).await,
    );
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let fixture = Fixture::new();
    let unused = forward_in_file("unused", 9).replace("listen = 1", "listen = 3");
    let (orders, cache) = (orders.address().port(), cache.address().port());
    fixture.configure(
        &(unused
            + &forward_in_file("orders-db", orders)
            + "enabled = false\n"
            + &forward_in_file("cache.v2", cache)),
    );

    let arguments = [
        "exec",
        "cache.v2",
        "orders-db",
        "--",
        "python3",
        "-c",
        CLIENT,
        "{cache.v2.port}",
        "{orders-db.port}",
        "{port}",
        "{orders-db.host}",
    ];
    let (code, out, output) = ended(&mut fixture.command(&simulator, &arguments));

    assert_eq!(code, 0, "{output}");
    assert_eq!(out, "one two\nthree four\nTrue\n127.0.0.1 127.0.0.1\n");
    assert_eq!(output, "");
    let sessions = simulator.ledger().sessions;
    let port = |session: usize| sessions[session].parameters["portNumber"][0].clone();
    assert_eq!(sessions.len(), 4);
    assert_eq!(port(0), cache.to_string(), "the first name is the first");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_make_no_sense_are_reported_with_a_suggestion() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let fixture = Fixture::new();
    let file = ["orders-db", "orders.db", "cache"].into_iter().enumerate();
    let file = file.map(|(index, name)| {
        forward_in_file(name, 1).replace("listen = 1", &format!("listen = {}", index + 1))
    });
    fixture.configure(&file.collect::<String>());
    for (arguments, words) in [
        (
            &["orders-db", "orders.db", "--", "true"][..],
            &[
                "\"orders-db\"",
                "\"orders.db\"",
                "SSM_PROXYD_ORDERS_DB_PORT",
                "rename",
            ][..],
        ),
        (
            &["cache", "cache", "--", "true"],
            &["\"cache\" was named twice"],
        ),
        (
            &["cache", "order-db", "--", "true"],
            &[
                "config.toml has no forward \"order-db\"",
                "did you mean \"orders-db\"?",
            ],
        ),
        (
            &["cache", TARGET, "--", "true"],
            &["no forward \"i-", "add -L"],
        ),
        (
            &["nothing", "--", "true"],
            &["its forwards: orders-db, orders.db, cache"],
        ),
        (
            &["cache", "--", "psql", "-p{orders-db.port}"],
            &[
                "\"orders-db\", which was not named",
                "`exec cache orders-db -- …`",
            ],
        ),
        (
            &["cache", TARGET, "-L", "0:db:1", "--", "true"],
            &["with -L, `exec` takes one TARGET"],
        ),
    ] {
        let arguments = [&["exec"], arguments].concat();

        let (code, _, output) = ended(&mut fixture.command(&simulator, &arguments));

        assert_eq!(code, 2, "{arguments:?}: {output}");
        assert_names(&output, words);
    }
    assert_eq!(simulator.ledger().started, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_named_on_the_command_line_is_used_and_must_exist() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let fixture = Fixture::new();
    fixture.configure("not TOML");
    let file = fixture.home.path().join("my other.toml");
    let defaults = "[defaults]\nreason = \"from the file\"\n";
    let forward = forward_in_file("echo", echo.address().port());
    std::fs::write(&file, format!("{defaults}{forward}")).unwrap();
    let file = file.display().to_string();
    let local = format!("0:localhost:{}", echo.address().port());
    let client = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n\
        s.sendall(b'x'); print(s.recv(1))";
    let client = ["--", "python3", "-c", client, "{port}"];
    for (head, reason) in [
        (
            &["exec", "--config", &file, "echo"][..],
            ", forward echo: from the file [",
        ),
        (
            &["exec", "--config", &file, "--reason", "INC-1", "echo"],
            ", forward echo: INC-1 [",
        ),
        (
            &["exec", "--config", &file, TARGET, "-L", &local],
            ": from the file [",
        ),
        (
            &[
                "exec",
                "--config",
                &file,
                "--reason=INC-2",
                TARGET,
                "-L",
                &local,
            ],
            ": INC-2 [",
        ),
    ] {
        let arguments = [head, &client].concat();

        let (code, out, output) = ended(&mut fixture.command(&simulator, &arguments));

        assert_eq!(
            (code, out.as_str()),
            (0, "b'x'\n"),
            "{arguments:?}: {output}"
        );
        let sent = simulator.ledger().sessions.pop().unwrap().reason;
        assert!(
            sent.starts_with("ssm-proxyd ") && sent.contains(reason),
            "{sent}"
        );
    }
    for arguments in [
        &["exec", "echo", "--config", "missing.toml", "--", "true"][..],
        &[
            "exec",
            TARGET,
            "-L",
            "0:a:1",
            "--config",
            "missing.toml",
            "--",
            "true",
        ],
        &["forward", TARGET, "-L", "0:a:1", "--config", "missing.toml"],
        &["connect", TARGET, "--config", "missing.toml"],
        &["ssh-config", "--config", "missing.toml"],
    ] {
        let (code, _, output) = ended(&mut fixture.command(&simulator, arguments));

        assert_eq!(code, 78, "{arguments:?}: {output}");
        assert_names(&output, &["missing.toml"]);
    }
    assert_clean(&simulator);
}

/// Flags win over the forward, the forward over the environment, the environment over `[aws]`.
#[tokio::test(flavor = "multi_thread")]
async fn flags_win_over_the_forward_and_that_over_environment_and_file() {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        region: "eu-north-1".to_owned(),
        require_signature: true,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let port = echo.address().port();
    let local = format!("0:localhost:{port}");
    let fixture = Fixture::new();
    let client = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n\
        s.sendall(b'x'); print(s.recv(1))";
    // The simulator serves one region.
    for (flag, of_forward, environment, file) in [
        (Some("eu-north-1"), "us-west-1", "us-west-2", "us-east-2"),
        (None, "eu-north-1", "us-west-2", "us-east-2"),
        (None, "", "eu-north-1", "us-east-2"),
        (None, "", "", "eu-north-1"),
    ] {
        let of_forward = match of_forward {
            "" => String::new(),
            region => format!("region = \"{region}\"\n"),
        };
        let forward = forward_in_file("echo", port) + &of_forward;
        fixture.configure(&format!("[aws]\nregion = \"{file}\"\n{forward}"));
        let names = [&["echo"][..], &[TARGET, "-L", &local]];
        // A region of the forward does not concern `-L`.
        let names = if of_forward.is_empty() {
            &names[..]
        } else {
            &names[..1]
        };
        for name in names {
            let flag = flag.map(|region| format!("--region={region}"));
            let arguments: Vec<&str> = ["exec"]
                .into_iter()
                .chain(flag.as_deref())
                .chain(name.iter().copied())
                .chain(["--", "python3", "-c", client, "{port}"])
                .collect();
            let mut command = fixture.command(&simulator, &arguments);
            command.env("AWS_REGION", environment);

            let (code, out, output) = ended(&mut command);

            assert_eq!(
                (code, out.as_str()),
                (0, "b'x'\n"),
                "{arguments:?}: {output}"
            );
        }
    }
    assert_clean(&simulator);
}
