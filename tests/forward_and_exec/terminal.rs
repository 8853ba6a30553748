//! The output of `forward` on a terminal, which is tmux.

use std::process::Command;

use ssm_proxyd::sim::{Options, ServerKind, Simulator};

use super::Fixture;
use crate::support::daemon_process::{assert_clean, assert_echo, connect};
use crate::support::in_process::{TARGET, destination};
use crate::support::process::take_environment;
use crate::support::tmux::Tmux;

#[tokio::test(flavor = "multi_thread")]
async fn forward_on_a_terminal_prints_a_ready_line_and_a_status_line_and_ends_with_ctrl_c() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let local = format!("127.0.0.1:0:localhost:{}", echo.address().port());
    let fixture = Fixture::new();
    let command = fixture.command(&simulator, &[]);
    let mut tmux = Command::new("tmux");
    take_environment(&mut tmux, &command);
    let program = command.get_program().to_str().unwrap();
    let screen = Tmux::start(tmux, &format!("{program} forward {TARGET} -L {local}"));

    screen.until(" -> localhost:").await;
    screen.until("0 connections, 0 B sent, 0 B received").await;
    let text = screen.text();
    let (listen, _) = text.trim_start().split_once(" -> ").unwrap();
    let mut client = connect(listen.parse().unwrap());
    assert_echo(&mut client, &[b'x'; 2048]);
    screen
        .until("1 connection, 2.0 KiB sent, 2.0 KiB received")
        .await;
    drop(client);
    screen.until("0 connections, 2.0 KiB sent").await;
    screen.keys(&["C-c"]);

    screen.until("0-ended").await;
    assert!(
        !screen.text().contains("connections"),
        "the status line must be removed"
    );
    assert_clean(&simulator);
}
