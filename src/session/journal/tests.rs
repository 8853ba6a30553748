//! Processes that start, stop and are killed. A kill is simulated by closing the file as it is.

use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::blocking::virtual_disk::{self, Disk};

const NOW: u64 = 1_795_618_385;

fn entry(session: &str) -> JournalEntry {
    JournalEntry {
        session: session.to_owned(),
        since: NOW,
        origin: Origin {
            region: "eu-west-1".to_owned(),
            profile: Some("prod".to_owned()),
            profile_first: false,
            role: None,
            endpoint: None,
        },
    }
}

/// Simulates a process that was killed with these sessions active.
fn killed(directory: &Path, sessions: &[&str]) -> PathBuf {
    let path = directory.join(format!("{PREFIX}1-{}{SUFFIX}", sessions.len()));
    let mut file = File::create(&path).unwrap();
    let started = sessions.iter().chain(&["over"]);
    let mut lines: Vec<_> = started.map(|s| JournalLine::Started(entry(s))).collect();
    lines.push(JournalLine::Ended("over".to_owned()));
    write_lines(&mut file, &lines).unwrap();
    path
}

fn names(entries: &[JournalEntry]) -> Vec<&str> {
    let mut names: Vec<_> = entries.iter().map(|e| e.session.as_str()).collect();
    names.sort_unstable();
    names
}

fn files(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[test]
fn sessions_of_killed_processes_are_found_once() {
    let directory = tempfile::tempdir().unwrap();
    killed(directory.path(), &["a"]);
    killed(directory.path(), &["b", "c"]);

    let (first, left) = Journal::open(directory.path(), NOW + 60).unwrap();
    let (_second, nothing) = Journal::open(directory.path(), NOW + 60).unwrap();

    assert_eq!(names(&left), ["a", "b", "c"]);
    assert_eq!(left[0].origin, entry("a").origin);
    assert_eq!(nothing, []);
    drop(first);
    let (_third, again) = Journal::open(directory.path(), NOW + 60).unwrap();
    assert_eq!(names(&again), ["a", "b", "c"], "until they are terminated");
}

#[test]
fn sessions_of_killed_processes_are_found_while_the_disk_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let file = killed(directory.path(), &["a"]);

    virtual_disk::set(Disk::Full);
    let opened = Journal::open(directory.path(), NOW + 60);
    virtual_disk::set(Disk::Good);

    let (first, left) = opened.unwrap();
    assert_eq!(names(&left), ["a"]);
    assert!(file.exists(), "they are in no other file yet");
    drop(first);
    let (_second, again) = Journal::open(directory.path(), NOW + 60).unwrap();
    assert_eq!(names(&again), ["a"], "until they are terminated");
}

#[tokio::test]
async fn a_process_that_ended_its_sessions_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(directory.path(), NOW + 60).unwrap();

    journal.add(entry("a")).await;
    assert_eq!(files(directory.path()), 1);
    journal.remove("a").await;
    drop(journal);

    assert_eq!(files(directory.path()), 0);
}

#[test]
fn sessions_past_the_idle_timeout_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    killed(directory.path(), &["a"]);

    let (journal, left) = Journal::open(directory.path(), NOW + 25 * 3600).unwrap();

    assert_eq!(left, []);
    drop(journal);
    assert_eq!(files(directory.path()), 0);
}

#[test]
fn a_partial_line_does_not_hide_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = killed(directory.path(), &["a"]);
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(b"{\"started\":{\"session\":\"b").unwrap();
    drop(file);

    let (_journal, left) = Journal::open(directory.path(), NOW + 60).unwrap();

    assert_eq!(names(&left), ["a"]);
}

#[test]
fn files_that_are_no_journals_are_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("notes"), "started").unwrap();
    fs::write(directory.path().join("sessions-9-9.journal"), [0xff; 999]).unwrap();

    let (_journal, left) = Journal::open(directory.path(), NOW + 60).unwrap();

    assert_eq!(left, []);
    assert!(directory.path().join("notes").exists());
}

#[tokio::test]
async fn the_file_of_a_long_running_process_stays_small() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(directory.path(), NOW + 60).unwrap();
    journal.add(entry("long")).await;

    for n in 0..20_000 {
        let session = format!("short-{n}");
        journal.add(entry(&session)).await;
        journal.remove(&session).await;
    }

    let path = journal.locked_file().unwrap().path.clone();
    assert!(fs::metadata(&path).unwrap().len() < 1_000_000);
    assert!(lock(&path, &mut OpenOptions::new()).unwrap().is_none());
    assert_eq!(files(directory.path()), 1);
    let (_other, left) = Journal::open(directory.path(), NOW + 60).unwrap();
    assert_eq!(left, [], "it is held");
    drop(journal);
    let (_next, left) = Journal::open(directory.path(), NOW + 60).unwrap();
    assert_eq!(names(&left), ["long"]);
}

#[test]
fn its_files_are_accessible_to_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("ssm-proxyd");

    let (journal, _) = Journal::open(&inner, NOW).unwrap();

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    assert_eq!(mode(&journal.locked_file().unwrap().path), 0o600);
}

