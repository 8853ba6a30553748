//! `forward`: ready lines, traffic, shutdown and usage errors.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use serde_json::Value;
use ssm_proxyd::sim::{Options, ServerKind, Simulator};

use super::Fixture;
use crate::cli::ended;
use crate::support::daemon_process::{
    assert_clean, assert_echo, assert_names, assert_reset, connect,
};
use crate::support::in_process::{TARGET, destination, until};
use crate::support::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn each_forward_has_a_ready_line_with_its_port_and_serves() {
    let echo = destination(ServerKind::Echo).await;
    let mut options = Options::default();
    options
        .resolver
        .insert("echo.internal", None, echo.address())
        .unwrap();
    let simulator = Simulator::start(options).await.unwrap();
    let local = format!("127.0.0.1:0:localhost:{}", echo.address().port());
    let remote = "0:echo.internal:7";
    let fixture = Fixture::new();
    let arguments = ["forward", TARGET, "-L", &local, "-L", remote];
    let mut forward = Process::start(&mut fixture.command(&simulator, &arguments));

    let first = forward.stdout.wait_for(" -> localhost:");
    let second = forward.stdout.wait_for(" -> echo.internal:7");

    assert!(first.ends_with(&format!(" via {TARGET}")), "{first}");
    assert_echo(&mut connect(address(&first)), b"to the target");
    let both: Vec<&str> = second.split(" -> ").next().unwrap().split(", ").collect();
    for one in &both {
        assert_echo(&mut connect(one.parse().unwrap()), b"beyond it");
    }
    forward.signal("INT");
    assert_eq!(forward.exit_code(), 0);
    let output = forward.stderr.all();
    assert!(
        !output.contains("WARN") && !output.contains("error"),
        "{output}"
    );
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_get_json_and_a_file_that_exists_while_ready() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let local = format!("127.0.0.1:0:localhost:{}", echo.address().port());
    let fixture = Fixture::new();
    let file = fixture.home.path().join("ready");
    let arguments = [
        "forward",
        TARGET,
        "-L",
        &local,
        "--json",
        "--ready-file",
        file.to_str().unwrap(),
    ];
    let mut forward = Process::start(&mut fixture.command(&simulator, &arguments));
    let line = forward.stdout.wait_for("listen");

    let ready: Value = serde_json::from_str(&line).unwrap();
    let port = u16::try_from(ready["port"].as_u64().unwrap()).unwrap();
    assert_eq!(
        ready["listen"],
        serde_json::json!([format!("127.0.0.1:{port}")])
    );
    assert_eq!(ready["target"], TARGET);
    until("the file exists", || file.exists()).await;
    assert_eq!(text(&file).trim_end(), line);
    assert_echo(&mut connect(([127, 0, 0, 1], port).into()), b"hello");

    forward.signal("HUP");
    assert_eq!(forward.exit_code(), 0);
    assert!(!file.exists(), "the file must be removed");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_drains_and_a_second_one_does_not_wait() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let local = format!("127.0.0.1:0:localhost:{}", echo.address().port());
    let fixture = Fixture::new();
    let arguments = ["forward", TARGET, "-L", &local];
    let mut forward = Process::start(&mut fixture.command(&simulator, &arguments));
    let address = address(&forward.stdout.wait_for(" -> "));
    let mut client = connect(address);
    assert_echo(&mut client, b"hello");

    forward.signal("INT");
    until("new connections are refused", || {
        TcpStream::connect(address).is_err()
    })
    .await;
    assert_echo(&mut client, b"still here");
    forward.signal("INT");

    assert_reset(client);
    assert_eq!(forward.exit_code(), 0);
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_it_while_it_reads_a_pipe() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let fixture = Fixture::new();
    let pipe = fixture.home.path().join("config.toml");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let mut command = fixture.command(&simulator, &["forward", TARGET, "-L", "0:db:1"]);
    let mut forward = Process::start(command.env("SSM_PROXYD_CONFIG", &pipe));
    // Opening waits until the command has opened it too.
    let writer = std::fs::File::options().write(true).open(&pipe).unwrap();

    forward.signal("INT");

    assert_eq!(forward.exit_code(), 0, "{}", forward.stderr.all());
    drop(writer);
}

#[tokio::test(flavor = "multi_thread")]
async fn existing_files_that_were_not_written_are_not_removed() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let fixture = Fixture::new();
    let path = |name: &str| fixture.home.path().join(name);
    let (existing, fifo) = (path("precious"), path("fifo"));
    std::fs::write(&existing, "words").unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let run = |file: &Path, stdout: &str| {
        let mut command = fixture.command(&simulator, &["forward", TARGET, "-L", "0:db:1"]);
        command.arg("--ready-file").arg(file);
        let stdout = std::fs::File::options().write(true).open(stdout).unwrap();
        command.stdout(stdout).stderr(std::process::Stdio::null());
        command.status().unwrap().code()
    };

    assert_eq!(run(&existing, "/dev/full"), Some(1));
    assert_eq!(text(&existing), "words");
    assert_eq!(run(&fifo, "/dev/null"), Some(2));
    assert!(fifo.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_requests_are_reported_with_an_exit_code() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("127.0.0.1:{}:db:1", taken.local_addr().unwrap().port());
    let fixture = Fixture::new();
    for (arguments, code, text) in [
        (&["forward", TARGET][..], 2, &["no -L", "hint: "][..]),
        (
            &["forward", TARGET, "-L", "5432:db"],
            2,
            &["5432:db", "HOSTPORT"],
        ),
        (&["forward", TARGET, "-L", "0:db:0"], 2, &["0:db:0"]),
        (
            &["forward", "i-bastion", "-L", "0:db:1"],
            2,
            &["\"i-bastion\" is not a target", "tag:Name=i-bastion"],
        ),
        (
            &["forward", TARGET, "-L", "*:0:db:1"],
            2,
            &["other machines", "--allow-remote-clients"],
        ),
        (&["forward", TARGET, "-L", &taken], 71, &["already in use"]),
        (
            &["forward", TARGET, "-L", "1234:a:1", "-L", "1234:b:1"],
            2,
            &["another -L"],
        ),
        (
            &["forward", TARGET, "-L", "0:db:1", "--ready-file", "/"],
            2,
            &["is not a regular file"],
        ),
        (
            &[
                "forward",
                TARGET,
                "-L",
                "0:db:1",
                "--ready-file",
                "/nowhere/ready",
            ],
            1,
            &["cannot write /nowhere/ready"],
        ),
    ] {
        let (found, _, output) = ended(&mut fixture.command(&simulator, arguments));

        assert_eq!(found, code, "{arguments:?}: {output}");
        assert_names(&output, text);
    }
    assert_eq!(simulator.ledger().started, 0);
}

fn address(line: &str) -> SocketAddr {
    let (listen, _) = line.split_once(" -> ").unwrap();
    listen.parse().unwrap()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
