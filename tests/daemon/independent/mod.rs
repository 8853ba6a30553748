//! Forwards are independent: a forward that cannot start is failing and retried, and the others
//! serve.

mod bundles;
mod fixture;
mod servers;

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;

use self::fixture::Fixture;
use crate::cli::ended;
use crate::support::daemon_process::{assert_echo, assert_names, connect, free_address};
use crate::support::in_process::until;
use crate::support::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_stops_only_its_own_forward_until_it_is_free() {
    let mut fixture = Fixture::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (good, bad) = (free_address(), taken.local_addr().unwrap());
    let bad_forward = fixture.forward("bad", &bad.to_string(), "");
    let forwards = bad_forward + &fixture.forward("good", &good.to_string(), "");
    fixture.write(&forwards);

    fixture.start();
    let line = fixture.logged("cannot start");
    fixture.logged("listening");

    assert_names(
        &line,
        &["WARN", "\"bad\"", "already in use", "hint=", "retr"],
    );
    assert_echo(&mut connect(good), b"hello");
    assert_eq!(fixture.states(), ["bad failing", "good ready"]);
    let failing = &fixture.status()["forwards"][0];
    assert_eq!(failing["failure"]["code"], "ListenAddressInUse");
    assert_eq!(failing["listen"][0], bad.to_string());
    let (code, readiness) = fixture.http("/readiness");
    assert_eq!(
        (code, readiness.as_str()),
        (200, "ready\nfailing: bad ListenAddressInUse\n")
    );
    let (_, metrics) = fixture.http("/metrics");
    for sample in ["{forward=\"bad\"} 1\n", "{forward=\"good\"} 0\n"] {
        let sample = format!("ssm_proxyd_forward_failing{sample}");
        assert!(metrics.contains(&sample), "{sample}: {metrics}");
    }

    drop(taken);
    let line = fixture.logged("listening");

    assert_names(&line, &["forward=\"bad\"", &bad.to_string()]);
    assert_echo(&mut connect(bad), b"hello");
    assert_eq!(fixture.states(), ["bad ready", "good ready"]);
    let log = fixture.ends();
    assert_eq!(log.matches("cannot start").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_machine_does_not_have_stops_only_its_own_forward() {
    let mut fixture = Fixture::new().await;
    let good = free_address();
    let keys = "allow_remote_clients = true";
    let forwards = fixture.forward("docker", "192.0.2.7:4000", keys)
        + &fixture.forward("path", "unix:/no/such/directory/db.sock", "")
        + &fixture.forward("good", &good.to_string(), "");
    fixture.write(&forwards);

    fixture.start();
    let lines = [
        fixture.logged("cannot start"),
        fixture.logged("cannot start"),
    ];

    assert_names(&lines[0], &["\"docker\"", "192.0.2.7:4000", "(yet)"]);
    assert_names(&lines[1], &["\"path\"", "its directory does not exist"]);
    fixture.logged("listening");
    assert_echo(&mut connect(good), b"hello");
    assert_eq!(
        fixture.states(),
        ["docker failing", "path failing", "good ready"]
    );
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_does_not_exist_stops_only_its_own_forward_until_it_exists() {
    let mut fixture = Fixture::new().await;
    let (good, bad) = (free_address(), free_address());
    let forwards = fixture.forward("good", &good.to_string(), "")
        + &fixture.forward("bad", &bad.to_string(), "profile = \"misspelt\"");
    fixture.write(&forwards);

    fixture.start();
    let line = fixture.logged("cannot start");

    assert_names(
        &line,
        &["\"bad\"", r#"\"misspelt\""#, "does not exist", "other"],
    );
    assert_echo(&mut connect(good), b"hello");
    assert_eq!(fixture.states(), ["good ready", "bad failing"]);
    assert!(TcpStream::connect(bad).is_err(), "no forward can serve it");

    fixture.write_profile("misspelt");
    while !fixture.logged("listening").contains("\"bad\"") {}
    assert_echo(&mut connect(bad), b"hello");
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_daemon_starts_all_forwards_or_none() {
    let fixture = Fixture::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = free_address();
    let taken = taken.local_addr().unwrap().to_string();
    for (bad, code) in [
        (fixture.forward("bad", &taken, ""), 71),
        (
            fixture.forward("bad", "127.0.0.1:0", "profile = \"misspelt\""),
            77,
        ),
    ] {
        fixture.write(&(fixture.forward("good", &good.to_string(), "") + &bad));

        let (ended, _, stderr) = ended(fixture.command().arg("--strict"));

        assert_eq!(ended, code, "{stderr}");
        assert_names(&stderr, &["forward \"bad\"", "hint: "]);
        assert!(TcpStream::connect(good).is_err(), "no forward runs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_none_of_whose_forwards_can_start_ends() {
    let fixture = Fixture::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let profile = "profile = \"misspelt\"";
    let disabled = fixture.forward("off", "127.0.0.1:0", "enabled = false");
    for (forwards, code) in [
        (fixture.forward("a", &taken, ""), 71),
        (fixture.forward("a", "127.0.0.1:0", profile), 77),
        (
            fixture.forward("a", &taken, "") + &fixture.forward("b", "127.0.0.1:0", profile),
            71,
        ),
        (disabled + &fixture.forward("a", &taken, ""), 71),
    ] {
        fixture.write(&forwards);

        let (ended, _, stderr) = ended(&mut fixture.command());

        assert_eq!(ended, code, "{stderr}");
        assert_names(&stderr, &["forward \"a\"", "line ", "hint: "]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_accepts_errors_of_the_environment_and_refuses_errors_in_the_file() {
    let mut fixture = Fixture::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (good, bad) = (free_address(), taken.local_addr().unwrap());
    let good_forward = fixture.forward("good", &good.to_string(), "");
    fixture.write(&good_forward);
    fixture.start();
    fixture.logged("listening");
    let mut client = connect(good);
    assert_echo(&mut client, b"hello");

    let both = good_forward + &fixture.forward("bad", &bad.to_string(), "");
    fixture.write(&both);
    let reloaded = fixture.reload("reloaded");

    assert_names(&reloaded, &["+1 −0 ~0 =1"]);
    assert_eq!(fixture.states(), ["good ready", "bad failing"]);

    fixture.write(&(both + "colour = \"red\"\n"));
    let line = fixture.reload("reload failed");
    assert_names(&line, &["unknown key `colour`"]);
    assert_eq!(fixture.states(), ["good ready", "bad failing"]);

    drop(taken);
    while !fixture.logged("listening").contains("\"bad\"") {}
    assert_echo(&mut connect(bad), b"hello");
    assert_echo(&mut client, b"still here");
    drop(client);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_after_which_no_forward_could_start_is_refused() {
    let mut fixture = Fixture::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = free_address();
    fixture.write(&fixture.forward("good", &good.to_string(), ""));
    fixture.start();
    fixture.logged("listening");

    fixture.write(&fixture.forward("good", &taken.local_addr().unwrap().to_string(), ""));
    let line = fixture.reload("reload failed");

    assert_names(&line, &["already in use"]);
    assert_echo(&mut connect(good), b"hello");
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_retries_a_failing_forward_and_a_reload_removes_it() {
    let mut fixture = Fixture::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (good, bad) = (free_address(), taken.local_addr().unwrap());
    let good_forward = fixture.forward("good", &good.to_string(), "");
    fixture.write(&(good_forward.clone() + &fixture.forward("bad", &bad.to_string(), "")));
    fixture.start();
    fixture.logged("listening");

    fixture.signal("USR2");
    fixture.logged("retrying now");
    fixture.write(&good_forward);
    let reloaded = fixture.reload("reloaded");

    assert_names(&reloaded, &["+0 −1 ~0 =1"]);
    assert_eq!(fixture.states(), ["good ready"]);
    drop(taken);
    assert_echo(&mut connect(good), b"hello");
    assert!(TcpStream::connect(bad).is_err(), "the forward is removed");
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_forward_is_checked_and_shown_and_does_nothing() {
    let mut fixture = Fixture::new().await;
    let address = free_address();
    let on = fixture.forward("on", &address.to_string(), "");
    let off = |keys: &str| fixture.forward("off", &address.to_string(), keys);
    let (off, nonsense) = (
        off("enabled = false\nprofile = \"misspelt\""),
        off("enabled = false\ncolour = \"red\""),
    );
    fixture.write(&(on.clone() + &off));

    fixture.start();
    let line = fixture.logged("ready: ");

    assert_names(&line, &["ready: 1 forward"]);
    assert_eq!(fixture.states(), ["on ready", "off disabled"]);
    assert_echo(&mut connect(address), b"hello");
    let (_, readiness) = fixture.http("/readiness");
    assert_eq!(readiness, "ready\n");

    fixture.write(&(on + &nonsense));
    fixture.reload("reload failed");
    let log = fixture.ends();
    assert!(!log.contains("cannot start"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_enables_and_disables_forwards() {
    let mut fixture = Fixture::new().await;
    let addresses = [free_address(), free_address()];
    let forwards = |fixture: &Fixture, enabled: [bool; 2]| {
        let one = |index: usize| {
            let keys = format!("enabled = {}", enabled[index]);
            let name = ["a", "b"][index];
            fixture.forward(name, &addresses[index].to_string(), &keys)
        };
        one(0) + &one(1)
    };
    fixture.write(&forwards(&fixture, [true, false]));
    fixture.start();
    fixture.logged("ready: 1 forward");

    fixture.write(&forwards(&fixture, [false, true]));
    fixture.reload("reloaded");

    assert_eq!(fixture.states(), ["a disabled", "b ready"]);
    assert_echo(&mut connect(addresses[1]), b"hello");
    until("no listener is left there", || {
        TcpStream::connect(addresses[0]).is_err()
    })
    .await;
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_notified_ready_when_one_forward_is_failing() {
    let mut fixture = Fixture::new().await;
    let path = fixture.file.directory().join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(std::time::Duration::from_secs(60)))
        .unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let bad = taken.local_addr().unwrap().to_string();
    let forwards = fixture.forward("bad", &bad, "")
        + &fixture.forward("good", &free_address().to_string(), "");
    fixture.write(&forwards);
    let mut command = fixture.command();
    command.env("NOTIFY_SOCKET", &path);

    fixture.daemon = Some(Process::start(&mut command));

    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    let received = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert_names(
        &received,
        &["READY=1", "2 forwards", "1 failing: bad ListenAddressInUse"],
    );
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_is_logged_in_the_order_of_the_file() {
    let mut fixture = Fixture::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let names = ["c", "a", "bad", "off", "b"];
    let forwards = names.map(|name| match name {
        "bad" => fixture.forward(name, &taken, ""),
        "off" => fixture.forward(name, "127.0.0.1:0", "enabled = false"),
        _ => fixture.forward(name, &format!("localhost:{}", free_address().port()), ""),
    });
    let file = fixture.file.path().display().to_string();
    let version = env!("CARGO_PKG_VERSION");
    for head in ["", "[log]\nformat = \"json\"\n"] {
        fixture.write(&(head.to_owned() + &forwards.concat()));

        fixture.start();
        fixture.logged("ready: 4 forwards, 1 failing");

        let log = fixture.ends();
        let lines: Vec<_> = log.lines().collect();
        let place = |text: &str| lines.iter().position(|line| line.contains(text));
        let start = place("starting").unwrap_or_else(|| panic!("{log}"));
        assert_names(lines[start], &[version, &file, "default", "us-east-1"]);
        let ready = place("ready: ").unwrap();
        let output = lines[start + 1..ready].iter().filter_map(|line| {
            let is_of = |name: &&&str| {
                line.contains(&format!("forward=\"{name}\""))
                    || line.contains(&format!("\"forward\":\"{name}\""))
            };
            names.iter().find(is_of).copied()
        });
        assert_eq!(output.collect::<Vec<_>>(), names, "{log}");
    }
}
