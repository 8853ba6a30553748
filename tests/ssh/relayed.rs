//! File transfers over `connect --relay`: a relay process beside the real sshd.

use std::fs::File;

use ssm_proxyd::sim::OneOffFault;

use super::assert_same;
use crate::relay::Relay;
use crate::support::in_process::{unpaced, until};
use crate::support::payload::pattern;
use crate::support::process::Process;
use crate::support::sshd::{Sshd, ended, run};

/// The option that makes a client of OpenSSH use the relay.
fn through(relay: &Relay) -> String {
    let (ours, port) = (env!("CARGO_BIN_EXE_ssm-proxyd"), relay.address.port());
    format!("ProxyCommand='{ours}' connect %h %p --relay {port}")
}

#[tokio::test(flavor = "multi_thread")]
async fn scp_copies_files_both_ways() {
    let sshd = Sshd::start(unpaced()).await;
    let relay = Relay::local();
    std::fs::write(sshd.path("original"), pattern(7, LARGE)).unwrap();
    let far = |name: &str| format!("far:{}", sshd.name(name));
    let option = through(&relay);
    let scp = |from: &str, to: &str| run(&mut sshd.client("scp", &["-q", "-o", &option, from, to]));

    scp(&sshd.name("original"), &far("up"));
    scp(&far("original"), &sshd.name("down"));

    assert_same(&sshd, "original", "up");
    assert_same(&sshd, "original", "down");
    sshd.settle().await;
    let sessions = sshd.simulator.ledger().sessions;
    let mut documents = sessions.iter().map(|session| session.document.as_str());
    assert!(documents.all(|document| document == "AWS-StartPortForwardingSession"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_complete_while_its_sessions_are_lost() {
    let sshd = Sshd::start(unpaced()).await;
    let relay = Relay::local();
    std::fs::write(sshd.path("original"), pattern(8, LARGE)).unwrap();
    let (far, near) = (format!("far:{}", sshd.name("original")), sshd.name("down"));
    let option = through(&relay);
    let mut scp = Process::start(&mut sshd.client("scp", &["-q", "-o", &option, &far, &near]));

    for count in 1..3_u64 {
        until("a part has arrived", || len(&sshd) >= count << 20).await;
        sshd.simulator.inject(None, OneOffFault::KillAgent);
        let is_replaced =
            || sshd.simulator.ledger().started as u64 > count || len(&sshd) == LARGE as u64;
        until("a lost session is replaced", is_replaced).await;
    }

    assert_eq!(scp.exit_code(), 0, "{}", scp.stderr.all());
    assert_same(&sshd, "original", "down");
    sshd.settle().await;
}

/// The length of the copy.
fn len(sshd: &Sshd) -> u64 {
    let file = std::fs::metadata(sshd.path("down"));
    file.map_or(0, |file| file.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn rsync_mirrors_a_tree_both_ways() {
    let sshd = Sshd::start(unpaced()).await;
    let relay = Relay::local();
    let tree = sshd.path("tree");
    for (n, len) in [(1, 0), (2, 1), (3, 100_000), (4, 3 << 20)] {
        let directory = tree.join(format!("d{n}"));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("file"), pattern(n, len)).unwrap();
    }
    let ssh = format!(
        "ssh -F {} -o \"{}\"",
        sshd.name("ssh_config"),
        through(&relay)
    );
    let rsync = |from: &str, to: &str| {
        let mut rsync = sshd.command("rsync");
        run(rsync.args(["-a", "-c", "--delete", "-e", &ssh, from, to]));
    };

    rsync(
        &format!("{}/", tree.display()),
        &format!("far:{}", sshd.name("up")),
    );
    rsync(&format!("far:{}/", sshd.name("up")), &sshd.name("down"));

    for copy in ["up", "down"] {
        let mut diff = sshd.command("diff");
        run(diff.arg("-r").arg(&tree).arg(sshd.path(copy)));
    }
    sshd.settle().await;
}

/// The end of stdin reaches the command, and its exit code is returned.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_reads_stdin_to_its_end() {
    let sshd = Sshd::start(unpaced()).await;
    let relay = Relay::local();
    std::fs::write(sshd.path("in"), pattern(9, 3 << 20)).unwrap();
    let option = through(&relay);
    let mut wc = sshd.client("ssh", &["-o", &option, "far", "wc -c; exit 5"]);

    let (code, out, err) = ended(wc.stdin(File::open(sshd.path("in")).unwrap()));

    assert_eq!((code, out.trim(), err.as_str()), (5, "3145728", ""));
    sshd.settle().await;
}

const LARGE: usize = 24 << 20;
