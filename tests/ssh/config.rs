//! `ssh-config`: ssh accepts its output, and `--remove` undoes `--install`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use ssm_proxyd::sim::Options;
use tempfile::TempDir;

use crate::support::in_process::TARGET;
use crate::support::process::{Process, ssm_proxyd};
use crate::support::sshd::{Sshd, run};

#[test]
fn ssh_accepts_the_printed_configuration() {
    let home = Home::new();
    let block = home.ours(&["--region", "eu-west-1", "--profile", "my prod"]);
    fs::write(home.path("block"), &block).unwrap();

    let command = proxy_command(&home.path("block"), "i-0123456789abcdef0");

    let ours = env!("CARGO_BIN_EXE_ssm-proxyd");
    assert_eq!(
        command.as_deref(),
        Some(&format!("{ours} connect --region eu-west-1 --profile 'my prod' %h %p")[..])
    );
    assert!(proxy_command(&home.path("block"), "mi-0123456789abcdef0").is_some());
    assert_eq!(proxy_command(&home.path("block"), "example.com"), None);
}

#[test]
fn the_file_of_the_option_is_in_the_command_of_ssh() {
    let home = Home::new();
    let file = home.path("my 100% 'config'.toml");
    fs::write(&file, "[aws]\nregion = \"eu-west-1\"\n").unwrap();

    home.ours(&["--install", "--config", file.to_str().unwrap()]);

    let ours = env!("CARGO_BIN_EXE_ssm-proxyd");
    let shown = home.path(r"my 100%% '\''config'\''.toml");
    let expected = format!("{ours} connect --config '{}' %h %p", shown.display());
    let command = proxy_command(&home.path(CONFIG), TARGET);
    assert_eq!(command.as_deref(), Some(expected.as_str()));
    let odd = home.path("two\nlines.toml");
    fs::copy(&file, &odd).unwrap();
    let mut process = home.start(&["--install", "--config", odd.to_str().unwrap()]);
    assert_eq!(process.exit_code(), 2);
    let output = process.stderr.all();
    assert!(output.contains("control character"), "{output}");
}

#[test]
fn an_include_is_installed_before_every_host_and_removed_byte_for_byte() {
    for text in [
        &b""[..],
        b"User me\n\nHost *\n  ProxyCommand none\n",
        b"Host bastion\n  HostName 192.0.2.1",
        b"# \xff no text\r\nHost a\r\n",
    ] {
        let home = Home::new();
        fs::create_dir(home.path(".ssh")).unwrap();
        fs::write(home.path(CONFIG), text).unwrap();
        set_mode(&home.path(CONFIG), 0o640);

        home.ours(&["--install"]);
        let once = fs::read(home.path(CONFIG)).unwrap();
        home.ours(&["--install", "--region", "eu-west-1"]);

        assert_eq!(
            fs::read(home.path(CONFIG)).unwrap(),
            once,
            "a second installation must change nothing"
        );
        assert!(once.ends_with(text));
        assert_eq!(mode(&home.path(CONFIG)), 0o640);
        let command = proxy_command(&home.path(CONFIG), TARGET);
        assert!(command.is_some_and(|c| c.contains("--region eu-west-1")));
        home.ours(&["--remove"]);
        assert_eq!(fs::read(home.path(CONFIG)).unwrap(), text);
        assert_eq!(mode(&home.path(CONFIG)), 0o640);
        home.ours(&["--remove"]);
        assert_eq!(home.files(".ssh"), ["config"]);
    }
}

#[test]
fn a_file_created_by_the_installation_is_removed() {
    let home = Home::new();

    home.ours(&["--remove"]);
    assert!(!home.path(".ssh").exists());
    home.ours(&["--install"]);
    assert_eq!(home.files(".ssh"), ["config", "ssm-proxyd.config"]);
    assert_eq!(mode(&home.path(".ssh")), 0o700);
    assert_eq!(mode(&home.path(CONFIG)), 0o600);
    assert!(proxy_command(&home.path(CONFIG), TARGET).is_some());
    home.ours(&["--remove"]);

    assert_eq!(home.files(".ssh"), [""; 0]);
}

