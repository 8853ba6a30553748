//! What is bound, replaced, refused and removed, on real paths.

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

fn is_in_use(outcome: Result<SocketFile, Obstacle>) -> bool {
    matches!(outcome, Err(Obstacle::Taken))
}

#[tokio::test]
async fn the_file_has_the_mode_whatever_the_umask_takes() {
    let directory = directory();

    for wanted in [0o600, 0o660, 0o666, 0o777, 0o200] {
        let path = directory.path().join(format!("{wanted:o}.sock"));
        let _socket = SocketFile::bind(&path, wanted).await.unwrap();

        assert_eq!(mode(&path), wanted, "{wanted:o}");
    }
}

/// The permissions before `widen`, which are what the file is born with.
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
async fn a_connection_is_accepted_and_the_file_is_gone_at_the_end() {
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
async fn a_socket_that_nobody_holds_is_replaced() {
    let directory = directory();
    let path = directory.path().join("a.sock");
    drop(net::UnixListener::bind(&path).unwrap());

    let socket = SocketFile::bind(&path, 0o600).await.unwrap();

    let _client = net::UnixStream::connect(&path).unwrap();
    socket.accept().await.unwrap();
}

#[tokio::test]
async fn a_socket_that_a_program_holds_is_left_to_it_and_it_notices_nothing() {
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
async fn a_socket_that_is_bound_and_does_not_listen_yet_is_left_alone() {
    let directory = directory();
    let path = directory.path().join("a.sock");
    let young = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    young.bind(&SockAddr::unix(&path).unwrap()).unwrap();

    assert!(is_in_use(SocketFile::bind(&path, 0o600).await));
    assert!(path.exists());
}

#[tokio::test]
async fn a_datagram_socket_is_left_alone() {
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
            matches!(outcome, Err(Obstacle::Foreign)),
            "{name}: {outcome:?}"
        );
        assert!(fs::symlink_metadata(at(name)).is_ok(), "{name}");
    }
    assert_eq!(fs::read_to_string(at("file")).unwrap(), "precious");
}

#[tokio::test]
async fn a_missing_directory_is_named_with_the_remedy() {
    let directory = directory();
    let path = directory.path().join("missing/a.sock");

    let obstacle = SocketFile::bind(&path, 0o600).await.unwrap_err();
    let error = super::super::ListenError::new(crate::config::Listen::Unix(path), obstacle);

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

    let obstacle = SocketFile::bind(&directory.path().join("file/a.sock"), 0o600).await;

    assert!(matches!(obstacle, Err(Obstacle::System(_))), "{obstacle:?}");
}

#[tokio::test]
async fn a_file_that_is_not_ours_any_more_stays() {
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

/// Each finds the dead socket that all of them may replace; one wins, and keeps it.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn of_many_who_start_at_once_one_has_the_socket() {
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

#[tokio::test]
async fn a_directory_that_another_program_keeps_locked_is_an_error_in_the_end() {
    let directory = directory();
    let held = File::open(directory.path()).unwrap();
    held.lock().unwrap();

    let outcome = SocketFile::bind(&directory.path().join("a.sock"), 0o600).await;

    assert!(matches!(outcome, Err(Obstacle::Locked)), "{outcome:?}");
}
