//! OpenSSH through `connect`: a real client, our ProxyCommand, the simulator, a real sshd.
//!
//! ```text
//!   config.rs    ssh-config: printed, installed, removed
//!   push_key.rs  keys that the server gets at each connection
//!   relayed.rs   transfers through a relay
//!   mod.rs       logins and commands, ends, failures
//!   transfers.rs scp, sftp, rsync, git
//!   tunnels.rs   -L, -R, -D, a control master
//! ```

mod config;
mod push_key;
mod relayed;
mod transfers;
mod tunnels;

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use sha2::{Digest, Sha256};
use ssm_proxyd::sim::{DisconnectKind, Options};

use crate::support::in_process::{TARGET, broken_every, unpaced};
use crate::support::payload::pattern;
use crate::support::process::Process;
use crate::support::sshd::{Sshd, ended, run};
use crate::support::tmux::Tmux;

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_and_its_exit_code_is_returned() {
    let sshd = Sshd::start(Options::default()).await;

    let (code, out, err) =
        ended(&mut sshd.client("ssh", &["far", "echo out; echo err >&2; exit 7"]));

    assert_eq!((code, &out[..], &err[..]), (7, "out\n", "err\n"));
    sshd.settle().await;
    let ledger = sshd.simulator.ledger();
    assert_eq!(ledger.sessions[0].document, "AWS-StartSSHSession");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_has_a_terminal_and_accepts_input() {
    let sshd = Sshd::start(Options::default()).await;
    std::fs::write(sshd.path("typed"), "tty; echo sum $((20+22)); exit 3\n").unwrap();
    let mut login = sshd.client("ssh", &["-tt", "far"]);

    let (code, out, _) = ended(login.stdin(File::open(sshd.path("typed")).unwrap()));

    assert_eq!(code, 3, "{out}");
    assert!(out.contains("/dev/pts/") && out.contains("sum 42"), "{out}");
    sshd.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stdin_reaches_a_command_completely() {
    let sshd = Sshd::start(unpaced()).await;
    std::fs::write(sshd.path("in"), pattern(1, 5 << 20)).unwrap();
    let mut cat = sshd.client("ssh", &["far", "cat"]);
    cat.stdin(File::open(sshd.path("in")).unwrap());
    let out = File::create(sshd.path("out")).unwrap();

    let status = cat.stdout(out).status().unwrap();

    assert!(status.success());
    assert_same(&sshd, "in", "out");
    sshd.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnected_target_is_reported_above_the_line_of_ssh() {
    let sshd = Sshd::start(Options::default()).await;
    sshd.simulator.set_offline(TARGET, true);

    let (code, out, err) = ended(&mut sshd.client("ssh", &["far", "true"]));

    assert_eq!((code, &out[..]), (255, ""), "{err}");
    let lines: Vec<_> = err.lines().collect();
    let [ours, theirs @ ..] = &lines[..] else {
        panic!("{err}")
    };
    assert!(
        ours.starts_with(&format!(
            "ssm-proxyd: {TARGET}: StartSession: TargetNotConnected: "
        )),
        "{err}"
    );
    assert!(ours.contains("; check that the target is running"), "{err}");
    assert!(
        theirs.iter().all(|line| line.contains("onnection closed")),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_killed_leaves_no_session() {
    for signal in ["KILL", "INT", "TERM", "HUP"] {
        let sshd = Sshd::start(Options::default()).await;
        let mut client = Process::start(&mut sshd.client("ssh", &["far", "echo up; sleep 600"]));
        client.stdout.wait_for("up");

        client.signal(signal);
        client.wait();

        sshd.settle().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_at_the_terminal_leaves_no_session() {
    let sshd = Sshd::start(Options::default()).await;
    let screen = Tmux::start(sshd.command("tmux"), "$SSH far 'echo up; sleep 600'");
    screen.until("up").await;

    screen.keys(&["C-c"]);

    screen.until("-ended").await;
    sshd.settle().await;
}

/// The only message without a failure: on a terminal, after two seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_start_is_reported_on_the_terminal() {
    let options = Options {
        api_delay: Duration::from_secs(5),
        ..Options::default()
    };
    let sshd = Sshd::start(options).await;
    let screen = Tmux::start(sshd.command("tmux"), "$SSH far 'echo up; sleep 600'");

    screen.until(&format!("still connecting to {TARGET}")).await;
    screen.until("up").await;
    screen.keys(&["C-c"]);

    screen.until("-ended").await;
    sshd.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_hours_survives_its_websockets() {
    let options = Options {
        faults: broken_every(400, DisconnectKind::Close(1000)),
        ..unpaced()
    };
    let sshd = Sshd::start(options).await;
    let script = "i=0; while [ $i -lt 40 ]; do echo $i; i=$((i+1)); sleep 0.1; done";

    let out = run(&mut sshd.client("ssh", &["far", script]));

    let expected: String = (0..40).map(|n| format!("{n}\n")).collect();
    assert_eq!(out, expected);
    sshd.settle().await;
    assert!(sshd.simulator.ledger().sessions[0].resumes >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_concurrent_logins_have_a_session_each() {
    let sshd = Sshd::start(unpaced()).await;
    let mut clients: Vec<_> = (0..8)
        .map(|n| {
            let echo = format!("echo {n}");
            Process::start(&mut sshd.client("ssh", &["far", &echo]))
        })
        .collect();

    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.exit_code(), 0, "{}", client.stderr.all());
        assert_eq!(client.stdout.all(), format!("{n}\n"));
    }

    sshd.settle().await;
    assert_eq!(sshd.simulator.ledger().started, 8);
}

/// The duration of `ssh host true`, directly and through us. Not a test but a manual measurement.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
#[expect(clippy::disallowed_methods, reason = "the time is measured")]
async fn measure_the_time_of_a_command() {
    let sshd = Sshd::start(Options::default()).await;
    let mut times = [Vec::new(), Vec::new()];
    // Alternating, so that other load on the machine affects both.
    for _ in 0..20 {
        for (host, times) in ["near", "far"].into_iter().zip(&mut times) {
            let begin = std::time::Instant::now();
            let mut client = sshd.client("ssh", &[host, "true"]);
            assert!(client.stdout(Stdio::null()).status().unwrap().success());
            times.push(begin.elapsed());
        }
    }
    for (host, times) in ["near", "far"].into_iter().zip(&mut times) {
        times.sort();
        println!("{host}: median {:?}, from {:?}", times[10], times[0]);
    }
    sshd.settle().await;
    for session in &sshd.simulator.ledger().sessions[..3] {
        println!(
            "StartSession answered {} us, connected {:?}, ready {:?}, first input {:?}",
            session.started_us - session.requested_us,
            session.connected_us.map(|at| at - session.requested_us),
            session.ready_us.map(|at| at - session.requested_us),
            session.first_input_us.map(|at| at - session.requested_us),
        );
    }
}

#[track_caller]
fn assert_same(sshd: &Sshd, one: &str, other: &str) {
    let hash = |name: &str| Sha256::digest(std::fs::read(sshd.path(name)).unwrap());
    assert_eq!(hash(one), hash(other), "{one} and {other}");
}
