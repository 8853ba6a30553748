//! `top` in a terminal, which is tmux.

use std::fs;
use std::process::Command;

use super::Fixture;
use crate::cli::ended;
use crate::support::daemon_process::{assert_echo, assert_names, assert_reset, connect};
use crate::support::in_process::until;
use crate::support::process::ssm_proxyd;
use crate::support::tmux::Tmux;

impl Fixture {
    /// Runs `top`, between two looks at the settings of the terminal, with these variables.
    fn top(&self, variables: &str, arguments: &str, size: (u16, u16)) -> Tmux {
        let script = format!(
            "cd {:?}; stty -g > before; {}; code=$?; stty -g > after; exit $code",
            self.directory.path(),
            self.top_line(variables, arguments)
        );
        let file = self.directory.path().join("script");
        fs::write(&file, script).unwrap();
        Tmux::sized(self.tmux(), &format!("sh {}", file.display()), size)
    }

    /// A shell command that runs `top` and keeps its process id in the file `pid`.
    fn top_line(&self, variables: &str, arguments: &str) -> String {
        let command = self.command(&[]);
        let program = command.get_program().to_str().unwrap();
        let file = self.file();
        format!(
            "env LC_ALL= LC_CTYPE= LANG=C {variables} sh -c 'echo $$ > pid; exec {program} top {arguments} --config {}'",
            file.display()
        )
    }

    /// Sends a signal to `top`.
    fn signal_top(&self, name: &str) {
        let pid = fs::read_to_string(self.directory.path().join("pid")).unwrap();
        let kill = Command::new("kill")
            .args([&format!("-{name}"), pid.trim()])
            .status();
        assert!(kill.unwrap().success());
    }

    /// Waits for the exit code, and asserts that the terminal is as before.
    async fn top_ends(&self, screen: &Tmux, code: u8) {
        screen.until(&format!("{code}-ended")).await;
        let read = |name: &str| fs::read_to_string(self.directory.path().join(name)).unwrap();
        assert_eq!(read("before"), read("after"), "settings of the terminal");
        assert!(screen.is_restored(), "{}", screen.text());
        assert!(!screen.text().contains("FORWARD"), "{}", screen.text());
    }
}

const USUAL: (u16, u16) = (80, 24);

