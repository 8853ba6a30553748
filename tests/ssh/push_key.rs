//! Logins with a key that the instance does not have: it is pushed at each connection.

use std::fs;
use std::process::Command;

use ssm_proxyd::sim::Options;

use crate::support::in_process::TARGET;
use crate::support::process::{Process, ssm_proxyd};
use crate::support::sshd::{Sshd, ended, run, user};

#[tokio::test(flavor = "multi_thread")]
async fn ssh_logs_in_with_a_key_that_is_only_pushed() {
    let sshd = Sshd::start_without_keys(Options::default()).await;
    let public = sshd.name("user.pub");
    let pushing = installed(&sshd, &["--push-key", &public]);

    let (code, _, refused) = ended(&mut sshd.client("ssh", &["far", "true"]));
    let login = |host: &str| {
        run(sshd
            .command("ssh")
            .args(["-F", &pushing, host, "echo hello"]))
    };
    let hosts = [TARGET, &format!("{TARGET}.us-east-1"), "bastion"];
    let outputs = hosts.map(login);

    assert_eq!(code, 255, "{refused}");
    assert!(refused.contains("Permission denied"), "{refused}");
    assert_eq!(outputs, ["hello\n"; 3]);
    let keys = simulator_keys(&sshd);
    let text = fs::read_to_string(public).unwrap();
    let key = text.rsplit_once(' ').unwrap().0;
    assert_eq!(keys, vec![format!("{TARGET} {} {key}", user()); 3]);
    sshd.settle().await;
}

/// As with `ssh-add -l`: the agent has the private key, and there is only a `.pub` file.
#[tokio::test(flavor = "multi_thread")]
async fn the_private_key_may_be_in_the_agent_of_ssh_only() {
    let sshd = Sshd::start_without_keys(Options::default()).await;
    fs::create_dir(sshd.path("other")).unwrap();
    fs::copy(sshd.path("user.pub"), sshd.path("other/key.pub")).unwrap();
    let socket = sshd.name("agent");
    let mut agent = Process::start(Command::new("ssh-agent").args(["-D", "-a", &socket]));
    agent.stdout.wait_for("SSH_AUTH_SOCK");
    run(Command::new("ssh-add")
        .env("SSH_AUTH_SOCK", &socket)
        .arg(sshd.path("user")));
    let pushing = installed(&sshd, &["--push-key", &sshd.name("other/key.pub")]);

    let mut ssh = sshd.command("ssh");
    ssh.env("SSH_AUTH_SOCK", &socket);
    let output = run(ssh.args(["-F", &pushing, TARGET, "echo hello"]));

    assert_eq!(output, "hello\n");
    agent.end("TERM");
    sshd.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_shows_why_the_key_was_not_pushed() {
    let sshd = Sshd::start_without_keys(Options::default()).await;
    sshd.fail_push("AccessDeniedException");
    let pushing = installed(&sshd, &["--push-key", &sshd.name("user.pub")]);

    let mut ssh = sshd.command("ssh");
    let (code, _, error) = ended(ssh.args(["-F", &pushing, TARGET, "true"]));

    assert_eq!(code, 255, "{error}");
    assert!(
        error.contains("ec2-instance-connect:SendSSHPublicKey"),
        "{error}"
    );
    sshd.settle().await;
}

#[test]
fn the_usual_key_of_the_user_is_found_and_other_nodes_get_none() {
    let home = tempfile::tempdir().unwrap();
    let ssh = home.path().join(".ssh");
    fs::create_dir(&ssh).unwrap();
    let config = |arguments: &[&str]| {
        let mut command = ssm_proxyd();
        command.env("HOME", home.path()).arg("ssh-config");
        ended(command.args(arguments))
    };
    let (code, _, output) = config(&["--push-key"]);
    assert_eq!(code, 2, "{output}");
    assert!(output.contains("ssh-keygen -t ed25519"), "{output}");
    let mut create = Command::new("ssh-keygen");
    create.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
    run(create.arg(ssh.join("id_ed25519")));
    let (code, _, output) = config(&["--push-key", ssh.join("id_ed25519").to_str().unwrap()]);
    assert_eq!(code, 2, "{output}");
    assert!(
        output.contains("this is a private key; it was not sent"),
        "{output}"
    );

    let (code, block, output) = config(&["--push-key", "--region", "eu-west-1"]);

    assert_eq!(code, 0, "{output}");
    fs::write(home.path().join("block"), block).unwrap();
    let settings = |host: &str| {
        let mut ssh = Command::new("ssh");
        ssh.arg("-G")
            .arg("-F")
            .arg(home.path().join("block"))
            .arg(host);
        run(&mut ssh)
    };
    let key = ssh.join("id_ed25519").display().to_string();
    let (instance, other) = (settings(TARGET), settings("mi-0123456789abcdef0"));
    let expected = format!("connect --region eu-west-1 --push-key {key}.pub --user %r %h %p\n");
    assert!(instance.contains(&expected), "{instance}");
    assert!(
        instance.contains(&format!("identityfile {key}\n")),
        "{instance}"
    );
    assert!(instance.contains("identitiesonly yes\n"), "{instance}");
    assert!(
        other.contains("connect --region eu-west-1 %h %p\n"),
        "{other}"
    );
    assert!(other.contains("identitiesonly no\n"), "{other}");
}

/// The keys that were pushed, with instance and user.
fn simulator_keys(sshd: &Sshd) -> Vec<String> {
    let keys = sshd.simulator.ledger().pushed_keys.into_iter();
    let keys = keys.map(|key| format!("{} {} {}", key.instance, key.user, key.key));
    keys.collect()
}

/// The name of a file with the printed block, and the settings for this sshd.
fn installed(sshd: &Sshd, arguments: &[&str]) -> String {
    let mut command = ssm_proxyd();
    command.env("HOME", sshd.path("")).arg("ssh-config");
    let block = run(command.args(arguments));
    let own = fs::read_to_string(sshd.path("ssh_config")).unwrap();
    let own = own.split("Host near\n").next().unwrap();
    let own: Vec<_> = own
        .lines()
        .filter(|line| !line.starts_with("Identit"))
        .collect();
    let own = own.join("\n").replacen("Host near", "Host near bastion", 1);
    let alias = format!("Host bastion\nHostName {TARGET}\n");
    fs::write(sshd.path("pushing"), format!("{block}{own}\n{alias}")).unwrap();
    sshd.name("pushing")
}
