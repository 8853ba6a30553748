//! `init`: the file that it writes is valid, and no file is changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use ssm_proxyd::config;
use ssm_proxyd::sim::{Options, Simulator};

use crate::support::daemon_process::{caller, is_root};
use crate::support::process::{Process, ssm_proxyd};

/// Runs a command; returns exit code, stdout and stderr.
fn run(command: &mut Command) -> (i32, String, String) {
    let mut process = Process::start(command);
    let code = process.exit_code();
    (code, process.stdout.all(), process.stderr.all())
}

/// Sets the home directory, in which there is no file.
fn of_user<'a>(command: &'a mut Command, home: &Path) -> &'a mut Command {
    let command = command.env("HOME", home).env_remove("XDG_CONFIG_HOME");
    command.env_remove("SSM_PROXYD_CONFIG")
}

/// The command with the home directory of a user.
fn init(home: &Path) -> Command {
    let mut command = ssm_proxyd();
    of_user(&mut command, home).arg("init");
    command
}

#[test]
fn the_file_is_written_where_run_looks_for_it_and_is_valid() {
    let home = tempfile::tempdir().unwrap();
    let mut command = init(home.path());
    command.args(["--target", "i-0123456789abcdef0"]);
    command.args(["--remote", "orders.internal:5432", "--region", "eu-west-1"]);

    let (code, stdout, stderr) = run(&mut command);

    let path = home.path().join(".config/ssm-proxyd/config.toml");
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout, format!("{}\n", path.display()));
    assert!(stderr.contains("`ssm-proxyd doctor` checks it"), "{stderr}");
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, if is_root() { 0o644 } else { 0o600 });
    let config = config::read(&path).unwrap();
    let forward = &config.forwards[0];
    assert_eq!(forward.name, "orders");
    assert_eq!(forward.listen[0].to_string(), "localhost:5432");
    assert_eq!(forward.remote.to_string(), "orders.internal:5432");
    assert_eq!(config.aws.region.as_deref(), Some("eu-west-1"));
    let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(left, 1, "no other file is left");
    let mut check = ssm_proxyd();
    of_user(&mut check, home.path()).arg("check");
    assert_eq!(run(&mut check).0, 0);
}

#[test]
fn the_file_of_the_environment_comes_first_and_its_directory_is_created() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("new/directory/my.toml");
    let mut command = init(home.path());
    command.args(["--target", "bastion"]);
    command.env("SSM_PROXYD_CONFIG", &path);

    let (code, _, stderr) = run(&mut command);

    assert_eq!(code, 0, "{stderr}");
    assert!(config::read(&path).is_ok());
    assert!(!home.path().join(".config").exists());
}

#[test]
fn the_commands_for_another_file_can_be_pasted() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("it's mine.toml");
    let mut command = init(home.path());
    command.args(["--target", "bastion", "--output"]).arg(&path);

    let (code, _, stderr) = run(&mut command);

    assert_eq!(code, 0, "{stderr}");
    let word = path.display().to_string().replace('\'', r"'\''");
    let next = format!("`ssm-proxyd run --config '{word}'` starts it");
    assert!(stderr.contains(&next), "{stderr}");
}

#[test]
fn an_existing_file_or_link_is_not_changed() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("mine.toml");
    fs::write(&file, "mine").unwrap();
    let link = home.path().join("link.toml");
    std::os::unix::fs::symlink(home.path().join("nowhere"), &link).unwrap();
    for path in [&file, &link] {
        let mut command = init(home.path());
        command.args(["--target", "bastion", "--output"]).arg(path);

        let (code, stdout, stderr) = run(&mut command);

        assert_eq!((code, stdout.as_str()), (78, ""), "{stderr}");
        assert!(stderr.contains("exists; it is not changed"), "{stderr}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert!(!home.path().join("nowhere").exists());
}

#[test]
fn a_directory_that_cannot_be_created_is_reported() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    let mut command = init(home.path());
    command.args(["--target", "bastion", "--output"]);

    let (code, stdout, stderr) = run(command.arg(file.join("x.toml")));

    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    let expected = format!("cannot create the directory {}", file.display());
    assert!(stderr.contains(&expected), "{stderr}");
}

#[test]
fn the_file_can_be_printed() {
    let home = tempfile::tempdir().unwrap();
    let mut command = init(home.path());
    command.args([
        "--target",
        "tag:Role=\"jump\"",
        "--remote",
        "389",
        "--output",
        "-",
    ]);

    let (code, text, stderr) = run(&mut command);

    assert_eq!((code, stderr.as_str()), (0, ""));
    let config = config::parse(&text).unwrap();
    assert_eq!(config.forwards[0].name, "port-389");
    assert_eq!(config.forwards[0].listen[0].to_string(), "localhost:10389");
    assert!(!home.path().join(".config").exists());
}

#[test]
fn bad_values_are_usage_errors() {
    let home = tempfile::tempdir().unwrap();
    for arguments in [
        &["--target", "i-12"][..],
        &["--target", "bastion", "--remote", "host"],
        &["--target", "bastion", "--listen", "0.0.0.0:1"],
        &["--target", "bastion", "--name", "a b"],
        &["--target", "bastion", "--region", "nowhere"],
        &["--target", "ba*stion"],
    ] {
        let mut command = init(home.path());

        let (code, stdout, stderr) = run(command.args(arguments));

        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(!home.path().join(".config").exists(), "{arguments:?}");
    }
}

async fn with_nodes(nodes: &[&str]) -> Simulator {
    let nodes = nodes.iter().map(|id| ((*id).to_owned(), BTreeMap::new()));
    let options = Options {
        nodes: nodes.collect(),
        offline: ["i-0000000000000000f".to_owned()].into(),
        ..Options::default()
    };
    Simulator::start(options).await.unwrap()
}

fn found(simulator: &Simulator, home: &Path) -> (i32, String, String) {
    let mut command = caller(simulator);
    of_user(&mut command, home).env("AWS_REGION", "us-east-1");
    command.env("AWS_ENDPOINT_URL_SSM", simulator.endpoint());
    run(command.arg("init"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_node_that_is_online_is_used() {
    let home = tempfile::tempdir().unwrap();
    let simulator = with_nodes(&["i-0000000000000000a", "i-0000000000000000f"]).await;

    let (code, path, stderr) = found(&simulator, home.path());

    assert_eq!(code, 0, "{stderr}");
    let config = config::read(Path::new(path.trim())).unwrap();
    let forward = &config.forwards[0];
    assert_eq!(forward.target.to_string(), "i-0000000000000000a");
    assert_eq!(config.aws.region.as_deref(), Some("us-east-1"));
    assert_eq!(forward.remote.to_string(), "localhost:22");
    assert_eq!(forward.listen[0].to_string(), "localhost:2222");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_nodes_one_must_be_chosen() {
    let home = tempfile::tempdir().unwrap();
    let simulator = with_nodes(&["i-0000000000000000a", "i-0000000000000000b"]).await;

    let (code, stdout, stderr) = found(&simulator, home.path());

    assert_eq!((code, stdout.as_str()), (78, ""), "{stderr}");
    assert!(stderr.contains("2 managed nodes"), "{stderr}");
    assert!(stderr.contains("i-0000000000000000b"), "{stderr}");
    assert!(stderr.contains("ssm-proxyd targets --online"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_node_that_is_online_nothing_is_written() {
    let home = tempfile::tempdir().unwrap();
    let simulator = with_nodes(&["i-0000000000000000f"]).await;

    let (code, _, stderr) = found(&simulator, home.path());

    assert_eq!(code, 69, "{stderr}");
    assert!(!home.path().join(".config").exists());
}
