//! Sockets that are bound, replaced, refused and removed, on real paths.

use std::io::ErrorKind;
use std::os::unix::net;

use tempfile::TempDir;

use super::*;

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn is_in_use(outcome: Result<SocketFile, ListenErrorKind>) -> bool {
    matches!(outcome, Err(ListenErrorKind::InUse))
}

#[tokio::test]
async fn the_file_has_the_mode_whatever_the_umask() {
    let directory = directory();

    for wanted in [0o600, 0o660, 0o666, 0o777, 0o200] {
        let path = directory.path().join(format!("{wanted:o}.sock"));
        let _socket = SocketFile::bind(&path, wanted).await.unwrap();

        assert_eq!(mode(&path), wanted, "{wanted:o}");
    }
}

/// The permissions before `widen`, with which the file is created.
#[test]
fn the_file_is_never_open_to_more_than_the_mode() {
    let directory = directory();

    for wanted in [0o600, 0o660, 0o666, 0o200] {
        let path = directory.path().join(format!("{wanted:o}.sock"));
        let socket = socket(wanted).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();

        assert_eq!(mode(&path) & !wanted, 0, "{wanted:o}");
    }
}

#[tokio::test]
async fn a_connection_is_accepted_and_the_file_is_removed_on_drop() {
    let directory = directory();
    let path = directory.path().join("a.sock");

    let socket = SocketFile::bind(&path, 0o600).await.unwrap();
    let _client = net::UnixStream::connect(&path).unwrap();
    socket.accept().await.unwrap();
    drop(socket);

    assert!(!path.exists());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let directory = directory();
    let path = directory.path().join("a.sock");
    drop(net::UnixListener::bind(&path).unwrap());

    let socket = SocketFile::bind(&path, 0o600).await.unwrap();

    let _client = net::UnixStream::connect(&path).unwrap();
    socket.accept().await.unwrap();
}

#[tokio::test]
async fn a_socket_in_use_is_not_replaced_and_gets_no_connection() {
    let directory = directory();
    let path = directory.path().join("a.sock");
    let held = net::UnixListener::bind(&path).unwrap();
    held.set_nonblocking(true).unwrap();

    assert!(is_in_use(SocketFile::bind(&path, 0o600).await));

    assert_eq!(held.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    net::UnixStream::connect(&path).unwrap();
    held.accept().unwrap();
}

#[tokio::test]
async fn a_socket_that_is_bound_and_does_not_listen_yet_is_not_replaced() {
    let directory = directory();
    let path = directory.path().join("a.sock");
    let newer = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    newer.bind(&SockAddr::unix(&path).unwrap()).unwrap();

    assert!(is_in_use(SocketFile::bind(&path, 0o600).await));
    assert!(path.exists());
}

#[tokio::test]
async fn a_datagram_socket_is_not_replaced() {
    let directory = directory();
    let path = directory.path().join("a.sock");
    let _held = net::UnixDatagram::bind(&path).unwrap();

    assert!(is_in_use(SocketFile::bind(&path, 0o600).await));
    assert!(path.exists());
}

#[tokio::test]
async fn what_is_not_a_socket_is_never_removed() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("file"), "precious").unwrap();
    fs::create_dir(at("directory")).unwrap();
    drop(net::UnixListener::bind(at("dead.sock")).unwrap());
    std::os::unix::fs::symlink(at("dead.sock"), at("link")).unwrap();
    std::os::unix::fs::symlink(at("nowhere"), at("dangling")).unwrap();

    for name in ["file", "directory", "link", "dangling"] {
        let outcome = SocketFile::bind(&at(name), 0o600).await;

        assert!(
            matches!(outcome, Err(ListenErrorKind::NotASocket)),
            "{name}: {outcome:?}"
        );
        assert!(fs::symlink_metadata(at(name)).is_ok(), "{name}");
    }
    assert_eq!(fs::read_to_string(at("file")).unwrap(), "precious");
}

#[tokio::test]
async fn a_missing_directory_is_named_with_a_hint() {
    let directory = directory();
    let path = directory.path().join("missing/a.sock");

    let kind = SocketFile::bind(&path, 0o600).await.unwrap_err();
    let error = super::super::ListenError::new(crate::config::Listen::Unix(path), kind);

    let words = error.to_string();
    assert!(
        words.ends_with("a.sock: its directory does not exist"),
        "{words}"
    );
    assert!(error.hint().contains("/missing`"), "{}", error.hint());
}

#[tokio::test]
async fn a_file_where_a_directory_should_be_is_an_error() {
    let directory = directory();
    fs::write(directory.path().join("file"), "").unwrap();

    let kind = SocketFile::bind(&directory.path().join("file/a.sock"), 0o600).await;

    assert!(matches!(kind, Err(ListenErrorKind::System(_))), "{kind:?}");
}

#[tokio::test]
async fn a_file_that_replaced_the_socket_is_not_removed() {
    let directory = directory();
    let path = directory.path().join("a.sock");
    let socket = SocketFile::bind(&path, 0o600).await.unwrap();
    fs::remove_file(&path).unwrap();
    let other = net::UnixListener::bind(&path).unwrap();

    drop(socket);

    net::UnixStream::connect(&path).unwrap();
    other.accept().unwrap();
}

