//! SIGHUP: effects of a changed configuration, and what is not affected.

use std::net::{SocketAddr, TcpStream};

use ssm_proxyd::sim::{Destination, Options, ServerKind, Simulator};

use crate::support::daemon_process::{
    File, assert_clean, assert_echo, assert_reset, caller, connect, free_address, listening,
};
use crate::support::in_process::{TARGET, destination, until};
use crate::support::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_adds_removes_changes_and_keeps_forwards() {
    let mut fixture = Fixture::new().await;
    let [same, removed, changed, new] = [(); 4].map(|()| free_address());
    fixture.write(&[
        fixture.forward("same", same, ""),
        fixture.forward("gone", removed, ""),
        fixture.forward("changed", changed, "max_connections = 3"),
    ]);
    fixture.start(same);
    let mut clients = [same, removed, changed].map(connect);
    clients
        .iter_mut()
        .for_each(|client| assert_echo(client, b"hello"));

    fixture.write(&[
        fixture.forward("new", new, ""),
        fixture.forward("changed", changed, "max_connections = 4"),
        fixture.forward("same", same, ""),
    ]);
    let output = fixture.reload("reloaded");

    assert!(output.contains("+1 −1 ~1 =1"), "{output}");
    clients
        .iter_mut()
        .for_each(|client| assert_echo(client, b"still here"));
    for address in [new, changed, same] {
        assert_echo(&mut connect(address), b"hello");
    }
    until("no listener is left there", || {
        TcpStream::connect(removed).is_err()
    })
    .await;
    drop(clients);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_is_refused_while_a_forward_changes() {
    let mut fixture = Fixture::new().await;
    let address = free_address();
    fixture.write(&[fixture.forward("f", address, "connect_timeout = \"21s\"")]);
    fixture.start(address);

    for timeout in 22..32 {
        let connecting = std::thread::spawn(move || {
            for _ in 0..10 {
                assert_echo(&mut connect(address), b"hello");
            }
        });
        let keys = format!("connect_timeout = \"{timeout}s\"");
        fixture.write(&[fixture.forward("f", address, &keys)]);
        let output = fixture.reload("reloaded");
        assert!(output.contains("+0 −0 ~1 =0"), "{output}");
        connecting.join().unwrap();
    }
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_reload_changes_nothing() {
    let mut fixture = Fixture::new().await;
    let (address, taken) = (
        free_address(),
        std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    let good = fixture.forward("f", address, "");
    fixture.write(std::slice::from_ref(&good));
    fixture.start(address);
    let mut client = connect(address);
    assert_echo(&mut client, b"hello");

    fixture.write(&[good, "colour = \"red\"\n".to_owned()]);
    let output = fixture.reload("keeping the current configuration");
    assert!(output.contains("reload failed"), "{output}");
    // In the same line: the cause and its place.
    assert!(output.contains("unknown key `colour`"), "{output}");
    assert!(output.contains("config.toml:"), "{output}");

    // No forward could start.
    fixture.write(&[fixture.forward("taken", taken.local_addr().unwrap(), "")]);
    let output = fixture.reload("keeping the current configuration");
    assert!(output.contains("address already in use"), "{output}");

    assert_echo(&mut client, b"still here");
    assert_echo(&mut connect(address), b"hello");
    drop(client);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_may_move_from_one_forward_to_another() {
    let mut fixture = Fixture::new().await;
    let (one, two) = (free_address(), free_address());
    fixture.write(&[fixture.forward("a", one, ""), fixture.forward("b", two, "")]);
    fixture.start(one);
    let mut client = connect(one);
    assert_echo(&mut client, b"hello");

    fixture.write(&[fixture.forward("a", two, ""), fixture.forward("b", one, "")]);
    let output = fixture.reload("reloaded");

    assert!(output.contains("+0 −0 ~2 =0"), "{output}");
    assert_echo(&mut client, b"still here");
    for address in [one, two] {
        assert_echo(&mut connect(address), b"hello");
    }
    drop(client);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_may_be_narrowed_and_widened_by_a_loopback() {
    let mut fixture = Fixture::new().await;
    let address = free_address();
    let port = address.port();
    let forward = |fixture: &Fixture, listen: String| {
        fixture.forward("f", address, "").replace(
            &format!("listen = \"{address}\""),
            &format!("listen = {listen}"),
        )
    };
    fixture.write(&[forward(&fixture, port.to_string())]);
    fixture.start(address);
    let mut client = connect(address);
    assert_echo(&mut client, b"hello");
    let v6: SocketAddr = format!("[::1]:{port}").parse().unwrap();

    for (listen, open, closed) in [
        (format!("\"{address}\""), address, Some(v6)),
        (format!("\"localhost:{port}\""), v6, None),
        (format!("\"{v6}\""), v6, Some(address)),
        (format!("{port}"), address, None),
    ] {
        fixture.write(&[forward(&fixture, listen)]);
        let output = fixture.reload("reloaded");
        assert!(output.contains("+0 −0 ~1 =0"), "{output}");
        assert_echo(&mut connect(open), b"hello");
        if let Some(closed) = closed {
            until("no listener is left there", || {
                TcpStream::connect(closed).is_err()
            })
            .await;
        }
    }
    assert_echo(&mut client, b"still here");
    drop(client);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_process_is_reported_for_a_port_of_the_daemon_itself() {
    let mut fixture = Fixture::new().await;
    let address = free_address();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
    fixture.write(&[fixture.forward("f", address, "")]);
    fixture.start(address);

    fixture.write(&[fixture.forward("f", everywhere, "allow_remote_clients = true")]);
    let output = fixture.reload("keeping the current configuration");

    let text = format!("cannot listen on {everywhere}: this daemon still listens on {address}");
    assert!(output.contains(&text), "{output}");
    assert!(output.contains("restart the daemon"), "{output}");
    assert_echo(&mut connect(address), b"hello");

    let other = free_address();
    fixture.write(&[fixture.forward("other", other, "")]);
    fixture.reload("reloaded");
    until("no listener is left there", || {
        TcpStream::connect(address).is_err()
    })
    .await;
    fixture.write(&[fixture.forward("f", everywhere, "allow_remote_clients = true")]);
    fixture.reload("reloaded");
    assert_echo(&mut connect(address), b"hello");
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assigned_port_stays_with_its_forward() {
    let fixture = Fixture::new().await;
    let free = "127.0.0.1:0".parse().unwrap();
    let both = |keys: &str| {
        [
            fixture.forward("a", free, keys),
            fixture.forward("b", free, keys),
        ]
    };
    fixture.write(&both(""));
    let mut command = caller(&fixture.simulator);
    command.args(["run", "--config"]).arg(fixture.file.path());
    let mut daemon = Process::start(&mut command);
    let ports = |daemon: &mut Process| {
        let mut ports: Vec<_> = (0..2)
            .map(|_| listening(&daemon.stderr.wait_for("listening")))
            .collect();
        ports.sort();
        ports
    };
    let before = ports(&mut daemon);

    let [a, b] = both("connect_timeout = \"9s\"");
    fixture.write(&[b, a]);
    daemon.signal("HUP");

    assert_eq!(ports(&mut daemon), before);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_removed_forward_end_with_their_connections() {
    let mut fixture = Fixture::new().await;
    let (kept, removed) = (free_address(), free_address());
    fixture.write(&[
        fixture.forward("kept", kept, ""),
        fixture.forward("gone", removed, "warm = 2"),
    ]);
    fixture.start(kept);
    let mut client = connect(removed);
    assert_echo(&mut client, b"hello");
    let simulator = &fixture.simulator;
    until("two warm sessions are open", || {
        simulator.ledger().open_sessions() == 3
    })
    .await;

    fixture.write(&[fixture.forward("kept", kept, "")]);
    fixture.reload("reloaded");

    let simulator = &fixture.simulator;
    until("one session is open", || {
        simulator.ledger().open_sessions() == 1
    })
    .await;
    assert_echo(&mut client, b"still here");
    drop(client);
    let simulator = &fixture.simulator;
    until("no session is open", || {
        simulator.ledger().open_sessions() == 0
    })
    .await;
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_connections_of_removed_forwards() {
    let mut fixture = Fixture::new().await;
    let (kept, removed) = (free_address(), free_address());
    fixture.write(&[
        fixture.forward("kept", kept, ""),
        fixture.forward("gone", removed, ""),
    ]);
    fixture.start(kept);
    let mut client = connect(removed);
    assert_echo(&mut client, b"hello");
    fixture.write(&[fixture.forward("kept", kept, "")]);
    fixture.reload("reloaded");

    fixture.ends();

    assert_reset(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_limits_apply_from_the_reload_on() {
    let mut fixture = Fixture::new().await;
    let address = free_address();
    let forward = fixture.forward("f", address, "connect_timeout = \"1s\"");
    let limited = |most: usize| format!("max_connections = {most}\n{forward}");
    fixture.write(&[limited(1)]);
    fixture.start(address);
    let mut first = connect(address);
    assert_echo(&mut first, b"hello");
    assert_reset(connect(address));

    fixture.write(&[limited(2)]);
    fixture.reload("reloaded");
    let mut second = connect(address);
    assert_echo(&mut second, b"hello");

    fixture.write(&[limited(1)]);
    fixture.reload("reloaded");
    assert_echo(&mut second, b"still here");
    drop(second);
    assert_reset(connect(address));
    assert_echo(&mut first, b"still here");
    drop(first);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn new_endpoints_apply_from_the_next_connection_on() {
    let mut fixture = Fixture::new().await;
    let address = free_address();
    let forwards = [fixture.forward("f", address, "")];
    fixture.write(&forwards);
    fixture.start(address);
    let mut client = connect(address);
    assert_echo(&mut client, b"hello");

    let other = Simulator::start(Options::default()).await.unwrap();
    let former = std::mem::replace(&mut fixture.simulator, other);
    fixture.write(&forwards);
    let output = fixture.reload("reloaded");

    assert!(output.contains("+0 −0 ~1 =0"), "{output}");
    assert_echo(&mut client, b"still here");
    assert_echo(&mut connect(address), b"hello");
    assert_eq!(former.ledger().started, 1);
    assert_eq!(fixture.simulator.ledger().started, 1);
    drop(client);
    fixture.ends();
    assert_clean(&former);
}

/// The beginning of the table in each file.
const LIMITS: &str = "[shutdown]\ndrain_timeout = \"0s\"\n[limits]\nsession_start_rate = 1000\n";

/// A daemon with a configuration file that changes, and a forward to an echo.
pub(super) struct Fixture {
    pub(super) simulator: Simulator,
    echo: Destination,
    pub(super) file: File,
    daemon: Option<Process>,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        Self {
            simulator: Simulator::start(Options::default()).await.unwrap(),
            echo: destination(ServerKind::Echo).await,
            file: File::new(""),
            daemon: None,
        }
    }

    pub(super) fn forward(&self, name: &str, address: SocketAddr, keys: &str) -> String {
        let port = self.echo.address().port();
        format!(
            "[[forward]]\nname = \"{name}\"\nlisten = \"{address}\"\ntarget = \"{TARGET}\"\n\
             remote = {port}\n{keys}\n"
        )
    }

    pub(super) fn write(&self, tables: &[String]) {
        let text = format!(
            "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n{LIMITS}{}",
            self.simulator.endpoint(),
            tables.concat()
        );
        std::fs::write(self.file.path(), text).unwrap();
    }

    /// Waits until it listens.
    pub(super) fn start(&mut self, address: SocketAddr) {
        let mut command = caller(&self.simulator);
        command.args(["run", "--config"]).arg(self.file.path());
        self.daemon = Some(Process::start(&mut command));
        let mut output = String::new();
        while !output.contains(&address.to_string()) {
            output = self.output("listening");
        }
    }

    pub(super) fn reload(&mut self, text: &str) -> String {
        self.daemon.as_ref().unwrap().signal("HUP");
        self.output(text)
    }

    fn output(&mut self, text: &str) -> String {
        self.daemon.as_mut().unwrap().stderr.wait_for(text)
    }

    pub(super) fn ends(&mut self) {
        let daemon = self.daemon.as_mut().unwrap();
        daemon.signal("TERM");
        assert_eq!(daemon.exit_code(), 0);
        assert_clean(&self.simulator);
    }
}