#[test]
fn a_symbolic_link_stays_a_symbolic_link() {
    let home = Home::new();
    fs::create_dir(home.path(".ssh")).unwrap();
    fs::create_dir(home.path("dotfiles")).unwrap();
    fs::write(home.path("dotfiles/ssh"), "User me\n").unwrap();
    symlink("../dotfiles/ssh", home.path(CONFIG)).unwrap();

    home.ours(&["--install"]);
    assert!(
        fs::symlink_metadata(home.path(CONFIG))
            .unwrap()
            .is_symlink()
    );
    let installed = fs::read_to_string(home.path("dotfiles/ssh")).unwrap();
    home.ours(&["--remove"]);

    assert!(installed.contains("Include") && installed.ends_with("User me\n"));
    assert!(
        fs::symlink_metadata(home.path(CONFIG))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(fs::read(home.path("dotfiles/ssh")).unwrap(), b"User me\n");
    assert_eq!(home.files("dotfiles"), ["ssh"]);
}

#[test]
fn a_failure_reports_which_files_were_changed() {
    for (user, own, words) in [
        ("nowhere", None, "no file was changed"),
        (PROC, Some(PROC), "no file was changed"),
        (PROC, None, "/.ssh/ssm-proxyd.config was changed, "),
    ] {
        let home = Home::new();
        fs::create_dir(home.path(".ssh")).unwrap();
        symlink(user, home.path(CONFIG)).unwrap();
        if let Some(own) = own {
            symlink(own, home.path(OWN)).unwrap();
        }

        let mut process = home.start(&["--install"]);

        assert_eq!(process.exit_code(), 1);
        let said = process.stderr.all();
        let is_told = said.contains(words) && said.contains(" hint: ");
        assert!(is_told && said.contains(".ssh/"), "{said}");
        let is_changed = words.contains("was changed,");
        assert_eq!(
            home.path(OWN).exists(),
            is_changed || own.is_some(),
            "{said}"
        );
    }
}

#[test]
fn a_removal_that_fails_halfway_is_reported() {
    let home = Home::new();
    home.ours(&["--install"]);
    fs::remove_file(home.path(OWN)).unwrap();
    fs::create_dir(home.path(OWN)).unwrap();

    let mut process = home.start(&["--remove"]);

    assert_eq!(process.exit_code(), 1);
    let said = process.stderr.all();
    let words = [
        "/.ssh/config was changed, ",
        "/.ssh/ssm-proxyd.config was not",
    ];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    assert!(!home.path(CONFIG).exists());
}

/// The whole path, with the region in the host name.
#[tokio::test(flavor = "multi_thread")]
async fn ssh_logs_in_with_the_installed_configuration() {
    let sshd = Sshd::start(Options::default()).await;
    let home = Home::new();
    home.ours(&["--install", "--region", "xx-nowhere-9"]);
    let own = fs::read_to_string(sshd.path("ssh_config")).unwrap();
    let without = own.split("Host far i-*").next().unwrap();
    let config = fs::read_to_string(home.path(CONFIG)).unwrap();
    fs::write(home.path("both"), format!("{config}\n{without}")).unwrap();

    let host = format!("{TARGET}.us-east-1");
    let mut ssh = sshd.command("ssh");
    let output = run(ssh
        .arg("-F")
        .arg(home.path("both"))
        .args([&host, "echo hello"]));

    assert_eq!(output, "hello\n");
    sshd.settle().await;
}

#[test]
fn an_alias_of_an_id_is_matched_and_other_hosts_are_not() {
    let home = Home::new();
    let aliases = "Host bastion\n  HostName i-0123456789abcdef0\n\
        Host far\n  HostName mi-0123456789abcdef0.us-gov-west-1\n\
        Host role\n  HostName tag:Role=Bastion\n\
        Host web\n  HostName web-1\n\
        Host plain\n  HostName 192.0.2.1\n";
    fs::create_dir(home.path(".ssh")).unwrap();
    fs::write(home.path(CONFIG), aliases).unwrap();
    home.ours(&["--install"]);
    let captured = |host: &str| proxy_command(&home.path(CONFIG), host).is_some();

    for host in [
        "bastion",
        "far",
        "role",
        "i-01234567",
        "i-01234567.eu-west-1",
        "i-0123456789abcdef0",
        "mi-0123456789abcdef0.eu-west-1",
        "tag:Role=Bastion",
    ] {
        assert!(captured(host), "{host}");
    }
    for host in [
        "web",
        "web-1",
        "plain",
        "192.0.2.1",
        "example.com",
        "i-love.example.com",
        "i-0123456789abcdef0.example.com",
        "i-am-a-host",
        "mi-casa",
        "tag",
    ] {
        assert!(!captured(host), "{host}");
    }

    home.ours(&["--install", "--host", "web-*", "--host", "!web-old"]);
    for host in ["web", "web-1", "web-2", "bastion"] {
        assert!(captured(host), "{host}");
    }
    for host in ["web-old", "plain", "example.com"] {
        assert!(!captured(host), "{host}");
    }

    home.ours(&["--install", "--old-ssh", "--host", "web"]);
    for host in ["web", "i-0123456789abcdef0"] {
        assert!(captured(host), "{host}");
    }
    assert!(!captured("bastion"), "an old ssh compares the alias only");
}

/// The aliases are in the user's own file; ssh passes the `HostName` to `connect`.
#[tokio::test(flavor = "multi_thread")]
async fn ssh_logs_in_by_an_alias_a_tag_and_a_name() {
    let name = [("Name", "web-1"), ("Role", "Bastion")];
    let name = name.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let sshd = Sshd::start(Options {
        nodes: [(TARGET.to_owned(), name.into())].into(),
        ..Options::default()
    })
    .await;
    let home = Home::new();
    home.ours(&["--install", "--host", "web-*"]);
    let own = fs::read_to_string(sshd.path("ssh_config")).unwrap();
    let without = own.split("Host near\n").next().unwrap();
    let without = without.replace("Host near far nowhere i-*", "Host *");
    let config = fs::read_to_string(home.path(CONFIG)).unwrap();
    let aliases = format!(
        "Host bastion\nHostName {TARGET}\nHost elsewhere\nHostName {TARGET}.us-east-1\n\
         Host role\nHostName tag:Role=Bastion\nHost web\nHostName web-1\n"
    );
    fs::write(home.path("all"), format!("{config}\n{aliases}{without}")).unwrap();

    for host in [
        "bastion",
        "elsewhere",
        "role",
        "web",
        "web-1",
        "tag:Role=Bastion",
    ] {
        let mut ssh = sshd.command("ssh");
        let ssh = ssh.arg("-F").arg(home.path("all"));
        let output = run(ssh.args([host, "echo hello"]));

        assert_eq!(output, "hello\n", "{host}");
    }

    sshd.settle().await;
    let sessions = sshd.simulator.ledger().sessions;
    assert_eq!(sessions.len(), 6);
    assert!(sessions.iter().all(|session| session.target == TARGET));
}

/// The home directory of a user.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn start(&self, arguments: &[&str]) -> Process {
        let mut command = ssm_proxyd();
        command.env("HOME", self.0.path()).arg("ssh-config");
        Process::start(command.args(arguments))
    }

    /// Runs `ssh-config`, which must succeed.
    fn ours(&self, arguments: &[&str]) -> String {
        let mut process = self.start(arguments);
        assert_eq!(process.exit_code(), 0, "{}", process.stderr.all());
        assert_eq!(process.stderr.all(), "");
        process.stdout.all()
    }

    fn files(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(directory)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

/// The settings of ssh for a host.
fn proxy_command(config: &Path, host: &str) -> Option<String> {
    let mut ssh = Command::new("ssh");
    let output = run(ssh.args(["-G", "-F"]).arg(config).arg(host));
    let mut lines = output.lines();
    lines.find_map(|line| line.strip_prefix("proxycommand ").map(str::to_owned))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

const CONFIG: &str = ".ssh/config";
/// Beside it no file can be created, even by root.
const PROC: &str = "/proc/version";
const OWN: &str = ".ssh/ssm-proxyd.config";
