//! `hosts` and `listen = "hosts"`: clients use the real name of a remote host.

mod clients;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::cli::ended;
use crate::support::daemon_process::File;
use crate::support::process::ssm_proxyd;

/// A configuration and a hosts file.
struct Fixture {
    config: File,
    directory: TempDir,
}

impl Fixture {
    fn new(forwards: &str, hosts: &[u8]) -> Self {
        let fixture = Self {
            config: File::new(forwards),
            directory: tempfile::tempdir().unwrap(),
        };
        fs::write(fixture.hosts(), hosts).unwrap();
        fs::set_permissions(fixture.hosts(), PermissionsExt::from_mode(0o644)).unwrap();
        fixture
    }

    fn hosts(&self) -> PathBuf {
        self.directory.path().join("hosts")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.hosts()).unwrap()
    }

    /// `hosts` with these options.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = ssm_proxyd();
        command.arg("hosts").args(arguments);
        command.arg("--file").arg(self.hosts());
        if !arguments.contains(&"--remove") {
            command.arg("--config").arg(self.config.path());
        }
        ended(&mut command)
    }
}

fn forward(name: &str, listen: &str, remote: &str) -> String {
    format!(
        "[[forward]]\nname = \"{name}\"\nlisten = \"{listen}\"\n\
         target = \"i-0123456789abcdef0\"\nremote = \"{remote}\"\n"
    )
}

const LOCALHOST: &[u8] = b"127.0.0.1\tlocalhost\n\n# kept\r\n";

#[test]
fn names_are_printed_installed_replaced_and_removed() {
    let orders = forward("orders", "hosts", "orders.internal:5432");
    let cache = forward("cache", "localhost:6379", "cache.internal:6379");
    let fixture = Fixture::new(&(orders + &cache), LOCALHOST);
    let block = "# BEGIN ssm-proxyd hosts\n127.126.0.18 orders.internal\n# END ssm-proxyd hosts\n";
    let kept = String::from_utf8(LOCALHOST.to_vec()).unwrap();

    let (code, out, output) = fixture.run(&[]);
    assert_eq!((code, out.as_str()), (0, block), "{output}");
    let expected = "note: orders listens on 127.126.0.18:5432 for orders.internal:5432\n\
        note: cache: cache.internal is left out: the forward does not listen on 127.";
    assert!(output.starts_with(expected), "{output}");
    assert_eq!(fixture.text(), kept, "nothing is written without --install");

    for _ in 0..2 {
        let (code, out, output) = fixture.run(&["--install"]);
        assert_eq!(code, 0, "{output}");
        assert!(out.ends_with("has 1 name of ssm-proxyd\n"), "{out}");
        assert_eq!(fixture.text(), kept.clone() + block);
    }
    let mode = fs::metadata(fixture.hosts()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o644);
    let entries = fs::read_dir(fixture.directory.path()).unwrap().count();
    assert_eq!(entries, 1, "no temporary file is left");

    let appended = fixture.text() + "10.0.0.1 later\n";
    fs::write(fixture.hosts(), &appended).unwrap();
    let both = forward("orders", "hosts", "orders.internal:5432")
        + &forward("db", "hosts:5433", "db:5432");
    let changed = Fixture::new(&both, appended.as_bytes());
    assert_eq!(changed.run(&["--install"]).0, 0);
    let lines = "127.76.153.220 db\n127.126.0.18 orders.internal\n";
    let block = format!("# BEGIN ssm-proxyd hosts\n{lines}# END ssm-proxyd hosts\n");
    assert_eq!(changed.text(), format!("{kept}{block}10.0.0.1 later\n"));

    for answer in ["removed the lines", "has no lines"] {
        let (code, out, output) = changed.run(&["--remove"]);
        assert_eq!(code, 0, "{output}");
        assert!(out.contains(answer), "{out}");
        assert_eq!(changed.text(), format!("{kept}10.0.0.1 later\n"));
    }
}

#[test]
fn a_name_with_another_line_and_a_damaged_block_are_left_as_they_are() {
    let forwards = forward("orders", "hosts", "orders.internal:5432")
        + &forward("db", "hosts", "db.internal:5432");
    let named = Fixture::new(&forwards, b"10.0.0.9 x Orders.Internal # by hand\n");

    let (code, _, output) = named.run(&["--install"]);

    assert_eq!(code, 0, "{output}");
    assert!(
        output.contains("orders.internal is left out: line 1 of"),
        "{output}"
    );
    let text = named.text();
    assert!(
        text.contains(" db.internal\n") && !text.contains(" orders.internal"),
        "{text}"
    );

    let damaged = "a\n# BEGIN ssm-proxyd hosts\nb\n";
    let fixture = Fixture::new(&forwards, damaged.as_bytes());
    for option in ["--install", "--remove"] {
        let (code, out, output) = fixture.run(&[option]);
        assert_eq!((code, out.as_str()), (1, ""), "{output}");
        assert!(
            output.contains("line 2: `# BEGIN ssm-proxyd hosts` without"),
            "{output}"
        );
        assert_eq!(fixture.text(), damaged);
    }
}

