//! Progress on a terminal, which is tmux, of commands that wait for the daemon.

use std::process::Command;

use super::Fixture;
use crate::support::daemon_process::{assert_echo, connect};
use crate::support::process::take_environment;
use crate::support::tmux::Tmux;

impl Fixture {
    /// The program tmux, with the environment of the commands.
    pub(super) fn tmux(&self) -> Command {
        let mut tmux = Command::new("tmux");
        take_environment(&mut tmux, &self.command(&[]));
        tmux
    }

    /// Runs a command of the program on a terminal.
    fn on_terminal(&self, arguments: &[&str], variables: &str) -> Tmux {
        let command = self.command(arguments);
        let words = [command.get_program()]
            .into_iter()
            .chain(command.get_args());
        let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
        Tmux::start(self.tmux(), &format!("env {variables} {}", words.join(" ")))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_shows_on_a_terminal_that_it_waits() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let mut client = connect(fixture.address);
    assert_echo(&mut client, b"hello");

    let screen = fixture.on_terminal(&["stop"], "A=b");
    screen.until("waiting for the daemon to stop (").await;
    drop(client);

    screen.until("0-ended").await;
    let text = screen.text();
    assert!(text.starts_with("stopped; all sessions are"), "{text}");
    assert!(!text.contains("waiting"), "{text}");
    assert_eq!(fixture.daemon().exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_shows_on_a_terminal_what_is_not_ready() {
    let fixture = Fixture::new("").await;

    let screen = fixture.on_terminal(&["wait", "--timeout", "90s"], "A=b");
    screen.until("waiting: no daemon is listening").await;
    screen.keys(&["C-c"]);

    // A dumb terminal does not interpret the sequences that remove the line.
    let screen = fixture.on_terminal(&["wait", "--timeout", "1500ms"], "TERM=dumb");
    screen.until("75-ended").await;
    let text = screen.text();
    assert!(text.starts_with("error: not ready within 1.5s: "), "{text}");
}
