//! SIGHUP: another configuration, and what does not notice.

use std::net::{SocketAddr, TcpStream};

use ssm_proxyd::sim::{Destination, Options, Role, Simulator};

use crate::support::daemon_process::{
    File, assert_clean, assert_echo, assert_reset, caller, connect, free_address, listening,
};
use crate::support::in_process::{TARGET, destination, until};
use crate::support::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn forwards_come_go_change_and_stay() {
    let mut scene = Scene::new().await;
    let [same, gone, changed, new] = [(); 4].map(|()| free_address());
    scene.write(&[
        scene.forward("same", same, ""),
        scene.forward("gone", gone, ""),
        scene.forward("changed", changed, "max_connections = 3"),
    ]);
    scene.start(same);
    let mut clients = [same, gone, changed].map(connect);
    clients
        .iter_mut()
        .for_each(|client| assert_echo(client, b"hello"));

    scene.write(&[
        scene.forward("new", new, ""),
        scene.forward("changed", changed, "max_connections = 4"),
        scene.forward("same", same, ""),
    ]);
    let told = scene.reload("reloaded");

    assert!(told.contains("+1 −1 ~1 =1"), "{told}");
    clients
        .iter_mut()
        .for_each(|client| assert_echo(client, b"still here"));
    for address in [new, changed, same] {
        assert_echo(&mut connect(address), b"hello");
    }
    until("nobody listens there", || TcpStream::connect(gone).is_err()).await;
    drop(clients);
    scene.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_refused_while_a_forward_changes() {
    let mut scene = Scene::new().await;
    let address = free_address();
    scene.write(&[scene.forward("f", address, "connect_timeout = \"21s\"")]);
    scene.start(address);

    for timeout in 22..32 {
        let comers = std::thread::spawn(move || {
            for _ in 0..10 {
                assert_echo(&mut connect(address), b"hello");
            }
        });
        let keys = format!("connect_timeout = \"{timeout}s\"");
        scene.write(&[scene.forward("f", address, &keys)]);
        let told = scene.reload("reloaded");
        assert!(told.contains("+0 −0 ~1 =0"), "{told}");
        comers.join().unwrap();
    }
    scene.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_leaves_everything_as_it_was() {
    let mut scene = Scene::new().await;
    let (address, taken) = (
        free_address(),
        std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    let good = scene.forward("f", address, "");
    scene.write(std::slice::from_ref(&good));
    scene.start(address);
    let mut client = connect(address);
    assert_echo(&mut client, b"hello");

    scene.write(&[good, "colour = \"red\"\n".to_owned()]);
    let told = scene.reload("keeping the current configuration");
    assert!(told.contains("reload failed"), "{told}");
    scene.told("unknown key `colour`");

    // No forward could start.
    scene.write(&[scene.forward("taken", taken.local_addr().unwrap(), "")]);
    let told = scene.reload("keeping the current configuration");
    assert!(told.contains("address already in use"), "{told}");

    assert_echo(&mut client, b"still here");
    assert_echo(&mut connect(address), b"hello");
    drop(client);
    scene.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_may_go_from_one_forward_to_another() {
    let mut scene = Scene::new().await;
    let (one, two) = (free_address(), free_address());
    scene.write(&[scene.forward("a", one, ""), scene.forward("b", two, "")]);
    scene.start(one);
    let mut client = connect(one);
    assert_echo(&mut client, b"hello");

    scene.write(&[scene.forward("a", two, ""), scene.forward("b", one, "")]);
    let told = scene.reload("reloaded");

    assert!(told.contains("+0 −0 ~2 =0"), "{told}");
    assert_echo(&mut client, b"still here");
    for address in [one, two] {
        assert_echo(&mut connect(address), b"hello");
    }
    drop(client);
    scene.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_may_be_narrowed_and_widened_by_a_loopback() {
    let mut scene = Scene::new().await;
    let address = free_address();
    let port = address.port();
    let forward = |scene: &Scene, listen: String| {
        scene.forward("f", address, "").replace(
            &format!("listen = \"{address}\""),
            &format!("listen = {listen}"),
        )
    };
    scene.write(&[forward(&scene, port.to_string())]);
    scene.start(address);
    let mut client = connect(address);
    assert_echo(&mut client, b"hello");
    let v6: SocketAddr = format!("[::1]:{port}").parse().unwrap();

    for (listen, open, closed) in [
        (format!("\"{address}\""), address, Some(v6)),
        (format!("\"localhost:{port}\""), v6, None),
        (format!("\"{v6}\""), v6, Some(address)),
        (format!("{port}"), address, None),
    ] {
        scene.write(&[forward(&scene, listen)]);
        let told = scene.reload("reloaded");
        assert!(told.contains("+0 −0 ~1 =0"), "{told}");
        assert_echo(&mut connect(open), b"hello");
        if let Some(closed) = closed {
            until("nobody listens there", || {
                TcpStream::connect(closed).is_err()
            })
            .await;
        }
    }
    assert_echo(&mut client, b"still here");
    drop(client);
    scene.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_is_blamed_for_a_port_that_the_daemon_holds_itself() {
    let mut scene = Scene::new().await;
    let address = free_address();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
    scene.write(&[scene.forward("f", address, "")]);
    scene.start(address);

    scene.write(&[scene.forward("f", everywhere, "allow_remote_clients = true")]);
    let told = scene.reload("keeping the current configuration");

    let words = format!("cannot listen on {everywhere}: this daemon still listens on {address}");
    assert!(told.contains(&words), "{told}");
    assert!(told.contains("restart the daemon"), "{told}");
    assert_echo(&mut connect(address), b"hello");

    let other = free_address();
    scene.write(&[scene.forward("other", other, "")]);
    scene.reload("reloaded");
    until("nobody listens there", || {
        TcpStream::connect(address).is_err()
    })
    .await;
    scene.write(&[scene.forward("f", everywhere, "allow_remote_clients = true")]);
    scene.reload("reloaded");
    assert_echo(&mut connect(address), b"hello");
    scene.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_port_stays_with_its_forward() {
    let scene = Scene::new().await;
    let free = "127.0.0.1:0".parse().unwrap();
    let both = |keys: &str| {
        [
            scene.forward("a", free, keys),
            scene.forward("b", free, keys),
        ]
    };
    scene.write(&both(""));
    let mut command = caller(&scene.simulator);
    command.args(["run", "--config"]).arg(scene.file.path());
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
    scene.write(&[b, a]);
    daemon.signal("HUP");

    assert_eq!(ports(&mut daemon), before);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_removed_forward_end_with_their_connections() {
    let mut scene = Scene::new().await;
    let (kept, gone) = (free_address(), free_address());
    scene.write(&[
        scene.forward("kept", kept, ""),
        scene.forward("gone", gone, "warm = 2"),
    ]);
    scene.start(kept);
    let mut client = connect(gone);
    assert_echo(&mut client, b"hello");
    let simulator = &scene.simulator;
    until("two spares beside it", || {
        simulator.ledger().open_sessions() == 3
    })
    .await;

    scene.write(&[scene.forward("kept", kept, "")]);
    scene.reload("reloaded");

    let simulator = &scene.simulator;
    until("one is left", || simulator.ledger().open_sessions() == 1).await;
    assert_echo(&mut client, b"still here");
    drop(client);
    let simulator = &scene.simulator;
    until("none is left", || simulator.ledger().open_sessions() == 0).await;
    scene.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_what_a_reload_has_left_to_finish() {
    let mut scene = Scene::new().await;
    let (kept, gone) = (free_address(), free_address());
    scene.write(&[
        scene.forward("kept", kept, ""),
        scene.forward("gone", gone, ""),
    ]);
    scene.start(kept);
    let mut client = connect(gone);
    assert_echo(&mut client, b"hello");
    scene.write(&[scene.forward("kept", kept, "")]);
    scene.reload("reloaded");

    scene.ends();

    assert_reset(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_from_then_on() {
    let mut scene = Scene::new().await;
    let address = free_address();
    let forward = scene.forward("f", address, "connect_timeout = \"1s\"");
    let limited = |most: usize| format!("max_connections = {most}\n{forward}");
    scene.write(&[limited(1)]);
    scene.start(address);
    let mut first = connect(address);
    assert_echo(&mut first, b"hello");
    assert_reset(connect(address));

    scene.write(&[limited(2)]);
    scene.reload("reloaded");
    let mut second = connect(address);
    assert_echo(&mut second, b"hello");

    scene.write(&[limited(1)]);
    scene.reload("reloaded");
    assert_echo(&mut second, b"still here");
    drop(second);
    assert_reset(connect(address));
    assert_echo(&mut first, b"still here");
    drop(first);
    scene.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_way_to_aws_counts_from_the_next_connection_on() {
    let mut scene = Scene::new().await;
    let address = free_address();
    let forwards = [scene.forward("f", address, "")];
    scene.write(&forwards);
    scene.start(address);
    let mut client = connect(address);
    assert_echo(&mut client, b"hello");

    let other = Simulator::start(Options::default()).await.unwrap();
    let former = std::mem::replace(&mut scene.simulator, other);
    scene.write(&forwards);
    let told = scene.reload("reloaded");

    assert!(told.contains("+0 −0 ~1 =0"), "{told}");
    assert_echo(&mut client, b"still here");
    assert_echo(&mut connect(address), b"hello");
    assert_eq!(former.ledger().started, 1);
    assert_eq!(scene.simulator.ledger().started, 1);
    drop(client);
    scene.ends();
    assert_clean(&former);
}

/// The beginning of the table in each file.
const LIMITS: &str = "[shutdown]\ndrain_timeout = \"0s\"\n[limits]\nsession_start_rate = 1000\n";

/// A daemon whose file changes, before an echo.
pub(super) struct Scene {
    pub(super) simulator: Simulator,
    echo: Destination,
    pub(super) file: File,
    daemon: Option<Process>,
}

impl Scene {
    pub(super) async fn new() -> Self {
        Self {
            simulator: Simulator::start(Options::default()).await.unwrap(),
            echo: destination(Role::Echo).await,
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

    /// Until it listens.
    pub(super) fn start(&mut self, address: SocketAddr) {
        let mut command = caller(&self.simulator);
        command.args(["run", "--config"]).arg(self.file.path());
        self.daemon = Some(Process::start(&mut command));
        let mut told = String::new();
        while !told.contains(&address.to_string()) {
            told = self.told("listening");
        }
    }

    pub(super) fn reload(&mut self, words: &str) -> String {
        self.daemon.as_ref().unwrap().signal("HUP");
        self.told(words)
    }

    fn told(&mut self, words: &str) -> String {
        self.daemon.as_mut().unwrap().stderr.wait_for(words)
    }

    pub(super) fn ends(&mut self) {
        let daemon = self.daemon.as_mut().unwrap();
        daemon.signal("TERM");
        assert_eq!(daemon.exit_code(), 0);
        assert_clean(&self.simulator);
    }
}