#[tokio::test]
async fn the_longest_path_of_a_configuration_can_be_bound() {
    let directory = directory();
    let room = 107 - directory.path().as_os_str().len() - 1;
    let path = directory.path().join("x".repeat(room));

    let _socket = SocketFile::bind(&path, 0o600).await.unwrap();

    assert!(path.exists());
}

/// Each process finds the stale socket that all of them may replace; one wins, and keeps it.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn of_many_concurrent_starts_one_binds_the_socket() {
    for round in 0..20 {
        let directory = directory();
        let path = directory.path().join("a.sock");
        drop(net::UnixListener::bind(&path).unwrap());
        let mut starts = tokio::task::JoinSet::new();

        for _ in 0..8 {
            let path = path.clone();
            starts.spawn(async move { SocketFile::bind(&path, 0o600).await });
        }
        let outcomes = starts.join_all().await;

        let (bound, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(bound.len(), 1, "round {round}");
        assert!(refused.into_iter().all(is_in_use), "round {round}");
        let _client = net::UnixStream::connect(&path).unwrap();
        bound[0].as_ref().unwrap().accept().await.unwrap();
    }
}

/// Every user who may open the directory can lock it.
#[tokio::test]
async fn a_lock_on_the_directory_does_not_prevent_the_bind() {
    let directory = directory();
    let held = File::open(directory.path()).unwrap();
    held.lock().unwrap();

    let outcome = SocketFile::bind(&directory.path().join("a.sock"), 0o600).await;

    assert!(outcome.is_ok(), "{outcome:?}");
}

/// In a directory where everyone may create files, anything may be at the path of the lock file.
#[tokio::test]
async fn a_foreign_file_at_the_path_of_the_lock_is_kept_and_does_not_prevent_the_bind() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("victim"), "precious").unwrap();
    let lock_of = |name: &str| at(&format!("{name}.sock.lock"));
    fs::create_dir(lock_of("directory")).unwrap();
    std::os::unix::fs::symlink(at("victim"), lock_of("link")).unwrap();
    std::os::unix::fs::symlink(at("nowhere"), lock_of("dangling")).unwrap();
    fs::hard_link(at("victim"), lock_of("hard")).unwrap();
    drop(net::UnixListener::bind(lock_of("socket")).unwrap());
    let fifo = std::process::Command::new("mkfifo")
        .arg(lock_of("fifo"))
        .status();
    assert!(fifo.unwrap().success());
    fs::write(lock_of("foreign"), "").unwrap();
    let other = Some(65_534);
    if std::os::unix::fs::chown(lock_of("foreign"), other, other).is_err() {
        eprintln!("SKIPPED in part: only root can give a file to another user");
    }
    let foreign = File::open(lock_of("foreign")).unwrap();
    foreign.lock().unwrap();

    for name in [
        "directory",
        "link",
        "dangling",
        "hard",
        "socket",
        "fifo",
        "foreign",
    ] {
        if name == "foreign" && foreign.metadata().unwrap().uid() != 65_534 {
            continue;
        }
        let outcome = SocketFile::bind(&at(&format!("{name}.sock")), 0o600).await;

        assert!(outcome.is_ok(), "{name}: {outcome:?}");
        assert!(fs::symlink_metadata(lock_of(name)).is_ok(), "{name}");
    }
    assert_eq!(fs::read_to_string(at("victim")).unwrap(), "precious");
    assert!(!at("nowhere").exists());
}

#[tokio::test]
async fn the_lock_file_is_removed_when_the_socket_is_bound() {
    let directory = directory();

    let _socket = SocketFile::bind(&directory.path().join("a.sock"), 0o600).await;

    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// A killed process leaves its lock file.
#[tokio::test]
async fn an_unlocked_lock_file_of_this_user_is_used_and_removed() {
    let directory = directory();
    let path = directory.path().join("a.sock");
    let lock = directory.path().join("a.sock.lock");
    fs::write(&lock, "").unwrap();
    fs::set_permissions(&lock, Permissions::from_mode(0o600)).unwrap();

    let _socket = SocketFile::bind(&path, 0o600).await.unwrap();

    assert!(!lock.exists());
}

#[tokio::test]
async fn a_lock_file_held_by_another_start_is_an_error_after_a_timeout() {
    let directory = directory();
    let path = directory.path().join("a.sock");
    let lock = directory.path().join("a.sock.lock");
    let mut options = File::options();
    let held = options.read(true).write(true).create(true);
    let held = held.mode(0o600).open(&lock).unwrap();
    held.lock().unwrap();

    let kind = SocketFile::bind(&path, 0o600).await.unwrap_err();

    assert!(matches!(kind, ListenErrorKind::Locked(_)), "{kind:?}");
    let error = super::super::ListenError::new(crate::config::Listen::Unix(path), kind);
    assert!(error.hint().contains("a.sock.lock"), "{}", error.hint());
    assert!(lock.exists(), "it is not ours to remove");
}

#[tokio::test]
async fn a_path_is_not_bound_again_while_an_earlier_attempt_has_not_returned() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f.sock");
    let former = Arc::new(());
    stuck().insert(path.clone(), Arc::downgrade(&former));

    let meanwhile = SocketFile::bind(&path, 0o600).await;

    assert!(
        matches!(&meanwhile, Err(ListenErrorKind::System(error)) if error.kind() == ErrorKind::TimedOut),
        "{meanwhile:?}"
    );
    drop(former);
    SocketFile::bind(&path, 0o600).await.unwrap();
}
