//! MFA codes: `connect`, `forward` and `exec` prompt for them on their terminal, which is tmux
//! here.

use std::process::Command;

use crate::aws::Fixture;
use crate::support::daemon_process::{assert_reset, connect};
use crate::support::in_process::{TARGET, until};
use crate::support::process::take_environment;
use crate::support::tmux::Tmux;

const QUESTION: &str = "MFA code for arn:aws:iam::111122223333:mfa/jane:";

#[tokio::test(flavor = "multi_thread")]
async fn connect_prompts_for_the_code_and_does_not_show_it() {
    let fixture = Fixture::new("mfa-serial");
    let screen = screen(&fixture, &connect_line());

    answer(&screen).await;

    screen.until("69-ended").await;
    assert_prompted_once(&fixture, &screen, &["Admin"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_token_service_does_not_waste_the_code() {
    let fixture = Fixture::new("mfa-sts-fails-once");
    let screen = screen(&fixture, &connect_line());

    answer(&screen).await;

    screen.until("69-ended").await;
    assert_eq!(fixture.sts.calls("AssumeRole").len(), 2);
    assert_eq!(fixture.calls.lock().unwrap()[0].0, "ASIAAdmin");
}

#[tokio::test(flavor = "multi_thread")]
async fn forward_prompts_for_the_code_of_its_first_connection() {
    let fixture = Fixture::new("mfa-serial");
    let screen = screen(
        &fixture,
        &format!("forward {TARGET} -L 127.0.0.1:0:localhost:80"),
    );
    screen.until("0 connections, 0 B sent").await;
    let text = screen.text();
    let (listen, _) = text.trim_start().split_once(" -> ").unwrap();
    let address = listen.parse().unwrap();

    let first = connect(address);
    screen.until(QUESTION).await;
    // Other events change the count of connections, but not the line of the prompt.
    let second = connect(address);
    answer(&screen).await;

    assert_reset(first);
    assert_reset(second);
    let text = screen.text();
    assert!(
        text.lines().any(|line| line.trim_end() == QUESTION),
        "{text}"
    );
    screen.keys(&["C-c"]);
    screen.until("0-ended").await;
    assert_prompted_once(&fixture, &screen, &["Admin"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_prompts_for_the_code_of_its_first_connection() {
    let fixture = Fixture::new("mfa-serial");
    let client = "import socket, sys\n\
        s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)\n\
        try: s.recv(1)\n\
        except ConnectionResetError: sys.exit(9)\n";
    let script = fixture.path().join("client.py");
    std::fs::write(&script, client).unwrap();
    let command = format!("python3 {} {{host}} {{port}}", script.display());
    let screen = screen(
        &fixture,
        &format!("exec {TARGET} -L 0:localhost:80 -- {command}"),
    );

    answer(&screen).await;

    screen.until("9-ended").await;
    assert_prompted_once(&fixture, &screen, &["Admin"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_exit_restores_the_terminal() {
    for (how, keys, code) in [
        ("no code", &["x", "Enter"][..], "77-ended"),
        ("Ctrl-C", &["C-c"], "130-ended"),
        // SIGQUIT and SIGTSTP must not end or stop it while the terminal echo is off.
        ("other keys", &["C-\\", "C-z", "Enter"], "77-ended"),
        ("end of input", &["C-d"], "77-ended"),
    ] {
        let fixture = Fixture::new("mfa-serial");
        let screen = screen(&fixture, &connect_line());
        screen.until(QUESTION).await;
        until("the code is not shown", || !shows_input(&screen)).await;

        screen.keys(keys);

        screen.until(code).await;
        assert!(shows_input(&screen), "{how}");
        let unused = Tmux::start(Command::new("tmux"), "true");
        // tmux itself configures the terminal until its first command runs.
        unused.until("0-ended").await;
        assert_eq!(settings(&screen), settings(&unused));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_restores_the_terminal() {
    for (signal, code) in [("TERM", "143-ended"), ("HUP", "129-ended")] {
        let fixture = Fixture::new("mfa-serial");
        let id = fixture.path().join("id");
        let line = connect_line();
        let screen = screen_after(&fixture, &format!("echo $$ > {}", id.display()), &line);
        screen.until(QUESTION).await;

        let id = std::fs::read_to_string(&id).unwrap();
        let mut kill = Command::new("kill");
        assert!(
            kill.args(["-s", signal, id.trim()])
                .status()
                .unwrap()
                .success()
        );

        screen.until(code).await;
        assert!(shows_input(&screen), "{signal}");
    }
}

/// The prompt lasts longer than the connection waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_times_out_restores_the_terminal() {
    let fixture = Fixture::new("mfa-serial");
    let file = fixture.path().join("file.toml");
    std::fs::write(&file, "[defaults]\nconnect_timeout = \"1s\"\n").unwrap();
    let line = connect_line();
    let set = format!("export SSM_PROXYD_CONFIG={}", file.display());
    let screen = screen_after(&fixture, &set, &line);

    screen.until("-ended").await;

    assert!(screen.text().contains(QUESTION), "{}", screen.text());
    assert!(shows_input(&screen));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_of_a_source_role_is_prompted_for() {
    for (name, roles) in [
        ("mfa-of-a-source", &["Hub", "Prod"][..]),
        ("mfa-of-a-source-on-a-machine", &["Hub", "Prod"]),
        ("mfa-of-its-own-process", &["Admin"]),
    ] {
        let fixture = Fixture::new(name);
        let screen = screen(&fixture, &connect_line());

        answer(&screen).await;

        screen.until("69-ended").await;
        assert_prompted_once(&fixture, &screen, roles);
    }
}

/// A terminal in which the program runs with these arguments.
fn screen(fixture: &Fixture, arguments: &str) -> Tmux {
    screen_after(fixture, ":", arguments)
}

/// The same, in a shell that runs `before` first.
fn screen_after(fixture: &Fixture, before: &str, arguments: &str) -> Tmux {
    let command = fixture.command();
    let mut tmux = Command::new("tmux");
    take_environment(&mut tmux, &command);
    let program = command.get_program().to_str().unwrap();
    Tmux::start(
        tmux,
        &format!("sh -c '{before}; exec {program} {arguments}'"),
    )
}

/// Arguments of a `connect` whose stdin and stdout are a connection and not the terminal.
fn connect_line() -> String {
    format!("connect {TARGET} < /dev/null > /dev/null")
}

async fn answer(screen: &Tmux) {
    screen.until(QUESTION).await;
    screen.keys(&["987654", "Enter"]);
}

/// The code was sent to STS for the first of these roles, and was never shown on the terminal.
fn assert_prompted_once(fixture: &Fixture, screen: &Tmux, roles: &[&str]) {
    let calls = fixture.sts.calls("AssumeRole");
    assert_eq!(calls.len(), roles.len(), "{calls:?}");
    for (call, role) in calls.iter().zip(roles) {
        assert!(call.body.contains(role), "{calls:?}");
    }
    for text in ["TokenCode=987654", "SerialNumber=arn"] {
        assert!(calls[0].body.contains(text), "{calls:?}");
    }
    let calls = fixture.calls.lock().unwrap().clone();
    assert_eq!(calls[0].0, format!("ASIA{}", roles[roles.len() - 1]));
    let text = screen.text();
    assert_eq!(text.matches(QUESTION).count(), 1, "{text}");
    assert!(!text.contains("987654"), "{text}");
    assert!(shows_input(screen));
}

/// True if the terminal echoes input.
fn shows_input(screen: &Tmux) -> bool {
    settings(screen)
        .split_whitespace()
        .any(|word| word == "echo")
}

/// The settings of the terminal, as `stty` prints them.
fn settings(screen: &Tmux) -> String {
    let stty = Command::new("stty")
        .args(["-a", "-F", &screen.device()])
        .output()
        .unwrap();
    assert!(stty.status.success(), "{stty:?}");
    String::from_utf8(stty.stdout).unwrap()
}
