//! PostgreSQL over websockets that break repeatedly: nothing is lost, and no client notices.

use std::fs::File;
use std::net::SocketAddr;

use ssm_proxyd::sim::{DisconnectKind, Options, Simulator};

use super::{Answer, BALANCES, Fixture, hash, run};
use crate::support::in_process::{broken_every, unpaced};
use crate::support::postgres::{pgbench, psql};
use crate::support::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn a_long_copy_in_is_complete_through_ten_disconnects() {
    let options = Options {
        faults: broken_every(250, DisconnectKind::Reset),
        ..unpaced()
    };
    // The copy is more than 2000 messages. A websocket takes 100, and perhaps 20 at once and a
    // window of 32 in addition.
    let keys = "upload_rate = 400\nupload_payload = 8192\nupload_window = \"256KiB\"\n";
    let fixture = Fixture::with(options, |forward| forward + keys).await;
    let rows = fixture.direct(&["-c", &copy_of(60_000)]).out;
    assert!(rows.len() > 2000 * 8192, "{} bytes", rows.len());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &rows).unwrap();
    let load = |address: SocketAddr, table: &str| {
        let create = format!("CREATE TABLE {table} (n int, hash text, filling text)");
        assert_eq!(fixture.direct(&["-c", &create]).code, 0);
        let mut command = psql(address, &["-c", &format!("COPY {table} FROM STDIN")]);
        command.stdin(File::open(file.path()).unwrap());
        run(command)
    };
    let hash_of = |table: &str| {
        let copy = format!("COPY (SELECT * FROM {table} ORDER BY n) TO STDOUT");
        hash(fixture.direct(&["-c", &copy]).out.as_bytes())
    };

    let direct = load(fixture.server.address(), "near");
    let forwarded = load(fixture.daemon.address(), "far");

    assert_eq!(
        (forwarded.code, &forwarded.out[..]),
        (0, "COPY 60000\n"),
        "{}",
        forwarded.err
    );
    assert_eq!(forwarded, direct);
    assert_eq!(hash_of("near"), hash(rows.as_bytes()));
    assert_eq!(hash_of("far"), hash_of("near"));
    assert_eq!(dropped_often(&fixture.end()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_copy_out_is_complete_through_ten_disconnects() {
    // 8 MiB at the speed of an agent take 12 s, even with losses.
    let options = Options {
        faults: broken_every(500, DisconnectKind::Close(1000)),
        ..Options::default()
    };
    let fixture = Fixture::with(options, |forward| forward).await;

    fixture.request_both(&["-c", &copy_of(30_000)], |direct, forwarded| {
        assert!(direct.out.len() > 8 << 20, "{} bytes", direct.out.len());
        assert_eq!(hash(forwarded.out.as_bytes()), hash(direct.out.as_bytes()));
        assert_eq!((forwarded.code, &forwarded.err), (direct.code, &direct.err));
    });

    assert_eq!(dropped_often(&fixture.end()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_of_pgbench_with_disconnects_fails_no_transaction() {
    let options = Options {
        faults: broken_every(2000, DisconnectKind::Reset),
        ..Options::default()
    };
    let fixture = Fixture::with(options, |forward| forward).await;
    let made = run(pgbench(fixture.server.address(), &["-i", "-s", "8", "-q"]));
    assert_eq!(made.code, 0, "{made:?}");

    let arguments = ["-n", "-c", "8", "-j", "2", "-T", "60", "-P", "20"];
    let mut bench = Process::start(&mut pgbench(fixture.daemon.address(), &arguments));
    // The whole test takes longer than any timeout.
    bench.stderr.wait_for("progress: 20");
    let bench = Answer::of(bench);

    assert_eq!(bench.code, 0, "{bench:?}");
    let none = "number of failed transactions: 0 (0.000%)\n";
    assert!(bench.out.contains(none), "{bench:?}");
    let (_, processed) = bench.out.split_once("actually processed: ").unwrap();
    let processed = processed.lines().next().unwrap();
    fixture.request_both(&["-A", "-t", "-c", BALANCES], |direct, forwarded| {
        assert_eq!(direct.out, format!("{processed}|t|t|t\n"));
        assert_eq!(forwarded, direct);
    });
    assert_eq!(dropped_often(&fixture.end()), 8);
}

/// Copies this number of rows of 290 bytes to the output.
fn copy_of(rows: u32) -> String {
    format!(
        "COPY (SELECT n, md5(n::text), repeat(md5((-n)::text), 8) \
         FROM generate_series(1, {rows}) n) TO STDOUT"
    )
}

/// The number of sessions that had more than ten websockets.
fn dropped_often(simulator: &Simulator) -> usize {
    let sessions = simulator.ledger().sessions;
    sessions.iter().filter(|s| s.attached > 10).count()
}