/// A directory created by the service manager is writable by this user only. Elsewhere, a file
/// written by another user could name an endpoint, which would be called with our credentials.
#[test]
fn what_is_not_a_file_of_this_user_is_neither_read_nor_waited_for_nor_locked() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let own = killed(directory.path(), &["own"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let target = killed(elsewhere.path(), &["linked", "to"]);
    std::os::unix::fs::symlink(&target, at("sessions-2-0.journal")).unwrap();
    let second = tempfile::tempdir().unwrap();
    let linked_twice = killed(second.path(), &["hard", "link"]);
    fs::hard_link(&linked_twice, at("sessions-2-1.journal")).unwrap();
    let fifo = std::process::Command::new("mkfifo")
        .arg(at("sessions-2-2.journal"))
        .status();
    assert!(fifo.unwrap().success());
    let foreign = killed(directory.path(), &["for", "ei", "gn"]);
    let other = Some(65_534);
    if std::os::unix::fs::chown(&foreign, other, other).is_err() {
        eprintln!("SKIPPED in part: only root can give a file to another user");
        fs::remove_file(&foreign).unwrap();
    }
    let pid = std::process::id();
    std::os::unix::fs::symlink(&target, at(&format!("sessions-{pid}-0.journal"))).unwrap();

    let (journal, left) = Journal::open(directory.path(), NOW + 60).unwrap();

    assert_eq!(names(&left), ["own"]);
    assert!(!own.exists(), "it was adopted");
    let path = journal.locked_file().unwrap().path.clone();
    assert!(path.ends_with(format!("sessions-{pid}-1.journal")));
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    assert!(target.exists());
}

/// ENOSPC or a kill leaves a partial line.
#[tokio::test]
async fn after_a_partial_line_the_file_is_rewritten() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(directory.path(), NOW).unwrap();
    journal.add(entry("a")).await;
    {
        let mut journal_file = journal.locked_file().unwrap();
        journal_file
            .file
            .write_all(b"{\"started\":{\"session\":\"b")
            .unwrap();
        journal_file.is_stale = true;
    }

    journal.add(entry("c")).await;

    assert_eq!(files(directory.path()), 1);
    drop(journal);
    let (_next, left) = Journal::open(directory.path(), NOW).unwrap();
    assert_eq!(names(&left), ["a", "c"]);
}

#[tokio::test]
async fn changes_that_a_full_disk_rejected_are_written_later() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(directory.path(), NOW).unwrap();
    journal.add(entry("a")).await;
    let kept = {
        let mut journal_file = journal.locked_file().unwrap();
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        std::mem::replace(&mut journal_file.file, full)
    };
    journal.add(entry("lost")).await;
    assert!(journal.locked_file().unwrap().is_stale);

    journal.add(entry("b")).await;

    drop((journal, kept));
    let (_next, left) = Journal::open(directory.path(), NOW).unwrap();
    assert_eq!(names(&left), ["a", "b", "lost"]);
}

/// Another process could take over an unlocked file and terminate the sessions in it.
#[test]
fn a_failed_rewrite_leaves_no_file_with_open_sessions() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal_file = JournalFile::begin(directory.path()).unwrap();
    journal_file
        .apply(BTreeMap::from([("a".to_owned(), Some(entry("a")))]))
        .unwrap();
    fs::remove_file(&journal_file.path).unwrap();
    fs::create_dir(&journal_file.path).unwrap();

    assert!(journal_file.rewrite().is_err());

    assert!(!journal_file.path.with_extension("new").exists());
}

/// A machine without a clock battery starts in 1970, until its clock is set.
#[test]
fn an_implausible_start_time_is_replaced_by_now_once() {
    for (started, first, next_day) in [
        (5, NOW, NOW + 25 * 3600),
        (NOW, 5, NOW + 25 * 3600),
        (NOW + 10 * 365 * 24 * 3600, NOW, NOW + 25 * 3600),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sessions-1-0.journal");
        let mut file = File::create(path).unwrap();
        let since = started;
        write_lines(
            &mut file,
            &[JournalLine::Started(JournalEntry {
                since,
                ..entry("a")
            })],
        )
        .unwrap();
        drop(file);

        let (journal, left) = Journal::open(directory.path(), first).unwrap();
        assert_eq!(names(&left), ["a"], "{started} at {first}");
        drop(journal);
        let (journal, left) = Journal::open(directory.path(), NOW).unwrap();
        assert_eq!(names(&left), ["a"], "{started} at {first}, again");
        drop(journal);

        let (_journal, left) = Journal::open(directory.path(), next_day).unwrap();
        assert_eq!(left, [], "{started} at {first}, a day later");
    }
}

/// The disk of a journal may be a network file system.
#[tokio::test]
async fn a_hanging_disk_delays_callers_only_shortly() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(directory.path(), NOW).unwrap();
    let shared = journal.0.clone().unwrap();
    let hanging = Arc::clone(&shared.journal_file).lock_owned().await;

    journal.add(entry("a")).await;
    journal.add(entry("b")).await;
    journal.remove("b").await;
    assert!(shared.is_stuck.load(Relaxed));
    assert_eq!(shared.pending().len(), 1);

    drop(hanging);
    Arc::clone(&shared).write_pending().await.unwrap();
    assert!(!shared.is_stuck.load(Relaxed));
    assert_eq!(journal.locked_file().unwrap().open.len(), 1);
}

#[tokio::test]
async fn a_timeout_of_a_write_that_has_just_finished_does_not_stop_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(directory.path(), NOW).unwrap();
    let shared = journal.0.clone().unwrap();

    shared.handle_timeout();
    journal.add(entry("a")).await;

    assert!(!shared.is_stuck.load(Relaxed));
    assert_eq!(journal.locked_file().unwrap().open.len(), 1);
}