#[test]
fn a_backup_of_an_interrupted_run_is_named_and_kept() {
    let forwards = forward("orders", "hosts", "orders.internal:5432");
    let damaged = b"127.0.0.1 localhost\n# BEGIN ssm-proxyd hosts\n";
    let fixture = Fixture::new(&forwards, damaged);
    let backup = fixture.directory.path().join("hosts.ssm-proxyd-backup");
    fs::write(&backup, LOCALHOST).unwrap();
    let found = fs::canonicalize(&backup).unwrap();
    let note = format!("note: {} is the former content", found.display());

    for options in [&["--install"][..], &["--remove"], &[]] {
        let (code, _, output) = fixture.run(options);
        assert_eq!(code, 1, "{output}");
        assert!(output.contains(&note), "{output}");
    }
    fs::write(fixture.hosts(), LOCALHOST).unwrap();
    let (code, _, output) = fixture.run(&["--install"]);

    assert_eq!(code, 0, "{output}");
    assert!(output.contains(&note), "{output}");
    assert_eq!(fs::read(&backup).unwrap(), LOCALHOST);
}

#[test]
fn a_link_is_followed_and_a_missing_file_is_created_for_every_user() {
    let forwards = forward("orders", "hosts", "orders.internal:5432");
    let fixture = Fixture::new(&forwards, LOCALHOST);
    let target = fixture.directory.path().join("target");
    fs::rename(fixture.hosts(), &target).unwrap();
    symlink(&target, fixture.hosts()).unwrap();

    assert_eq!(fixture.run(&["--install"]).0, 0);

    assert!(fs::symlink_metadata(fixture.hosts()).unwrap().is_symlink());
    assert!(
        fs::read_to_string(&target)
            .unwrap()
            .contains("orders.internal")
    );
    fs::remove_file(&target).unwrap();
    assert_eq!(fixture.run(&["--install"]).0, 1, "a link to nothing");
    fs::remove_file(fixture.hosts()).unwrap();
    assert_eq!(fixture.run(&["--install"]).0, 0);
    let mode = fs::metadata(fixture.hosts()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(fixture.run(&["--remove"]).0, 0);
    assert_eq!(fixture.text(), "");
}

#[test]
fn errors_have_a_remedy_and_change_nothing() {
    let fixture = Fixture::new(&forward("f", "localhost:1", "a.internal:1"), LOCALHOST);

    let (code, _, output) = fixture.run(&["--install"]);
    assert_eq!(code, 2, "{output}");
    assert!(
        output.contains("write `listen = \"hosts\"` in a forward"),
        "{output}"
    );
    let (code, out, _) = fixture.run(&[]);
    assert_eq!((code, out.as_str()), (0, ""));
    assert_eq!(fixture.text().as_bytes(), LOCALHOST);

    let both = ["hosts", "--install", "--remove"];
    assert_eq!(ended(ssm_proxyd().args(both)).0, 2);
    let fifo = fixture.directory.path().join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let (config, path) = (fixture.config.path(), fifo.to_str().unwrap());
    let arguments = ["hosts", "--install", "--file", path, "--config"];
    let (code, _, output) = ended(ssm_proxyd().args(arguments).arg(config));
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("not a regular file"), "{output}");
    let directory = ["hosts", "--remove", "--file", "/"];
    let (code, _, output) = ended(ssm_proxyd().args(directory));
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("error: /: it is a directory"), "{output}");
}

/// Another user than root, if these tests run as root.
#[test]
fn without_root_the_error_says_what_to_run() {
    let trial = as_nobody().arg("--version").output();
    if !trial.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: not root, setpriv is not installed, or the build is private");
        return;
    }
    let fixture = Fixture::new(&forward("f", "hosts", "orders.internal:1"), LOCALHOST);
    let config = fixture.config.path();
    for path in [config.parent().unwrap(), fixture.directory.path()] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&config, PermissionsExt::from_mode(0o644)).unwrap();
    let mut command = as_nobody();
    command.args(["hosts", "--install", "--file"]);
    command.arg(fixture.hosts()).arg("--config").arg(&config);

    let (code, _, output) = ended(&mut command);

    assert_eq!(code, 1, "{output}");
    assert!(output.contains("permission denied"), "{output}");
    let path = config.display();
    let sudo = format!("`sudo ssm-proxyd hosts --install --config {path}");
    assert!(output.contains(&sudo), "{output}");
    assert_eq!(fixture.text().as_bytes(), LOCALHOST);
}

/// The program as another user.
fn as_nobody() -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(env!("CARGO_BIN_EXE_ssm-proxyd"))
        .stdin(Stdio::null());
    command
}
