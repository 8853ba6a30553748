//! A real PostgreSQL server behind the simulator; psql and pgbench through the daemon.
//!
//! Every query is repeated over a direct connection, and must have the same result.

mod disconnects;

use std::process::Command;

use sha2::{Digest, Sha256};
use ssm_proxyd::sim::{Options, Simulator};

use crate::support::daemon_process::{DaemonProcess, forward_to, with_fast_upload};
use crate::support::in_process::{unpaced, until};
use crate::support::postgres::{Server, pgbench, psql};
use crate::support::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn psql_output_equals_that_of_a_direct_connection() {
    let fixture = Fixture::new(Options::default()).await;
    fixture.request_both(&["--command", TABLE], |_, _| ());
    for (case, arguments) in [
        ("a table", &["-c", "SELECT * FROM word ORDER BY id"][..]),
        ("no rows", &["-c", "SELECT * FROM word WHERE id < 0"]),
        ("an error", &["-c", "SELECT 1/0"]),
        (
            "an error between rows",
            &["-c", "SELECT 1/(500-n) FROM generate_series(1, 900) n"],
        ),
        (
            "several statements in one",
            &["-c", "SELECT 1; SELECT 'zwei'; SELECT 3.0"],
        ),
        (
            "a transaction that is rolled back",
            &[
                "-c",
                "BEGIN; DELETE FROM word; ROLLBACK; SELECT count(*) FROM word",
            ],
        ),
        (
            "notices",
            &["-c", "DO $$ BEGIN RAISE NOTICE 'from afar'; END $$"],
        ),
        ("a description", &["-c", "\\d word"]),
        (
            "a cursor",
            &[
                "--set",
                "FETCH_COUNT=7",
                "-c",
                "SELECT n FROM generate_series(1, 100) n",
            ],
        ),
        (
            "an end by the server",
            &["-c", "SELECT pg_terminate_backend(pg_backend_pid())"],
        ),
    ] {
        fixture.request_both(arguments, |direct, forwarded| {
            assert_eq!(forwarded, direct, "{case}");
        });
    }
    fixture.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_results_and_copies_are_complete() {
    let fixture = Fixture::new(unpaced()).await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (original, copied) = (path("original"), path("copied"));
    let rows =
        "SELECT n, md5(n::text), repeat(chr(97 + n % 26), n % 90) FROM generate_series(1, 60000) n";
    let create = "CREATE TABLE bulk (n int, hash text, filling text)";
    let down = |to: &str| format!("\\copy ({rows}) TO '{to}'");
    let up = format!("\\copy bulk FROM '{copied}'");
    let back = "COPY (SELECT * FROM bulk ORDER BY n) TO STDOUT";

    let direct = fixture.direct(&["-c", &down(&original)]);
    let forwarded = fixture.forwarded(&["-c", &down(&copied)]);
    let created = fixture.direct(&["-c", create]);
    let loaded = fixture.forwarded(&["-c", &up]);

    assert_eq!(forwarded, direct);
    assert_eq!((created.code, loaded.code), (0, 0), "{loaded:?}");
    assert_eq!(loaded.out, "COPY 60000\n");
    let len = std::fs::metadata(&original).unwrap().len();
    assert!(len > 4 << 20, "{len} bytes");
    assert_eq!(
        hash(&std::fs::read(&copied).unwrap()),
        hash(&std::fs::read(&original).unwrap())
    );
    for arguments in [&["-c", back][..], &["-A", "-t", "-c", rows]] {
        fixture.request_both(arguments, |direct, forwarded| {
            assert!(direct.out.len() > 4 << 20, "{} bytes", direct.out.len());
            assert_eq!(hash(forwarded.out.as_bytes()), hash(direct.out.as_bytes()));
        });
    }
    fixture.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_pgbench_clients_keep_the_balances_consistent() {
    for (case, options) in [("paced", Options::default()), ("unpaced", unpaced())] {
        let fixture = Fixture::new(options).await;
        let made = run(pgbench(fixture.server.address(), &["-i", "-s", "1", "-q"]));
        assert_eq!(made.code, 0, "{case}: {made:?}");

        let bench = run(pgbench(
            fixture.daemon.address(),
            &["-n", "-c", "8", "-j", "2", "-t", "50"],
        ));

        assert_eq!(bench.code, 0, "{case}: {bench:?}");
        for line in [
            "number of transactions actually processed: 400/400\n",
            "number of failed transactions: 0 (0.000%)\n",
        ] {
            assert!(bench.out.contains(line), "{case}: {bench:?}");
        }
        fixture.request_both(&["-A", "-t", "-c", BALANCES], |direct, forwarded| {
            assert_eq!(direct.out, "400|t|t|t\n", "{case}");
            assert_eq!(forwarded, direct, "{case}");
        });
        let simulator = fixture.end();
        assert!(simulator.ledger().started >= 8, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_connection_of_pgbench_has_its_own_session() {
    let fixture = Fixture::new(unpaced()).await;
    let made = run(pgbench(fixture.server.address(), &["-i", "-s", "1", "-q"]));
    assert_eq!(made.code, 0, "{made:?}");

    let bench = run(pgbench(
        fixture.daemon.address(),
        &["-n", "-S", "-C", "-c", "4", "-t", "15"],
    ));

    assert_eq!(bench.code, 0, "{bench:?}");
    assert!(bench.out.contains("processed: 60/60\n"), "{bench:?}");
    let simulator = fixture.end();
    assert!(simulator.ledger().started >= 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_arrives() {
    let fixture = Fixture::new(Options::default()).await;
    let mut notifier = Process::start(&mut psql(
        fixture.server.address(),
        &[
            "-q",
            "-c",
            "SELECT pg_advisory_lock(1)",
            "-c",
            "\\echo locked",
            "-c",
            NOTIFY,
        ],
    ));
    notifier.stdout.wait_for("locked");

    let listener = fixture.forwarded(&["-c", "LISTEN news", "-c", "SELECT pg_advisory_lock(1)"]);

    let expected = "Asynchronous notification \"news\" with payload \"hello\" received";
    assert!(listener.out.contains(expected), "{listener:?}");
    assert_eq!(notifier.exit_code(), 0, "{}", notifier.stderr.all());
    fixture.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_cancelled_through_a_separate_connection() {
    let fixture = Fixture::new(Options::default()).await;
    let query = "SELECT pg_sleep(600)";
    let mut waiting = Process::start(&mut psql(fixture.daemon.address(), &["-c", query]));
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE query = '{query}'");
    until("the query runs", || {
        fixture.direct(&["-A", "-t", "-c", &count]).out == "1\n"
    })
    .await;

    waiting.signal("INT");

    let (code, stderr) = (waiting.exit_code(), waiting.stderr.all());
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains("canceling statement due to user request"),
        "{stderr}"
    );
    let simulator = fixture.end();
    assert_eq!(simulator.ledger().started, 2);
}

/// A server, and a daemon with a forward to it.
struct Fixture {
    server: Server,
    simulator: Simulator,
    daemon: DaemonProcess,
}

impl Fixture {
    async fn new(options: Options) -> Self {
        Self::with(options, with_fast_upload).await
    }

    /// The same, with other keys of its forward.
    async fn with(options: Options, keys: impl Fn(String) -> String) -> Self {
        let server = Server::start();
        let simulator = Simulator::start(options).await.unwrap();
        let forward = keys(forward_to(server.address()));
        let daemon = DaemonProcess::start(&simulator, &forward);
        Self {
            server,
            simulator,
            daemon,
        }
    }

    fn direct(&self, arguments: &[&str]) -> Answer {
        run(psql(self.server.address(), arguments))
    }

    fn forwarded(&self, arguments: &[&str]) -> Answer {
        run(psql(self.daemon.address(), arguments))
    }

    /// Queries directly, then through the daemon.
    fn request_both(&self, arguments: &[&str], compare: impl Fn(&Answer, &Answer)) {
        compare(&self.direct(arguments), &self.forwarded(arguments));
    }

    /// Stops the daemon, which must leave no session.
    fn end(self) -> Simulator {
        self.daemon.stop(&self.simulator);
        self.simulator
    }
}

/// The exit code and the output of a program.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: i32,
    out: String,
    err: String,
}

impl Answer {
    /// Waits for the end of a program.
    fn of(mut program: Process) -> Self {
        Self {
            code: program.exit_code(),
            out: program.stdout.all(),
            err: program.stderr.all(),
        }
    }
}

fn run(mut command: Command) -> Answer {
    Answer::of(Process::start(&mut command))
}

fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS word AS \
    SELECT n AS id, md5(n::text) AS word FROM generate_series(1, 50) n";

/// The invariant after any number of TPC-B transactions: each is in the history, and accounts,
/// tellers and branches have the same sum as the history.
const BALANCES: &str = "SELECT count(*), \
    sum(delta) = (SELECT sum(abalance) FROM pgbench_accounts), \
    sum(delta) = (SELECT sum(tbalance) FROM pgbench_tellers), \
    sum(delta) = (SELECT sum(bbalance) FROM pgbench_branches) FROM pgbench_history";

/// Waits until another session wants the lock, sends the notification, and releases the lock by its
/// end.
const NOTIFY: &str = "DO $$ BEGIN \
    WHILE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted) \
    LOOP PERFORM pg_sleep(0.01); END LOOP; \
    NOTIFY news, 'hello'; END $$";
