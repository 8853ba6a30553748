//! File transfers through ssh: every byte, both ways.

use ssm_proxyd::sim::agent::Retransmission;
use ssm_proxyd::sim::{DisconnectKind, Options};

use super::assert_same;
use crate::support::in_process::{broken_every, unpaced};
use crate::support::payload::pattern;
use crate::support::sshd::{Sshd, run};

#[tokio::test(flavor = "multi_thread")]
async fn scp_and_sftp_carry_50_mib_both_ways() {
    let sshd = Sshd::start(unpaced()).await;
    std::fs::write(sshd.path("original"), pattern(7, LARGE)).unwrap();
    let far = |name: &str| format!("far:{}", sshd.name(name));
    let original = sshd.name("original");

    run(&mut sshd.client("scp", &["-q", &original, &far("scp-up")]));
    run(&mut sshd.client("scp", &["-q", &far("original"), &sshd.name("scp-down")]));
    let batch = format!(
        "put {original} {}\nget {original} {}\n",
        sshd.name("sftp-up"),
        sshd.name("sftp-down")
    );
    std::fs::write(sshd.path("batch"), batch).unwrap();
    run(&mut sshd.client("sftp", &["-q", "-b", &sshd.name("batch"), "far"]));

    for copy in ["scp-up", "scp-down", "sftp-up", "sftp-down"] {
        assert_same(&sshd, "original", copy);
    }
    sshd.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_are_complete_while_their_websockets_break() {
    for manner in [DisconnectKind::Reset, DisconnectKind::Close(1000)] {
        let mut options = Options {
            faults: broken_every(250, manner),
            ..unpaced()
        };
        // An agent that sends this many messages at once and retransmits them one by one would take
        // an hour.
        options.agent.retransmission = Retransmission::All;
        let sshd = Sshd::start(options).await;
        std::fs::write(sshd.path("original"), pattern(8, LARGE)).unwrap();
        let far = |name: &str| format!("far:{}", sshd.name(name));

        run(&mut sshd.client("scp", &["-q", &sshd.name("original"), &far("up")]));
        run(&mut sshd.client("scp", &["-q", &far("original"), &sshd.name("down")]));

        assert_same(&sshd, "original", "up");
        assert_same(&sshd, "original", "down");
        sshd.settle().await;
        let ledger = sshd.simulator.ledger();
        let resumes: Vec<_> = ledger.sessions.iter().map(|s| s.resumes).collect();
        assert!(resumes.iter().all(|resumes| *resumes >= 1), "{resumes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rsync_mirrors_a_tree_both_ways() {
    let sshd = Sshd::start(unpaced()).await;
    let tree = sshd.path("tree");
    for (n, len) in [(1, 0), (2, 1), (3, 100_000), (4, 3 << 20)] {
        let directory = tree.join(format!("d{n}"));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("file"), pattern(n, len)).unwrap();
    }
    let rsync = |from: &str, to: &str| {
        let mut rsync = sshd.command("rsync");
        let ssh = format!("ssh -F {}", sshd.name("ssh_config"));
        run(rsync.args(["-a", "-c", "--delete", "-e", &ssh, from, to]));
    };

    rsync(
        &format!("{}/", tree.display()),
        &format!("far:{}", sshd.name("up")),
    );
    rsync(&format!("far:{}/", sshd.name("up")), &sshd.name("down"));

    run(sshd
        .command("diff")
        .arg("-r")
        .arg(&tree)
        .arg(sshd.path("up")));
    run(sshd
        .command("diff")
        .arg("-r")
        .arg(&tree)
        .arg(sshd.path("down")));
    sshd.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn git_clones_and_pushes() {
    let sshd = Sshd::start(unpaced()).await;
    let git = |arguments: &[&str]| {
        let mut git = sshd.command("git");
        git.env(
            "GIT_SSH_COMMAND",
            format!("ssh -F {}", sshd.name("ssh_config")),
        )
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(["-c", "init.defaultBranch=main", "-c", "safe.directory=*"])
        .args(arguments);
        run(&mut git)
    };
    let (work, bare, clone) = (sshd.name("work"), sshd.name("bare"), sshd.name("clone"));
    git(&["init", "-q", &work]);
    std::fs::write(sshd.path("work/data"), pattern(9, 2 << 20)).unwrap();
    git(&["-C", &work, "add", "data"]);
    git(&["-C", &work, "commit", "-q", "-m", "data"]);
    git(&["clone", "-q", "--bare", &work, &bare]);

    git(&["clone", "-q", &format!("far:{bare}"), &clone]);
    std::fs::write(sshd.path("clone/more"), pattern(10, 1 << 20)).unwrap();
    git(&["-C", &clone, "add", "more"]);
    git(&["-C", &clone, "commit", "-q", "-m", "more"]);
    git(&["-C", &clone, "push", "-q"]);

    let head = |repository: &str| git(&["-C", repository, "rev-parse", "main"]);
    assert_same(&sshd, "work/data", "clone/data");
    assert_eq!(head(&bare), head(&clone));
    sshd.settle().await;
}

const LARGE: usize = 50 << 20;
