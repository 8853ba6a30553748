//! Runs the commands that the package documents for new users: those in the headers of its
//! configurations, and those of its page about the simulator.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use ssm_proxyd::sim::ServerKind;

use crate::support::daemon_process::{File, connect, listening};
use crate::support::in_process::destination;
use crate::support::process::{Process, ssm_proxyd};
use crate::support::simulator_process::SimulatorProcess;

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_in_the_header_of_the_minimal_configuration_work() {
    let header = Typed::from_header("config/minimal.toml");

    header
        .assert_works("minimal.toml", "config/minimal.toml")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_in_the_header_of_the_full_configuration_work() {
    let header = Typed::from_header("config/ssm-proxyd.toml");

    header
        .assert_works("ssm-proxyd.toml", "config/ssm-proxyd.toml")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_commands_in_the_documentation_work() {
    let text = shipped("docs/simulator.md");
    let (_, block) = text
        .split_once("a terminal of its own:\n\n```sh\n")
        .unwrap();
    let (block, _) = block.split_once("```").unwrap();

    let typed = Typed::new(block.lines());

    let file = "config/minimal.toml";
    typed.assert_works(file, file).await;
}

/// The commands that the user is told to type.
struct Typed(Vec<String>);

impl Typed {
    /// Lines that end with a backslash continue on the next one.
    fn new<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let text: Vec<_> = lines.map(str::trim).collect();
        let text = text.join("\n").replace("\\\n", "");
        Self(text.lines().map(str::to_owned).collect())
    }

    /// The indented lines of the comment at the beginning of a file.
    fn from_header(path: &str) -> Self {
        let text = shipped(path);
        let header = text.lines().take_while(|line| line.starts_with('#'));
        Self::new(header.filter_map(|line| line.strip_prefix("#     ")))
    }

    /// The arguments of the command that contains `what`, before it and after it.
    fn around(&self, what: &str) -> (Vec<&str>, Vec<&str>) {
        let command = self.0.iter().find_map(|command| command.split_once(what));
        let (front, back) = command.unwrap_or_else(|| panic!("no {what:?} in {:#?}", self.0));
        (
            front.split_whitespace().collect(),
            back.split_whitespace().collect(),
        )
    }

    /// Runs all commands, with free ports and a server of our own.
    async fn assert_works(&self, named: &str, path: &str) {
        let web = destination(ServerKind::Http).await;
        let web_address = web.address().to_string();
        assert_eq!(
            self.around("http.server").1,
            ["--bind", "127.0.0.1", "8000"]
        );
        let free = |argument: &str| {
            let argument = argument.replace("127.0.0.1:4566", "127.0.0.1:0");
            argument.replace("127.0.0.1:8000", &web_address)
        };
        let (_, options) = self.around("ssm-proxyd simulate");
        let simulator = SimulatorProcess::start(&options.into_iter().map(free).collect::<Vec<_>>());

        let (variables, options) = self.around("ssm-proxyd run");
        assert_eq!(options, ["--config", named]);
        let mut command = ssm_proxyd();
        for variable in variables {
            let (name, value) = variable.split_once('=').unwrap();
            command.env(
                name,
                value.replace("http://127.0.0.1:4566", &simulator.endpoint()),
            );
        }
        let text = shipped(path);
        let freed = text.replace("\nlisten = 5432\n", "\nlisten = \"127.0.0.1:0\"\n");
        assert_ne!(freed, text);
        let file = File::new(&freed.replace("\nlisten = 2222\n", "\nlisten = 0\n"));
        let mut daemon = Process::start(command.args(["run", "--config"]).arg(file.path()));
        let (_, first) = text.split_once("\nname = ").unwrap();
        let first = first.lines().next().unwrap();
        let line = format!("serving{{forward={first}}}: listening");
        let (_, address) = listening(&daemon.stderr.wait_for(&line));

        assert_eq!(self.around("curl").1, ["http://localhost:5432/"]);
        let mut client = connect(address);
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost:5432\r\n\r\n")
            .unwrap();
        let mut answer = [0; 15];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }
}

fn shipped(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}