#[tokio::test(flavor = "multi_thread")]
async fn top_fits_into_each_size() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let mut client = connect(fixture.address);
    assert_echo(&mut client, b"hello");

    for (size, texts) in [
        (
            USUAL,
            &["1 open", "RECEIVED", "EVENTS", "s sort: configuration"][..],
        ),
        ((200, 60), &["DESTINATION", "localhost:", "EVENTS"]),
        ((30, 6), &["FORWARD", "> f", "q quit"]),
    ] {
        let screen = fixture.top("", "", size);
        for text in texts {
            screen.until(text).await;
        }
        let text = screen.text();
        let (width, height) = (usize::from(size.0), usize::from(size.1));
        assert!(text.lines().count() <= height, "{text}");
        assert!(text.lines().all(|line| line.len() <= width), "{text}");
        screen.keys(&["q"]);
        fixture.top_ends(&screen, 0).await;
    }
    drop(client);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn top_follows_the_size_of_the_terminal() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let screen = fixture.top("", "", USUAL);
    screen.until("> f").await;

    screen.resize((160, 50));
    screen.until("DESTINATION").await;
    screen.resize((1, 1));
    screen.resize((2, 40));
    screen.resize((40, 2));
    screen.until("1 forward").await;
    screen.resize(USUAL);
    screen.until("EVENTS").await;

    screen.keys(&["q"]);
    fixture.top_ends(&screen, 0).await;
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_quit_top_restores_the_terminal() {
    let mut fixture = Fixture::new("").await;
    fixture.start();

    for way in ["q", "Escape", "C-c", "TERM", "INT", "HUP"] {
        let screen = fixture.top("", "", USUAL);
        screen.until("> f").await;

        match way {
            "TERM" | "INT" | "HUP" => fixture.signal_top(way),
            key => screen.keys(&[key]),
        }

        fixture.top_ends(&screen, 0).await;
    }
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_top_restores_the_terminal_before_it_is_reported() {
    let mut fixture = Fixture::new("").await;
    fixture.start();

    let screen = fixture.top("", "--panic-at top:2", USUAL);

    fixture.top_ends(&screen, 1).await;
    assert_names(&screen.text(), &["internal error"]);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_top_restores_the_terminal_and_continues() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let screen = Tmux::sized(fixture.tmux(), "bash --norc --noprofile -i", USUAL);
    let directory = fixture.directory.path().display();
    let run = |line: &str| screen.keys(&[line, "Enter"]);
    run(&format!("PS1='ready> '; cd {directory}; stty -g > before"));
    run(&fixture.top_line("", ""));
    screen.until("EVENTS").await;

    screen.keys(&["C-z"]);
    screen.until("Stopped").await;
    assert!(screen.is_restored(), "{}", screen.text());
    run("stty -g > after; bg; echo in the ground");
    screen.until("in the ground").await;
    run("fg");
    screen.until("EVENTS").await;

    // From outside, it cannot be restored before it stops, but it continues.
    fixture.signal_top("STOP");
    screen.until("Stopped").await;
    run("fg");
    screen.until("EVENTS").await;
    screen.keys(&["q"]);
    // Until it has ended, it reads the keys.
    let is_prompting = || screen.text().trim_end().ends_with("ready>");
    until("the shell continues", is_prompting).await;
    run("stty -g >> after; exit 3");
    screen.until("3-ended").await;
    let read = |name: &str| fs::read_to_string(fixture.directory.path().join(name)).unwrap();
    let before = read("before");
    assert_eq!(read("after"), format!("{before}{before}"));
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn top_reports_a_daemon_that_is_killed_and_follows_the_next_one() {
    let mut fixture = Fixture::new("").await;
    let screen = fixture.top("", "", USUAL);
    screen.until("no daemon is listening").await;
    screen.until("hint: start a daemon").await;

    fixture.start();
    screen.until("> f").await;
    let mut client = connect(fixture.address);
    assert_echo(&mut client, &[7; 50_000]);
    screen.until("1 open").await;
    fixture.daemon().signal("KILL");
    screen.until("trying again").await;
    fixture.start();

    screen.until("the daemon was restarted").await;
    screen.until("0 open, sent 0 B/s, received 0 B/s").await;
    screen.keys(&["q"]);
    fixture.top_ends(&screen, 0).await;
    fixture.daemon().signal("TERM");
    assert_eq!(fixture.daemon().exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn top_reports_a_daemon_that_does_not_respond() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let screen = fixture.top("", "", (150, 40));
    screen.until("> f").await;

    fixture.daemon().signal("STOP");
    screen.until("the daemon has not responded for").await;
    screen.until("does not respond; trying").await;
    fixture.daemon().signal("CONT");

    screen.until("the daemon responds again").await;
    screen.keys(&["q"]);
    fixture.top_ends(&screen, 0).await;
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_closed_from_top_after_a_confirmation() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let (mut client, mut other) = (connect(fixture.address), connect(fixture.address));
    assert_echo(&mut client, b"hello");
    assert_echo(&mut other, b"hello");
    let screen = fixture.top("", "", USUAL);
    screen.until("> f").await;

    screen.keys(&["Enter"]);
    screen.until("2 connections").await;
    screen
        .until(&client.local_addr().unwrap().to_string())
        .await;
    screen.until("i-0123456789abcdef0").await;
    screen.keys(&["x"]);
    screen.until("Close connection 1 of").await;
    screen.keys(&["n"]);
    screen.until("x close").await;
    assert_echo(&mut client, b"still here");
    screen.keys(&["x"]);
    screen.until("Close connection 1 of").await;
    screen.keys(&["y"]);

    assert_reset(client);
    screen.until("connection 1: closed").await;
    screen.until("1 connection").await;
    assert_echo(&mut other, b"still here");
    screen.keys(&["Escape"]);
    screen.until("EVENTS").await;
    screen.keys(&["q"]);
    fixture.top_ends(&screen, 0).await;
    drop(other);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn top_has_colours_and_wide_characters_where_the_terminal_does() {
    let mut fixture = Fixture::new("").await;
    fixture.start();

    let screen = fixture.top("LANG=C.UTF-8", "", USUAL);
    screen.until("▶ f").await;
    assert!(
        screen.coloured().contains("\x1b[32mready"),
        "{}",
        screen.coloured()
    );
    screen.keys(&["q"]);
    fixture.top_ends(&screen, 0).await;

    let screen = fixture.top("NO_COLOR=1", "", USUAL);
    screen.until("> f").await;
    let coloured = screen.coloured();
    // tmux resets the colour with 39.
    let mut colours = (30..38).map(|code| format!("\x1b[{code}m"));
    assert!(
        !colours.any(|colour| coloured.contains(&colour)),
        "{coloured}"
    );
    screen.keys(&["q"]);
    fixture.top_ends(&screen, 0).await;
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn top_fails_on_a_dumb_terminal() {
    let fixture = Fixture::new("").await;

    let screen = fixture.top("TERM=dumb", "", USUAL);

    fixture.top_ends(&screen, 2).await;
    assert_names(
        &screen.text(),
        &["(TERM=dumb)", "ssm-proxyd status --watch"],
    );
}

#[test]
fn top_needs_a_terminal() {
    let mut command = ssm_proxyd();

    let (code, out, output) = ended(command.arg("top"));

    assert_eq!((code, out.as_str()), (2, ""));
    assert_names(&output, &["top needs a terminal", "status --json"]);
}
